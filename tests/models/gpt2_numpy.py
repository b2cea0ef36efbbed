"""GPT-2 once more, in float64 NumPy: slow, plain, and sharing no code with the one in mm_jax.

Arrays have the names and the layouts of the published file: a weight is (in, out).
"""

from collections.abc import Iterator, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

EPSILON = 1e-5


def random_arrays(
    rng: np.random.Generator, *, vocab_size: int, positions: int, width: int, layers: int
) -> dict[str, np.ndarray]:
    """Arrays of which none could be left out, or taken for another, without changing the logits.

    One part of one array could: the same bias on all keys is the same number on all scores of a
    query, which the softmax takes off again.
    """

    def normal(mean: float, std: float, *shape: int) -> np.ndarray:
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    arrays = {
        "wte.weight": normal(0, 0.2, vocab_size, width),
        "wpe.weight": normal(0, 0.2, positions, width),
    }
    for name, (size_in, size_out) in _linear_shapes(width, layers):
        arrays[f"{name}.weight"] = normal(0, 0.2, size_in, size_out)
        arrays[f"{name}.bias"] = normal(0, 0.1, size_out)
    for name in _norm_names(layers):
        arrays[f"{name}.weight"] = normal(1, 0.1, width)
        arrays[f"{name}.bias"] = normal(0, 0.1, width)
    return arrays


def _linear_shapes(width: int, layers: int) -> Iterator[tuple[str, tuple[int, int]]]:
    for i in range(layers):
        yield f"h.{i}.attn.c_attn", (width, 3 * width)
        yield f"h.{i}.attn.c_proj", (width, width)
        yield f"h.{i}.mlp.c_fc", (width, 4 * width)
        yield f"h.{i}.mlp.c_proj", (4 * width, width)


def _norm_names(layers: int) -> Iterator[str]:
    for i in range(layers):
        yield f"h.{i}.ln_1"
        yield f"h.{i}.ln_2"
    yield "ln_f"


def logits(arrays: Arrays, tokens: np.ndarray, heads: int) -> np.ndarray:
    """Logits (..., T, V) of the token after each of tokens (..., T)."""
    arrays = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    tokens = np.asarray(tokens)
    x = arrays["wte.weight"][tokens] + arrays["wpe.weight"][: tokens.shape[-1]]
    layer = 0
    while f"h.{layer}.ln_1.weight" in arrays:
        name = f"h.{layer}"
        x = x + _attention(arrays, f"{name}.attn", _norm(arrays, f"{name}.ln_1", x), heads)
        x = x + _mlp(arrays, f"{name}.mlp", _norm(arrays, f"{name}.ln_2", x))
        layer += 1
    return _norm(arrays, "ln_f", x) @ arrays["wte.weight"].T


def _linear(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def _norm(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    variance = (centered**2).mean(-1, keepdims=True)
    normal = centered / np.sqrt(variance + EPSILON)
    return normal * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def _mlp(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    x = _linear(arrays, f"{name}.c_fc", x)
    gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return _linear(arrays, f"{name}.c_proj", gelu)


def _attention(arrays: Arrays, name: str, x: np.ndarray, heads: int) -> np.ndarray:
    queries, keys, values = np.split(_linear(arrays, f"{name}.c_attn", x), 3, axis=-1)
    size = x.shape[-1] // heads
    outputs = []
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        outputs.append(_head(queries[..., columns], keys[..., columns], values[..., columns]))
    return _linear(arrays, f"{name}.c_proj", np.concatenate(outputs, axis=-1))


def _head(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One head, position by position: a later key is never looked at, so nothing is masked."""
    mixed = np.empty_like(values)
    for t in range(queries.shape[-2]):
        query, seen = queries[..., t, :], slice(0, t + 1)
        scores = (keys[..., seen, :] * query[..., None, :]).sum(-1) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed[..., t, :] = (weights[..., None] * values[..., seen, :]).sum(-2)
    return mixed
