"""The parts that models are made of: each a pure function of its arrays."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def normals(key: Key[Array, ""], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return an array of standard normals for each name, cut in order out of a single draw.

    Each use of a key costs 0.2 s of compilation on the CPU, so one draw serves them all.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    parts = jnp.split(jax.random.normal(key, (sum(sizes),)), ends)
    pairs = zip(shapes.items(), parts, strict=True)
    return {name: part.reshape(shape) for (name, shape), part in pairs}


def embed(table: Float[Array, "V D"], tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Return row ``token`` of the table for each token; the product with a one-hot row."""
    return table[tokens]


def dropout(key: Key[Array, ""], x: Float[Array, "..."], rate: float) -> Float[Array, "..."]:
    """Return ``x`` with each number set to 0 with probability ``rate``, the others scaled up.

    The expected value is that of ``x``. Eight random bits decide for a number, a third of the cost
    of jax.random.bernoulli, so ``rate`` is rounded to 1/256. Source: Srivastava et al. (2014).
    """
    dropped = round(256 * rate)
    words = jax.random.bits(key, (-(-x.size // 4),), jnp.uint32)
    chances = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size]
    return jnp.where(chances.reshape(x.shape) >= dropped, x * (256 / (256 - dropped)), 0.0)


def dense(
    x: Float[Array, "... D"], weight: Float[Array, "D H"], bias: Float[Array, " H"]
) -> Float[Array, "... H"]:
    """Return x @ weight + bias, as one matmul whatever the leading axes are."""
    flat = x.reshape(-1, x.shape[-1]) @ weight + bias[None, :]
    return flat.reshape(*x.shape[:-1], weight.shape[-1])
