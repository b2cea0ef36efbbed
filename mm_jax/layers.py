"""The parts that models are made of: each a pure function of its arrays."""

from jaxtyping import Array, Float, Int


def embed(table: Float[Array, "V D"], tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Return row ``token`` of the table for each token; the product with a one-hot row."""
    return table[tokens]


def dense(
    x: Float[Array, "... D"], weight: Float[Array, "D H"], bias: Float[Array, " H"]
) -> Float[Array, "... H"]:
    """Return x @ weight + bias, as one matmul whatever the leading axes are."""
    flat = x.reshape(-1, x.shape[-1]) @ weight + bias[None, :]
    return flat.reshape(*x.shape[:-1], weight.shape[-1])
