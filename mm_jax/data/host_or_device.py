"""The same arithmetic on the host and on a device: with arrays of NumPy, or of JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int


def module_of(array: Any) -> Any:
    """Return numpy for an array on the host, jax.numpy for one on a device."""
    return np if isinstance(array, np.ndarray) else jnp


def spread(xp: Any, numbers: Any, first: int, end: int) -> Any:
    """Return each number plus ``first`` to ``end``, along one more axis; 64 bits on the host."""
    steps = np.arange(first, end, dtype=np.int64) if xp is np else jnp.arange(first, end)
    return numbers[..., None] + steps.reshape((1,) * numbers.ndim + (-1,))


def ones(xp: Any, targets: Any) -> Any:
    """Return weights of 1; a program that knew them would sum a loss in another order."""
    ones = xp.ones(targets.shape, xp.float32)
    return ones if xp is np else jax.lax.optimization_barrier(ones)


def since_boundary(xp: Any, tokens: Int[Any, "... C"]) -> Int[Any, "... C"]:
    """Return windows with 0 in place of all that stands before the last boundary (0) of each."""
    is_symbol = (tokens != 0)[..., ::-1].astype(xp.int32)
    return tokens * xp.cumprod(is_symbol, -1, dtype=xp.int32)[..., ::-1]
