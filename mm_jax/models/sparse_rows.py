"""Rows of which few columns are known, as one flat array of their symbols, and where each begins.

Those of row i are ``symbols[first[i] : first[i + 1]]``, each once, in their order.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int


def find_symbol(
    first: Int[Array, " rows_and_end"],
    symbols: Int[Array, " N"],
    row: Int[Array, "..."],
    symbol: Int[Array, "..."],
    vocab_size: int,
) -> tuple[Int[Array, "..."], Bool[Array, "..."]]:
    """Return the place of a symbol among those of a row, and whether it occurs there."""
    end = first[row + 1]

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        is_below = (low < high) & (symbols[middle] < symbol)
        return jnp.where(is_below, middle + 1, low), jnp.where(is_below, high, middle)

    place, _ = jax.lax.fori_loop(0, vocab_size.bit_length(), halve, (first[row], end))
    return place, (place < end) & (symbols[place] == symbol)


def unusable_arrays(
    arrays: Mapping[str, np.ndarray],
    dtypes: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    ends: Mapping[str, int],
) -> str | None:
    """Return which of the arrays of a file is not what it should be, and why; None: all are.

    Whole numbers of those that ``ends`` names are from 0 up to their end, without it.
    """
    for name, array in arrays.items():
        dtype, shape = np.dtype(dtypes[name]), shapes[name]
        if (array.dtype, array.shape) != (dtype, shape):
            has = f"{array.dtype}{list(array.shape)}"
            return f"{name} is {has}, should be {dtype}{list(shape)}"
        if name in ends and array.size and (array.min() < 0 or array.max() >= ends[name]):
            return f"{name} has a number out of its range"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
    return None
