"""Exact loss of a split: the sum of nats over all its predictions, divided once."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mm_jax.choices import InputError
from mm_jax.loss import weighted_nats
from mm_jax.model import Model, Params
from mm_jax.windows import Batch


@partial(jax.jit, static_argnames=("model", "batch_size"))
def evaluate(
    model: Model, params: Params, data: Batch, *, batch_size: int = 4096
) -> Float[Array, ""]:
    """Return the mean nats per symbol over the whole of ``data``.

    ``batch_size`` bounds the memory and changes nothing else: the last batch is filled up with
    examples of weight 0, and sums are taken in small groups, so that rounding stays near 1e-7.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    num_examples = len(data.targets)
    batch_size = min(batch_size, num_examples)
    num_batches = -(-num_examples // batch_size)

    def blocks(array: Array) -> Array:
        padding = [(0, num_batches * batch_size - num_examples)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(num_batches, batch_size, *array.shape[1:])

    def block_sums(batch: Batch) -> tuple[Float[Array, ""], Float[Array, ""]]:
        sums = _grouped_sum(weighted_nats(model, params, batch))
        return sums, _grouped_sum(batch.weights)

    sums, weights = jax.lax.map(block_sums, jax.tree.map(blocks, data))
    return _grouped_sum(sums) / _grouped_sum(weights)


def _grouped_sum(array: Float[Array, "..."]) -> Float[Array, ""]:
    """Sum by groups of 32, then the groups: rounding grows with the logarithm of the size."""
    flat = array.reshape(-1)
    while flat.size > 1:
        flat = jnp.pad(flat, (0, -flat.size % 32)).reshape(-1, 32).sum(-1)
    return flat.reshape(())
