"""Weighted softmax cross-entropy in nats, through optax."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mm_jax.model import Model, Params
from mm_jax.windows import Batch


def nats(model: Model, params: Params, batch: Batch) -> Float[Array, "..."]:
    """Return -log p(target) of each prediction in nats, in the shape of ``batch.targets``."""
    logits = model.apply(params, batch.tokens)
    targets = batch.targets.reshape(logits.shape[:-1])
    each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return each.reshape(batch.targets.shape)


def loss(model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Return the weighted mean of ``nats``: sum(weights * nats) / sum(weights)."""
    each = nats(model, params, batch)
    return jnp.sum(batch.weights * each) / jnp.sum(batch.weights)
