"""Random keys, checked."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mm_jax.config.base import InputError


def as_key(key: Any, name: str) -> Key[Array, "..."]:
    """Return a random key, or several; one of the old kind, uint32[2], as one of today's.

    Raises InputError for anything else; the error calls it ``name``.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", ())
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype == jnp.uint32 and shape[-1:] == (2,):
        return jax.random.wrap_key_data(key)
    what = f"a {type(key).__name__}" if dtype is None else f"{dtype}{list(shape)}"
    if isinstance(key, int | float):
        what = f"the number {key!r}"
    raise InputError(f"{name} is {what}; it should be a random key, as jax.random.key(0) makes it")
