"""Lines -> Batch: (N, C) windows, or padded rows. Both layouts give the same loss.

A window holds the C symbols before a prediction, padded on the left with the boundary (0). A row
is a whole line after C boundaries, padded on the right; padding has weight 0.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from mm_jax.config.base import InputError
from mm_jax.data.vocab import Encoded, Vocab, encode_lines


@flax.struct.dataclass
class Batch:
    """Examples: the tokens that the model reads, the targets, and the weight of each prediction."""

    tokens: Int32[Array, "... length"]  # (N, C) windows, or (N, C + L) rows
    targets: Int32[Array, "..."]  # (N,) or (N, L + 1)
    weights: Float[Array, "..."]  # like targets; 0 is padding


def windows(lines: Sequence[str], vocab: Vocab, context: int) -> Batch:
    """Return one example per prediction: tokens (N, C), targets (N,), weights (N,), all 1.

    N is the number of symbols plus the number of lines, since each line ends with a boundary.
    Raise SymbolError where a symbol is not in the vocabulary, InputError where there are no lines.
    Source: the data set of Bengio et al. (2003), as the second makemore lecture builds it.

    >>> from mm_jax.data.vocab import build_vocab
    >>> windows(["emma"], build_vocab(["emma"]), context=3).tokens.tolist()
    [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    """
    ids, lengths = _encode(lines, vocab, context)
    count = len(ids) + len(lengths)
    ends = np.cumsum(lengths)
    targets = np.insert(ids, ends, 0)
    # In one array with C boundaries before each line, example k of a line is C ids from its k-th.
    with_boundaries = np.insert(ids, np.repeat(ends - lengths, context), 0)
    first = np.repeat(np.arange(len(lengths)) * (context - 1), lengths + 1) + np.arange(count)
    tokens = np.empty((count, context), np.int32)
    for offset in range(context):
        tokens[:, offset] = with_boundaries[first + offset]
    return on_device(tokens, targets, np.ones(count, np.float32))


def rows(lines: Sequence[str], vocab: Vocab, context: int, length: int | None = None) -> Batch:
    """Return one example per line: tokens (N, C + L), targets and weights (N, L + 1).

    L is ``length`` in symbols, by default that of the longest line. Raise what ``windows`` raises,
    and InputError where a line is longer than ``length``.

    >>> from mm_jax.data.vocab import build_vocab
    >>> rows(["emma", "em"], build_vocab(["emma"]), context=1).targets.tolist()
    [[2, 3, 3, 1, 0], [2, 3, 0, 0, 0]]
    """
    ids, lengths = _encode(lines, vocab, context)
    longest = int(lengths.max())
    length = longest if length is None else length
    if longest > length:
        raise InputError(f"a line has {longest} symbols, more than the row's {length}")
    positions = np.arange(length + 1)
    targets = np.zeros((len(lengths), length + 1), np.int32)
    targets[positions < lengths[:, None]] = ids
    tokens = np.pad(targets[:, :-1], ((0, 0), (context, 0)))
    weights = (positions <= lengths[:, None]).astype(np.float32)
    return on_device(tokens, targets, weights)


LAYOUTS = {"windows": windows, "rows": rows}


def distinct(batch: Batch) -> Batch:
    """Return each distinct example once, with the sum of its weights: the same loss, less work.

    The examples are sorted. Short windows repeat most: a text has at most V * V distinct bigrams.
    """
    tokens, targets, weights = map(np.asarray, (batch.tokens, batch.targets, batch.weights))
    columns = np.concatenate([tokens, targets.reshape(len(targets), -1)], 1)
    unique, inverse = np.unique(columns, axis=0, return_inverse=True)
    sums = np.zeros((len(unique), *weights.shape[1:]))
    np.add.at(sums, inverse.reshape(-1), weights)
    length = tokens.shape[1]
    return on_device(
        unique[:, :length], unique[:, length:].reshape(sums.shape), sums.astype(np.float32)
    )


def on_device(tokens: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Batch:
    """Return NumPy arrays as a Batch; jnp.asarray would compile a program for each shape."""
    return Batch(*jax.device_put((tokens, targets, weights)))


def pad_batch(batch: Batch, multiple: int) -> Batch:
    """Return the batch with examples of weight 0 added, up to a multiple of this number."""
    num_added = -len(batch.targets) % multiple

    def pad(leaf: Array) -> Array:
        return jnp.pad(leaf, [(0, num_added)] + [(0, 0)] * (leaf.ndim - 1))

    return Batch(pad(batch.tokens), pad(batch.targets), pad(batch.weights))


def impossible_ngrams(batch: Batch, nats: Float[np.ndarray, "..."], vocab: Vocab) -> list[str]:
    """Return the n-grams (context and symbol) whose nats are infinite, each once, in their order.

    ``batch`` has windows, ``nats`` one number per prediction.
    """
    tokens, targets = np.asarray(batch.tokens), np.asarray(batch.targets)
    columns = np.concatenate([tokens, targets[:, None]], 1)[np.isinf(nats)]
    ngrams = ("".join(vocab.symbols[i] for i in row) for row in columns.tolist())
    return list(dict.fromkeys(ngrams))


def _encode(lines: Sequence[str], vocab: Vocab, context: int) -> Encoded:
    """Return the ids of lines. Raise InputError where no example can be made of them."""
    if context < 1:
        raise InputError(f"context must be at least 1, not {context}")
    if not lines:
        raise InputError("there are no lines to make examples from")
    return encode_lines(vocab, lines)
