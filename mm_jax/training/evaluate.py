"""Exact loss of a split: the nats of all its predictions, summed and divided once."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch, pad_batch
from mm_jax.models.base import Model, Params
from mm_jax.runtime.mesh import split
from mm_jax.training.loss import weighted_nats


@partial(jax.jit, static_argnames=("model", "batch_size", "mesh"))
def evaluate(
    model: Model, params: Params, data: Batch, *, batch_size: int = 4096, mesh: Mesh | None = None
) -> Float[Array, ""]:
    """Return the mean nats per symbol over the whole of ``data``.

    ``batch_size`` bounds the memory and changes nothing else: the last batch is padded with
    examples of weight 0, and sums are taken in small groups, so that rounding stays near 1e-7. On a
    ``mesh`` each batch is split over its axis "data".
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    devices = 1 if mesh is None else mesh.shape["data"]
    batch_size = -(-min(batch_size, len(data.targets)) // devices) * devices
    data = pad_batch(data, batch_size)

    def blocks(array: Array) -> Array:
        return array.reshape(-1, batch_size, *array.shape[1:])

    def block_sums(batch: Batch) -> tuple[Float[Array, ""], Float[Array, ""]]:
        sums = _grouped_sum(weighted_nats(model, params, batch))
        return sums, _grouped_sum(batch.weights)

    sums, weights = jax.lax.map(block_sums, split(jax.tree.map(blocks, data), mesh, 1))
    return _grouped_sum(sums) / _grouped_sum(weights)


def _grouped_sum(array: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the sum in groups of 32: rounding grows with the logarithm of the size."""
    flat = array.reshape(-1)
    while flat.size > 1:
        flat = jnp.pad(flat, (0, -flat.size % 32)).reshape(-1, 32).sum(-1)
    return flat.reshape(())
