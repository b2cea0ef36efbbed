"""Exact loss of a split: the nats of all its predictions, summed and divided once."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Examples, gather, is_on_host
from mm_jax.models.base import Model, Params, vocab_size_of
from mm_jax.runtime.mesh import split
from mm_jax.training.data import check_shared, read_by
from mm_jax.training.loss import weighted_nats
from mm_jax.training.memory import numbers_per_example

MAX_TOKENS = 2**20  # of a block of long rows
MAX_NUMBERS = 2**24  # of the largest array of a block: 64 MB, and there may be a few of them
HOST_BLOCKS = 16  # blocks that are gathered at once from a mapped file


def evaluate(
    model: Model,
    params: Params,
    data: Corpus | Examples,
    *,
    batch_size: int = 4096,
    mesh: Mesh | None = None,
) -> Float[Array, ""]:
    """Return the mean nats per symbol over the whole of ``data``, a corpus or a Batch.

    Each token is predicted once; in a document by a model that reads rows after at least half a
    block, but for the first half block. ``batch_size`` bounds the memory and changes nothing else:
    the last batch is filled up with examples of weight 0, and sums are taken in small groups, so
    that rounding stays near 1e-7. On a ``mesh`` each batch is split over its axis "data". Raises
    InputError where the data are of a kind that the model does not read.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    examples = read_by(model, data, params, packed=True)
    check_shared(examples)
    examples = examples.exact
    if is_on_host(examples):
        return _evaluate_on_host(model, params, examples, batch_size)
    return _evaluate(model, params, examples, batch_size=batch_size, mesh=mesh)


@partial(jax.jit, static_argnames=("model", "batch_size", "mesh"))
def _evaluate(
    model: Model, params: Params, examples: Any, *, batch_size: int, mesh: Mesh | None
) -> Float[Array, ""]:
    devices, num_examples = 1 if mesh is None else mesh.shape["data"], examples.num_examples
    batch_size = block_size(model, params, examples, batch_size)
    batch_size = -(-batch_size // devices) * devices

    def block_sums(first: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        numbers = first + jnp.arange(batch_size)
        batch = examples.take(jnp.minimum(numbers, num_examples - 1))
        is_one = (numbers < num_examples).reshape((-1,) + (1,) * (batch.weights.ndim - 1))
        weights = jnp.where(is_one, batch.weights, 0.0)
        return _sums(model, params, split(Batch(batch.tokens, batch.targets, weights), mesh, 0))

    firsts = jnp.arange(-(-num_examples // batch_size)) * batch_size
    sums, weights = jax.lax.map(block_sums, firsts)
    return grouped_sum(sums) / grouped_sum(weights)


def block_size(
    model: Model, params: Params, examples: Any, batch_size: int, num_members: int = 1
) -> int:
    """Return how many examples make a block: ``batch_size``, and fewer where they would be large.

    That is of long rows and of many symbols. ``params`` are those of one member, or their shapes.
    """
    size = min(batch_size, examples.num_examples, max(1, MAX_TOKENS // examples.example_size))
    if model.context is None or model.target_log_probs is not None:
        numbers = numbers_per_example(model, params, examples)
    else:  # to trace takes a tenth of a second, and of windows the logits are the largest
        numbers = max(1, examples.example_size - model.lead) * vocab_size_of(model, params)
    return min(size, max(1, MAX_NUMBERS // (num_members * numbers)))


def _sums(model: Model, params: Params, batch: Batch) -> tuple[Float[Array, ""], Float[Array, ""]]:
    return grouped_sum(weighted_nats(model, params, batch)), grouped_sum(batch.weights)


def _evaluate_on_host(
    model: Model, params: Params, examples: Any, batch_size: int
) -> Float[Array, ""]:
    """Return what _evaluate does, of examples that are gathered from a mapped file."""
    num_examples = examples.num_examples
    batch_size = block_size(model, params, examples, batch_size)
    sums: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for first in range(0, num_examples, batch_size * HOST_BLOCKS):
        numbers = np.arange(first, first + batch_size * HOST_BLOCKS, dtype=np.int64)
        batch = gather(examples, np.minimum(numbers, num_examples - 1))
        batch.weights[numbers >= num_examples] = 0
        blocks = jax.tree.map(lambda leaf: leaf.reshape(HOST_BLOCKS, -1, *leaf.shape[1:]), batch)
        for each, into in zip(_block_sums(model, params, blocks), (sums, weights), strict=True):
            into.append(np.asarray(each))
    count = -(-num_examples // batch_size)  # without blocks behind the last example
    total, weight = (_jitted_sum(np.concatenate(each)[:count]) for each in (sums, weights))
    return total / weight


@partial(jax.jit, static_argnames="model")
def _block_sums(
    model: Model, params: Params, blocks: Batch
) -> tuple[Float[Array, " blocks"], Float[Array, " blocks"]]:
    return jax.lax.map(partial(_sums, model, params), blocks)


def grouped_sum(array: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the sum in groups of 32: rounding grows with the logarithm of the size."""
    flat = array.reshape(-1)
    while flat.size > 1:
        flat = jnp.pad(flat, (0, -flat.size % 32)).reshape(-1, 32).sum(-1)
    return flat.reshape(())


_jitted_sum = jax.jit(grouped_sum)
