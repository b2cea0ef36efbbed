"""Diagnostics are what the formulas say, and change nothing."""

import dataclasses
import functools
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax import population
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import rows, windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.training.diagnostics import BINS, SATURATED, histogram, look_inside
from mm_jax.training.loss import loss
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit, train_step
from tests.helpers import (
    FIVE_NAMES,
    V,
    assert_trees_close,
    assert_trees_identical,
    bigram,
    gru,
    mlp64,
    quick_jit,
)

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
BATCH = windows(FIVE_NAMES, LETTERS, 3)
MODEL = mlp(V, 3, 4, 20)
SGD = make_optimizer(OptimizerConfig(learning_rate=0.5, schedule="constant"), 10)


def begin(model=MODEL, optimizer=SGD, seed=0, **numbers):
    return init_state(model, optimizer, jax.random.key(seed), **numbers)


@functools.cache
def diagnose(model, optimizer):
    return quick_jit(partial(look_inside, model, optimizer))


def diagnostics_of(state, model=MODEL, optimizer=SGD, batch=BATCH):
    return diagnose(model, optimizer)(state, batch)


def test_activations_are_those_of_the_layer():
    state = begin()
    found = diagnostics_of(state)
    h, _ = mlp64(state.params, BATCH.tokens)
    expected, _ = np.histogram(h, BINS, (-1, 1))
    counts = np.asarray(found.activations["h"].counts)
    assert counts.sum() == h.size
    assert np.abs(counts - expected).sum() <= 4  # one at the edge of a bin may fall on either side
    far = np.abs(h) > SATURATED
    assert float(found.saturated["h"]) == pytest.approx(far.mean(), abs=1.5 / h.size)
    assert float(found.stuck["h"]) == pytest.approx(far.all(0).mean(), abs=1e-6)
    assert 0 < far.mean() < 1


def test_activations_of_padding_are_not_counted():
    model = gru()
    at_boundaries = lambda _params, tokens: {"h": 0.99 * (tokens[..., None] == 0)}  # noqa: E731
    model = model._replace(hidden=at_boundaries)
    batch = rows(["emma", "isabella"], LETTERS, None)  # 5 + 9 predictions in two rows of 9
    found = diagnostics_of(begin(model), model, SGD, batch)
    assert int(found.activations["h"].counts.sum()) == 14
    assert float(found.saturated["h"]) == pytest.approx(2 / 14)  # the boundaries in front
    assert float(found.stuck["h"]) == 0


def test_a_unit_that_never_leaves_saturation_is_stuck():
    state = begin()
    params = state.params | {"b1": jnp.full(20, -40.0).at[:15].set(0.0)}
    found = diagnostics_of(dataclasses.replace(state, params=params))
    assert float(found.stuck["h"]) >= 5 / 20
    loose = params | {"W1": 1e-3 * params["W1"], "b1": jnp.zeros(20)}
    assert float(diagnostics_of(dataclasses.replace(state, params=loose)).saturated["h"]) == 0


def test_gradients_and_the_loss_are_those_of_the_batch():
    state = begin()
    value, grads = quick_jit(jax.value_and_grad(partial(loss, MODEL)))(state.params, BATCH)
    found = diagnostics_of(state)
    assert float(found.loss_nats) == pytest.approx(float(value), rel=1e-5)
    assert found.gradients.keys() == grads.keys()
    for name, grad in grads.items():
        std = float(np.std(grad))
        assert float(found.gradient_std[name]) == pytest.approx(std, rel=1e-4)
        histogram_of = found.gradients[name]
        assert int(histogram_of.counts.sum()) == grad.size
        assert float(histogram_of.high) == pytest.approx(4 * std, rel=1e-4)
        assert float(histogram_of.low) == -float(histogram_of.high)
        beyond = np.asarray(grad) > 4 * std * (1 - 2 / BINS)
        assert int(histogram_of.counts[-1]) == pytest.approx(beyond.sum(), abs=1)


@pytest.mark.parametrize(
    "config", [OptimizerConfig(learning_rate=0.5), OptimizerConfig("adamw", learning_rate=0.01)]
)
def test_the_ratio_is_that_of_the_step_which_is_taken(config):
    optimizer = make_optimizer(config, 10)
    state = begin(optimizer=optimizer, regularization=0.1)
    before = jax.tree.map(np.array, state.params)
    found = diagnostics_of(state, optimizer=optimizer)
    after, _ = train_step(MODEL, optimizer, state, BATCH)
    for name in before:
        update = np.asarray(after.params[name], np.float64) - before[name]
        ratio = update.std() / before[name].std()
        assert float(found.update_to_data[name]) == pytest.approx(ratio, rel=1e-2), name


def test_no_step_is_taken():
    state = begin()
    kept = jax.tree.map(lambda leaf: leaf + 0 if leaf.dtype != state.key.dtype else leaf, state)
    diagnostics_of(state)
    assert_trees_identical(state, kept)


def test_equal_biases_have_no_ratio():
    state = begin(mlp(V, 3, 4, 20, "scaled"))
    found = diagnostics_of(state, mlp(V, 3, 4, 20, "scaled"))
    assert not np.isfinite(found.update_to_data["b1"])
    assert np.isfinite(found.update_to_data["W1"])


def test_dropout_is_for_training_and_leaves_the_layer_whole():
    model = mlp(V, 3, 4, 20, "lecture", 0.5)
    state = begin(model)
    found = diagnostics_of(state, model)
    assert_trees_close(found.activations, diagnostics_of(begin()).activations)


def test_it_vmaps_over_a_population():
    keys = jax.vmap(jax.random.key)(jnp.arange(3, dtype=jnp.uint32))
    many = population.init(MODEL, SGD, keys)
    together = quick_jit(jax.vmap(partial(look_inside, MODEL, SGD), in_axes=(0, None)))(many, BATCH)
    assert together.saturated["h"].shape == (3,)
    for i in range(3):
        one = diagnostics_of(begin(seed=i))
        for name, ratio in one.update_to_data.items():
            assert float(together.update_to_data[name][i]) == pytest.approx(float(ratio), rel=1e-3)
        assert float(together.saturated["h"][i]) == pytest.approx(
            float(one.saturated["h"]), abs=1e-3
        )


@pytest.mark.parametrize("model", [bigram(), gru()], ids=["bigram", "gru"])
def test_a_model_without_hidden_layers_to_show_has_its_gradients(model):
    batch = (windows if model.context else rows)(FIVE_NAMES, LETTERS, model.context)
    found = diagnostics_of(begin(model), model, batch=batch)
    assert found.activations == found.saturated == {}
    assert all(np.isfinite(leaf) for leaf in found.gradient_std.values())
    assert ("gate.x" in found.gradients) == (model is gru())


def test_a_histogram_takes_what_lies_outside_at_its_ends():
    values = jnp.array([-9.0, -1.0, 0.0, 0.999, 1.0, 9.0])
    quick_histogram = quick_jit(histogram)
    found = quick_histogram(values, jnp.float32(-1), jnp.float32(1))
    counts = np.asarray(found.counts)
    assert (counts[0], counts[-1], counts[BINS // 2], counts.sum()) == (2, 3, 1, 6)
    odd = jnp.array([jnp.nan, jnp.inf, -jnp.inf, 0.0, jnp.nan, jnp.nan])
    odd = quick_histogram(odd, jnp.float32(-1), jnp.float32(1))
    counts = np.asarray(odd.counts)
    assert (counts[0], counts[-1], counts.sum()) == (1, 1, 3)  # what is no number is not counted
    same = quick_histogram(jnp.zeros(6), jnp.float32(0), jnp.float32(0))  # nothing differs
    assert int(same.counts.sum()) == 6


def test_training_without_diagnostics_pays_nothing():
    """The program of a training step has no operation more than one of a model without layers."""
    bare = MODEL._replace(hidden=None)
    texts = [
        str(jax.make_jaxpr(partial(fit, model, SGD, num_steps=3, batch_size=4))(begin(), BATCH))
        for model in (MODEL, bare)
    ]
    texts = [re.sub(r"Model\(.*?\)\n|0x[0-9a-f]+", "", text) for text in texts]
    assert texts[0] == texts[1]
