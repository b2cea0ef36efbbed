"""The arrays of a published GPT-2 <-> the parameters of ``transformer``: the same function.

Hugging Face's GPT2LMHeadModel names them h.0.attn.c_attn.weight and so on; its weights are (in,
out), as ours are.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mm_jax.config.base import InputError
from mm_jax.models.base import Params

PARTS = {  # of a layer: ours and theirs
    "norm1": "ln_1",
    "qkv": "attn.c_attn",
    "out": "attn.c_proj",
    "norm2": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
NOT_PARAMETERS = re.compile(r"h\.\d+\.attn\.(masked_)?bias$|lm_head\.weight$")


def transformer_from_gpt2(arrays: Mapping[str, Any]) -> Params:
    """Return the parameters of ``transformer`` with the arrays of a GPT-2 by their names.

    They may begin with "transformer."; masks and the head, which is tied, are left out. The model
    for them has as many positions, layers and numbers as they do, and GPT-2's heads are 64 wide:
    transformer(50257, 1024, layers=12, embed_dim=768, heads=12) for the smallest. Raises InputError
    where an array is missing, unknown, or of a shape that does not fit.
    """
    named = {name.removeprefix("transformer."): np.asarray(each) for name, each in arrays.items()}
    named = {name: each for name, each in named.items() if not NOT_PARAMETERS.match(name)}
    numbers = {int(found[1]) for name in named if (found := re.match(r"h\.(\d+)\.", name))}
    num_layers = 1 + max(numbers, default=-1)
    names = _their_names(num_layers)
    if names.keys() ^ named.keys():
        name = min(names.keys() ^ named.keys())
        what = "is missing" if name in names else "is unknown"
        raise InputError(f"the arrays of a GPT-2 of {num_layers} layers: {name} {what}")
    vocab_size, positions = len(named["wte.weight"]), len(named["wpe.weight"])
    shapes = _shapes(num_layers, vocab_size, named["ln_f.bias"].size, positions)
    for name, shape in shapes.items():
        if named[name].shape != shape:
            raise InputError(
                f"the arrays of a GPT-2: {name} is {list(named[name].shape)}, should be "
                f"{list(shape)}"
            )
    return unflatten_dict({ours: jnp.asarray(named[name]) for name, ours in names.items()}, sep=".")


def transformer_to_gpt2(params: Params) -> dict[str, np.ndarray]:
    """Return the parameters of ``transformer`` as GPT-2 names them.

    Raises InputError for those of another kind: with RMSNorm, without biases, or an own head.
    """
    flat = flatten_dict(params, sep=".")
    names = _their_names(sum(name.endswith("qkv.W") for name in flat))
    if {*names.values()} != flat.keys():
        name = min({*names.values()} ^ flat.keys())
        what = "is missing" if name not in flat else "is not GPT-2's"
        raise InputError(f"these parameters are not of GPT-2's kind: {name} {what}")
    return {theirs: np.asarray(flat[ours]) for theirs, ours in names.items()}


def _their_names(num_layers: int) -> dict[str, str]:
    """Return our name of each array by theirs."""
    names = {"wte.weight": "wte", "wpe.weight": "wpe"}
    parts = {
        f"h.{i}.{theirs}": f"layer{i + 1}.{ours}"
        for i in range(num_layers)
        for ours, theirs in PARTS.items()
    }
    for theirs, ours in (parts | {"ln_f": "norm"}).items():
        is_norm = "ln_" in theirs
        names[f"{theirs}.weight"] = f"{ours}.scale" if is_norm else f"{ours}.W"
        names[f"{theirs}.bias"] = f"{ours}.shift" if is_norm else f"{ours}.b"
    return names


def _shapes(
    num_layers: int, vocab_size: int, width: int, positions: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array by its name."""
    products = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (vocab_size, width),
        "wpe.weight": (positions, width),
    }
    for i in range(num_layers):
        shapes |= {f"h.{i}.{part}.weight": shape for part, shape in products.items()}
        shapes |= {f"h.{i}.{part}.bias": shape[1:] for part, shape in products.items()}
    norms = [f"h.{i}.{part}" for i in range(num_layers) for part in ("ln_1", "ln_2")]
    for name in (*norms, "ln_f"):
        shapes |= dict.fromkeys((f"{name}.weight", f"{name}.bias"), (width,))
    return shapes
