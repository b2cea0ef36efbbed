"""Weighted softmax cross-entropy in nats, through optax."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mm_jax.choices import InputError
from mm_jax.model import Model, Params
from mm_jax.windows import Batch


def nats(model: Model, params: Params, batch: Batch) -> Float[Array, "..."]:
    """Return -log p(target) of each prediction in nats, in the shape of ``batch.targets``.

    Raises InputError where the batch was made for a model of another context.
    """
    logits = model.apply(params, batch.tokens)
    if logits.size // logits.shape[-1] != batch.targets.size:
        length = batch.tokens.shape[-1]
        raise InputError(
            f"the batch has {length} tokens an example, and this model needs batches that were "
            f"made with context={model.context}"
        )
    targets = batch.targets.reshape(logits.shape[:-1])
    each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return each.reshape(batch.targets.shape)


def weighted_nats(model: Model, params: Params, batch: Batch) -> Float[Array, "..."]:
    """Return weight * nats of each prediction; of weight 0 it is 0, even where it is infinite."""
    each = nats(model, params, batch)
    return jnp.where(batch.weights > 0, batch.weights * each, 0.0)


def loss(model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Return the weighted mean of ``nats``: sum(weights * nats) / sum(weights)."""
    return jnp.sum(weighted_nats(model, params, batch)) / jnp.sum(batch.weights)


def mean_square(params: Params) -> Float[Array, ""]:
    """Return the mean of the squares of all parameters; of a single W it is mean(W**2).

    Source: the first makemore lecture, which adds 0.01 * (W**2).mean() to its loss.
    """
    leaves = jax.tree.leaves(params)
    return sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
