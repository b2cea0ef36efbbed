"""Weighted softmax cross-entropy in nats, through optax."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.models.base import Model, Params, at_least_float32, vocab_size_of
from mm_jax.models.layers import Head
from mm_jax.training.data import check_kind, check_weights
from mm_jax.training.large_softmax import is_large, weighted_cross_entropy
from mm_jax.training.sampled_softmax import sampled_cross_entropy


def predict(
    model: Model, params: Params, batch: Batch, key: Key[Array, ""] | None = None
) -> Float[Array, "... V"]:
    """Return the logits of each prediction, (*batch.targets.shape, V); with a key, of training.

    In float32 at least, since a softmax needs that precision. Raises InputError where the batch is
    of a kind that the model does not read, or there are not as many logits as predictions.
    """
    check_kind(model, batch)
    if key is None or model.apply_train is None:
        logits = model.apply(params, batch.tokens)
    else:
        logits = model.apply_train(params, batch.tokens, key)
    length, lead = batch.tokens.shape[-1], model.lead
    wanted = (*batch.tokens.shape[:-1], length - lead + 1)
    if logits.shape[:-1] != wanted:
        raise InputError(
            f"the model's apply gave logits of shape {logits.shape} for tokens of shape "
            f"{batch.tokens.shape}; it should be {(*wanted, logits.shape[-1])}, V logits for "
            f"each of the {wanted[-1]} predictions"
        )
    return at_least_float32(logits).reshape(*batch.targets.shape, logits.shape[-1])


def nats(model: Model, params: Params, batch: Batch) -> Float[Array, "..."]:
    """Return -log p(target) of each prediction in nats, in the shape of ``batch.targets``.

    Raises InputError where the batch is of a kind that the model does not read.
    """
    check_kind(model, batch)
    if model.target_log_probs is not None:
        lead = batch.tokens.shape[:-1]
        targets = batch.targets.reshape(*lead, -1)
        return -model.target_log_probs(params, batch.tokens, targets).reshape(batch.targets.shape)
    logits = predict(model, params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)


def weighted(batch: Batch, each: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return weight * value of each prediction; 0 where the weight is 0, even of inf or NaN."""
    return jnp.where(batch.weights > 0, batch.weights * each, 0.0)


def weighted_nats(model: Model, params: Params, batch: Batch) -> Float[Array, "..."]:
    """Return weight * nats of each prediction; 0 where the weight is 0, even of inf or NaN."""
    return weighted(batch, nats(model, params, batch))


def loss(model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Return the weighted mean of ``nats``: sum(weights * nats) / sum(weights).

    Raises InputError as ``nats`` does, and where all weights are 0.
    """
    check_weights(batch.weights)
    return jnp.sum(weighted_nats(model, params, batch)) / jnp.sum(batch.weights)


def training_loss(
    model: Model,
    params: Params,
    batch: Batch,
    *,
    key: Key[Array, ""] | None = None,
    label_smoothing: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the loss that training minimises, and the mean nats; equal without label smoothing.

    ``label_smoothing`` e moves the share e of the target's probability to all V symbols evenly:
    (1 - e) * nats + e * mean of the V symbols' nats (Szegedy et al. 2016, section 7).
    A model with ``draw_symbols`` and a key has both on the symbols that this key draws.
    Raises InputError as ``nats`` does, and for label smoothing on drawn symbols.
    """
    if model.draw_symbols is not None and key is not None:
        return _sampled_loss(model, params, batch, key, label_smoothing)
    if model.head is not None and is_large(batch.targets.size, vocab_size_of(model, params)):
        head = _last_layer(model, params, batch, key)
        with jax.named_scope("loss"):
            total = jnp.sum(batch.weights)
            sums = weighted_cross_entropy(head, batch.targets, batch.weights, label_smoothing)
            return sums[0] / total, sums[1] / total
    logits = predict(model, params, batch, key)
    with jax.named_scope("loss"):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        total = jnp.sum(batch.weights)
        mean_nats = jnp.sum(weighted(batch, each)) / total
        if label_smoothing is None:
            return mean_nats, mean_nats
        uniform = jnp.mean(jax.nn.logsumexp(logits, -1, keepdims=True) - logits, -1)
        smooth = each + label_smoothing * (uniform - each)
        return jnp.sum(weighted(batch, smooth)) / total, mean_nats


def _last_layer(model: Model, params: Params, batch: Batch, key: Key[Array, ""] | None) -> Head:
    """Return what the logits of a batch are made from; with a key, those of training."""
    check_kind(model, batch)
    return cast(Any, model.head)(params, batch.tokens, None if model.apply_train is None else key)


def _sampled_loss(
    model: Model,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    label_smoothing: Float[Array, ""] | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    if label_smoothing is not None:
        raise InputError("label smoothing reads all symbols, and this loss reads a sample of them")
    key, key_drawn = jax.random.split(key)
    head, draw = _last_layer(model, params, batch, key), cast(Any, model.draw_symbols)
    with jax.named_scope("loss"):
        each = sampled_cross_entropy(head, batch.targets, draw(key_drawn))
        mean_nats = jnp.sum(weighted(batch, each)) / jnp.sum(batch.weights)
        return mean_nats, mean_nats


def mean_square(params: Params) -> Float[Array, ""]:
    """Return the mean of the squares of all parameters; for a single W that is mean(W**2).

    Source: the first makemore lecture, which adds 0.01 * (W**2).mean() to its loss.
    """
    leaves = jax.tree.leaves(params)
    return sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
