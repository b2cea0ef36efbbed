"""The inside of a net at one step: activations, gradients, and how much a step changes each array.

What the third makemore lecture looks at. A pure function of a state and a batch that returns a
pytree, so that it vmaps over the members of a population; what never calls it pays nothing.
"""

import flax.struct
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int

from mm_jax.data.batches import Batch
from mm_jax.models.base import Model
from mm_jax.training.step import TrainState, compute_update

SATURATED = 0.97  # beyond which, either way, the slope of tanh is below 6%
BINS = 50
REACH = 4.0  # standard deviations that a histogram of gradients reaches to either side


@flax.struct.dataclass
class Histogram:
    """How often values fall into ``BINS`` equal bins; the outer ones take what lies beyond."""

    counts: Int[Array, "... bins"]
    low: Float[Array, "..."]  # where the first bin begins
    high: Float[Array, "..."]  # where the last one ends


@flax.struct.dataclass
class Diagnostics:
    """What there is to see; dicts by the name of a hidden layer, or of an array (``C``, ``W1``)."""

    loss_nats: Float[Array, "..."]
    activations: dict[str, Histogram]
    saturated: dict[str, Float[Array, "..."]]  # the share of activations beyond SATURATED
    stuck: dict[str, Float[Array, "..."]]  # the share of units saturated for every example
    gradients: dict[str, Histogram]
    gradient_std: dict[str, Float[Array, "..."]]
    update_to_data: dict[str, Float[Array, "..."]]  # std of a step's update / std of the array


def histogram(
    values: Float[Array, "..."], low: Float[Array, ""], high: Float[Array, ""]
) -> Histogram:
    """Return how often values fall between ``low`` and ``high``; those outside go to the ends.

    What is not a number is not counted.
    """
    values = values.reshape(-1)
    width = jnp.where(high > low, high - low, 1.0)
    places = jnp.clip(jnp.floor((values - low) / width * BINS), 0, BINS - 1)
    known = ~jnp.isnan(places)
    places = jnp.where(known, places, 0).astype(jnp.int32)
    counts = jnp.zeros(BINS, jnp.int32).at[places].add(known.astype(jnp.int32))
    return Histogram(counts, low, high)


def look_inside(
    model: Model, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> Diagnostics:
    """Return what the net looks like inside as it would take a step on ``batch``; takes none.

    Of an array that is the same all over, such as biases before the first step, the ratio of update
    to data is infinite or not a number. A model without ``hidden`` has no activations to see.
    """
    found = compute_update(model, optimizer, state, batch)
    layers = {} if model.hidden is None else model.hidden(state.params, batch.tokens)
    trees = (found.grads, found.updates, state.params)
    grads, updates, params = (flatten_dict(tree, sep=".") for tree in trees)
    std = {name: jnp.std(leaf) for name, leaf in grads.items()}
    far = {name: jnp.abs(h) > SATURATED for name, h in layers.items()}
    units = {name: each.reshape(-1, each.shape[-1]) for name, each in far.items()}
    ends = jnp.float32(-1.0), jnp.float32(1.0)
    return Diagnostics(
        loss_nats=found.loss_nats,
        activations={name: histogram(h, *ends) for name, h in layers.items()},
        saturated={name: jnp.mean(each) for name, each in far.items()},
        stuck={name: jnp.mean(jnp.all(each, 0)) for name, each in units.items()},
        gradients={
            name: histogram(leaf, -REACH * std[name], REACH * std[name])
            for name, leaf in grads.items()
        },
        gradient_std=std,
        update_to_data={name: jnp.std(updates[name]) / jnp.std(params[name]) for name in params},
    )
