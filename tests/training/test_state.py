"""States: they own their arrays. What is no state is told in tests/system/test_messages.py."""

import jax
import jax.numpy as jnp
import optax
import pytest

from mm_jax import population
from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import train_step
from tests.helpers import FIVE_NAMES, V, assert_trees_identical, first_params

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL = mlp(V, 3, 4, 8)
SGD = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
BATCH = windows(FIVE_NAMES, LETTERS, 3)
KEY = jax.random.key(0)


def stores_params():
    """An optimizer whose state is the parameters themselves, the same arrays."""
    return optax.GradientTransformation(
        lambda params: params, lambda grads, state, _: (grads, state)
    )


# What a state owns


def test_a_step_leaves_the_callers_parameters_as_they_are():
    given = first_params(MODEL)
    kept = jax.device_get(given)
    state = init_state(MODEL, SGD, KEY, params=given)
    train_step(MODEL, SGD, state, BATCH)
    assert_trees_identical(given, kept)


def test_a_step_leaves_parameters_that_init_keeps_as_they_are():
    kept = first_params(MODEL)
    model = MODEL._replace(init=lambda _: kept)
    for _ in range(2):
        train_step(model, SGD, init_state(model, SGD, KEY), BATCH)


def test_a_step_leaves_the_callers_numbers_as_they_are():
    strength, decay = jnp.float32(0.01), jnp.float32(0.9)
    state = init_state(MODEL, SGD, KEY, regularization=strength, average_decay=decay)
    train_step(MODEL, SGD, state, BATCH)
    assert (float(strength), float(decay)) == pytest.approx((0.01, 0.9))


def test_an_optimizer_may_keep_the_parameters_themselves():
    optimizer = stores_params()
    state = init_state(MODEL, optimizer, KEY)
    after, _ = train_step(MODEL, optimizer, state, BATCH)  # donates no array twice
    assert int(after.step) == 1


def test_a_state_can_be_made_within_a_program():
    inside = jax.jit(lambda key: init_state(MODEL, SGD, key))(KEY)
    assert_trees_identical(inside, init_state(MODEL, SGD, KEY))


# Hyperparameters


def test_a_parameter_of_the_same_name_is_no_hyperparameter():
    adam = make_optimizer(OptimizerConfig(optimizer="adam", learning_rate=0.1), 10)
    for name in "b1", "W1", "count", "mu":
        with pytest.raises(InputError, match=f"no hyperparameter {name} in its state"):
            population.init(MODEL, adam, jax.random.split(KEY, 2), **{name: jnp.ones(2)})


def test_a_hyperparameter_of_a_parameters_name_changes_that_alone():
    adam = optax.inject_hyperparams(optax.adam)(0.1)
    keys = jax.random.split(KEY, 2)
    plain = population.init(MODEL, adam, keys)
    varied = population.init(MODEL, adam, keys, b1=jnp.array([0.5, 0.7]))
    assert varied.opt_state.hyperparams["b1"].tolist() == pytest.approx([0.5, 0.7])
    assert_trees_identical(varied.opt_state.inner_state, plain.opt_state.inner_state)
