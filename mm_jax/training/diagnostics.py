"""Diagnostics of a net at one step: activations, gradients, and how much a step changes each array.

Those of the third makemore lecture. A pure function of a state and a batch that returns a pytree,
so it vmaps over the members of a population; training that never calls it pays nothing.
"""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float, Int

from mm_jax.data.batches import Batch
from mm_jax.models.base import Model
from mm_jax.training.state import TrainState
from mm_jax.training.step import compute_update

SATURATED = 0.97  # |tanh| beyond which its slope is below 6%
BINS = 50
MAX_STDS = 4.0  # a histogram of gradients covers so many standard deviations on either side


@flax.struct.dataclass
class Histogram:
    """How often values fall into ``BINS`` equal bins; the outer bins take what lies beyond."""

    counts: Int[Array, "... bins"]
    low: Float[Array, "..."]  # lower edge of the first bin
    high: Float[Array, "..."]  # upper edge of the last bin


@flax.struct.dataclass
class Diagnostics:
    """Diagnostics; dicts by the name of a hidden layer (``h``) or of an array (``C``, ``W1``)."""

    loss_nats: Float[Array, "..."]
    activations: dict[str, Histogram]
    saturated: dict[str, Float[Array, "..."]]  # share of activations beyond SATURATED
    stuck: dict[str, Float[Array, "..."]]  # share of units saturated for every example
    gradients: dict[str, Histogram]
    gradient_std: dict[str, Float[Array, "..."]]
    update_to_data: dict[str, Float[Array, "..."]]  # std of a step's update / std of the array


def histogram(
    values: Float[Array, "..."],
    low: Float[Array, ""],
    high: Float[Array, ""],
    counted: Bool[Array, "..."] | None = None,
) -> Histogram:
    """Return a histogram from ``low`` to ``high``; values outside count in the outer bins.

    NaN is not counted, nor what is False in ``counted``, an array of the same shape.
    """
    values = values.reshape(-1)
    width = jnp.where(high > low, high - low, 1.0)
    bins = jnp.clip(jnp.floor((values - low) / width * BINS), 0, BINS - 1)
    is_number = ~jnp.isnan(bins)
    if counted is not None:
        is_number &= counted.reshape(-1)
    bins = jnp.where(is_number, bins, 0).astype(jnp.int32)
    counts = jnp.zeros(BINS, jnp.int32).at[bins].add(is_number.astype(jnp.int32))
    return Histogram(counts, low, high)


def _ratio(above: Float[Array, ""], below: Float[Array, ""]) -> Float[Array, ""]:
    """Return a ratio of numbers that are not negative; of 0 to 0 it is 0."""
    without = jnp.where(above > 0, jnp.inf, 0.0)
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), without)


@partial(jax.jit, static_argnums=(0, 1))
def look_inside(
    model: Model, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> Diagnostics:
    """Return the diagnostics of the step that ``batch`` would lead to, without taking it.

    Where all numbers of an array are equal, such as biases before the first step, the ratio of
    update to data is infinite, and 0 where they stay equal. A model without ``hidden`` has no
    activations; those of padding are not counted.
    """
    update = compute_update(model, optimizer, state, batch)
    layers = {} if model.hidden is None else model.hidden(state.params, batch.tokens)
    trees = (update.grads, update.updates, state.params)
    grads, updates, params = (flatten_dict(tree, sep=".") for tree in trees)
    std = {name: jnp.std(leaf) for name, leaf in grads.items()}
    by_unit = {name: h.reshape(-1, h.shape[-1]) for name, h in layers.items()}
    counted = {
        name: jnp.broadcast_to((batch.weights > 0).reshape(-1, 1), h.shape)
        for name, h in by_unit.items()
    }
    saturated = {name: (jnp.abs(h) > SATURATED) & counted[name] for name, h in by_unit.items()}
    edges = jnp.float32(-1.0), jnp.float32(1.0)
    return Diagnostics(
        loss_nats=update.loss_nats,
        activations={name: histogram(h, *edges, counted[name]) for name, h in by_unit.items()},
        saturated={
            name: jnp.sum(each) / jnp.sum(counted[name]) for name, each in saturated.items()
        },
        stuck={
            name: jnp.mean(jnp.all(each | ~counted[name], 0)) for name, each in saturated.items()
        },
        gradients={
            name: histogram(leaf, -MAX_STDS * std[name], MAX_STDS * std[name])
            for name, leaf in grads.items()
        },
        gradient_std=std,
        update_to_data={
            name: _ratio(jnp.std(updates[name]), jnp.std(params[name])) for name in params
        },
    )
