import inspect
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OPTIMIZERS, OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.training.optimizers import (
    learning_rates,
    make_optimizer,
    make_schedule,
    step_decay,
    warmup_cosine,
    warmup_linear,
)
from mm_jax.training.state import TrainState
from mm_jax.training.step import train_step
from tests.helpers import FIVE_NAMES, assert_trees_close, bigram, first_params, quick_jit

BATCH = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 1)
MODEL = bigram()
PARAMS = first_params(MODEL)


def choose(optimizer="sgd", learning_rate=0.1, schedule="constant", **more):
    return OptimizerConfig(
        optimizer=optimizer, learning_rate=learning_rate, schedule=schedule, **more
    )


def test_step_decay_is_the_lectures_a_tenth_exactly_from_the_middle_on():
    schedule = step_decay(0.1, 200_000)
    rates = quick_jit(schedule)(np.array([0, 1, 99_999, 100_000, 100_001, 199_999]))
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.01, 0.01, 0.01], rtol=1e-6)


@pytest.mark.parametrize("num", [1, 2, 7])
def test_step_decay_of_a_short_or_odd_run_keeps_the_rate_for_the_first_half(num):
    expected = [0.1 if step < num / 2 else 0.01 for step in range(num)]  # the lecture's rule
    np.testing.assert_allclose(step_decay(0.1, num)(np.arange(num)), expected, rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 50])
def test_cosine_is_linear_up_and_half_a_cosine_down_to_zero(warmup):
    rate, num = 0.3, 300

    def formula(step):
        if step < warmup:
            return rate * step / warmup
        return rate * (1 + math.cos(math.pi * (step - warmup) / (num - warmup))) / 2

    steps = np.arange(num + 1)
    rates = np.asarray(quick_jit(warmup_cosine(rate, num, warmup))(steps))
    np.testing.assert_allclose(rates, [formula(step) for step in steps], atol=1e-7)
    assert rates[warmup] == np.float32(rate)
    assert rates[-1] == pytest.approx(0, abs=1e-8)
    assert warmup == 0 or rates[0] == 0


@pytest.mark.parametrize("warmup", [0, 50])
def test_linear_is_linear_up_and_down_to_zero(warmup):
    rate, num, steps = 0.3, 300, np.arange(301)
    rates = np.asarray(quick_jit(warmup_linear(rate, num, warmup))(steps))
    expected = [
        rate * step / warmup if step < warmup else rate * (num - step) / (num - warmup)
        for step in steps.tolist()
    ]
    np.testing.assert_allclose(rates, expected, atol=1e-7)
    config = OptimizerConfig(learning_rate=rate, schedule="linear", warmup_steps=warmup)
    np.testing.assert_allclose(make_schedule(config, num)(steps), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw", "lion"])
def test_the_shares_that_means_keep_are_the_optimizers_or_those_given(name):
    params, grads = {"W": jnp.array([1.0, -2.0])}, {"W": jnp.array([0.5, 3.0])}

    def second_update(**momenta):
        choices = OptimizerConfig(name, 0.0, learning_rate=0.1, schedule="constant", **momenta)
        optimizer = make_optimizer(choices, 10)
        state = optimizer.init(params)
        _, state = optimizer.update({"W": -grads["W"]}, state, params)
        return optimizer.update(grads, state, params)[0]["W"]

    make = {"adam": optax.adam, "adamw": optax.adamw, "lion": optax.lion}[name]
    decay = {} if name == "adam" else {"weight_decay": 0.0}
    for given in ({}, {"b1": 0.5}, {"b1": 0.85, "b2": 0.9}):
        optimizer = make(0.1, **given, **decay)
        state = optimizer.init(params)
        _, state = optimizer.update({"W": -grads["W"]}, state, params)
        expected = optimizer.update(grads, state, params)[0]["W"]
        np.testing.assert_allclose(second_update(**given), expected, rtol=1e-5)


def test_an_optimizer_without_such_means_refuses_their_shares():
    with pytest.raises(InputError, match="sgd has no --b1; adam, adamw and others have it"):
        make_optimizer(OptimizerConfig("sgd", b1=0.9), 10)


def test_a_warmup_longer_than_the_run_still_rises_to_its_last_step():
    rates = np.asarray(quick_jit(warmup_cosine(0.1, 10, 20))(np.arange(10)))
    np.testing.assert_allclose(rates, 0.1 * np.arange(10) / 20, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "inverse"])
def test_each_step_of_sgd_moves_by_the_rate_of_the_schedule(schedule):
    config, num = (
        choose(schedule=schedule, warmup_steps=4 * (schedule == "cosine"), rate_decay=0.5),
        12,
    )
    optimizer = make_optimizer(config, num)

    def step(carry, _):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jnp.ones(()), opt_state, params)
        return (params, opt_state), -updates

    steps = jnp.arange(num)
    moved = quick_jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), steps)[1])(jnp.ones(()))
    expected = {
        "constant": [0.1] * 12,
        "step": [0.1] * 6 + [0.01] * 6,
        "inverse": [0.1 / (1 + 0.5 * i) for i in range(12)],  # Bengio et al. (2003)
        "cosine": [0.1 * i / 4 for i in range(4)]
        + [0.05 * (1 + math.cos(math.pi * i / 8)) for i in range(8)],
    }[schedule]
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    rates = quick_jit(lambda steps: learning_rates(config, num, steps))(steps)
    assert rates.shape == (num,)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    np.testing.assert_allclose(make_schedule(config, num)(3), expected[3], rtol=1e-6)


RATES = {"sgd": 5.0, "adadelta": 100.0, "lars": 100.0, "novograd": 5.0, "radam": 5.0}
RATES |= {"optimistic_gradient_descent": 1.0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss_of_a_fixed_batch(name):
    optimizer = make_optimizer(choose(name, RATES.get(name, 0.1)), 10)

    @quick_jit
    def train(params, key):
        def step(state, _):
            state, metrics = train_step(MODEL, optimizer, state, BATCH)
            return state, metrics["loss_nats"]

        state = TrainState(jnp.int32(0), params, optimizer.init(params), key)
        return jax.lax.scan(step, state, length=11)[1]

    losses = np.asarray(train(PARAMS, jax.random.key(0)))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 0.1


def trajectory(optimizer, num=20):
    """The parameters after each of some steps, along gradients that are the same for all."""
    generator = np.random.default_rng(0)
    draw = generator.standard_normal
    params = {"W": draw((4, 3)).astype(np.float32), "b": draw(3).astype(np.float32)}
    grads = {name: draw((num, *leaf.shape)).astype(np.float32) for name, leaf in params.items()}

    def step(carry, grad):
        params, opt_state = carry
        updates, opt_state = optimizer.update(grad, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), params

    def run(params):
        return jax.lax.scan(step, (params, optimizer.init(params)), grads)[1]

    return quick_jit(run)(jax.tree.map(jnp.asarray, params))


@pytest.mark.parametrize("name", ["adamw", "lion", "nadamw"])
@pytest.mark.parametrize("decay", [None, 0.0, 0.1])
def test_weight_decay_is_the_optimizers_own_where_it_has_one(name, decay):
    by_name = getattr(optax, name)
    assert "weight_decay" in inspect.signature(by_name).parameters
    given = {} if decay is None else {"weight_decay": decay}
    theirs = trajectory(by_name(0.1, **given))
    assert_trees_close(trajectory(make_optimizer(choose(name, weight_decay=decay), 20)), theirs)
    wrong = trajectory(by_name(0.1, **({"weight_decay": 0.0} if decay != 0 else {})))
    assert np.abs(wrong["W"] - theirs["W"]).max() > 1e-4  # or this test could not fail


def test_adam_with_decay_is_adamw():
    ours = trajectory(make_optimizer(choose("adam", weight_decay=0.1), 20))
    assert_trees_close(ours, trajectory(optax.adamw(0.1, weight_decay=0.1)))


def test_weight_decay_is_decoupled_from_the_gradient():
    optimizer = make_optimizer(choose(weight_decay=0.5), 3)
    params = {"W": jnp.array([[1.0, -2.0]]), "b": jnp.array([3.0])}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = quick_jit(optimizer.update)(zeros, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    assert_trees_close(after, jax.tree.map(lambda leaf: leaf * (1 - 0.1 * 0.5), params))


def test_biases_do_not_decay_where_that_is_chosen():
    optimizer = make_optimizer(choose(weight_decay=0.5, decay_biases="no"), 3)
    params = {"W": jnp.array([[1.0, -2.0]]), "b": jnp.array([3.0])}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = quick_jit(optimizer.update)(zeros, optimizer.init(params), params)
    assert_trees_close(updates, {"W": -0.05 * params["W"], "b": zeros["b"]})


def test_decay_is_not_clipped_and_clipping_is_of_the_gradient():
    optimizer = make_optimizer(choose(weight_decay=0.5, clip_norm=1.0), 3)
    params, grads = {"W": jnp.array([30.0, 40.0])}, {"W": jnp.array([6.0, 8.0])}
    updates, _ = quick_jit(optimizer.update)(grads, optimizer.init(params), params)
    expected = -0.1 * (np.array([0.6, 0.8]) + 0.5 * np.array([30.0, 40.0]))
    assert_trees_close({"W": np.asarray(updates["W"])}, {"W": expected})


@pytest.mark.parametrize(("size", "moved"), [(1e3, 0.1 * 2), (1e-3, 0.1 * 1e-3)])
def test_clipping_bounds_the_norm_of_an_sgd_step_and_leaves_small_ones(size, moved):
    optimizer = make_optimizer(choose(clip_norm=2.0), 3)
    grads = {"W": jnp.array([[0.6, 0.0], [0.0, 0.0]]) * size, "b": jnp.array([-0.8]) * size}
    updates, _ = quick_jit(optimizer.update)(grads, optimizer.init(grads), grads)
    expected = {"W": np.array([[-0.6, 0.0], [0.0, 0.0]]) * moved, "b": np.array([0.8]) * moved}
    np.testing.assert_allclose(updates["W"], expected["W"], rtol=1e-5)
    np.testing.assert_allclose(updates["b"], expected["b"], rtol=1e-5)


def test_a_number_changed_in_the_optimizers_state_counts_and_does_not_trace_again():
    optimizer = make_optimizer(choose("adamw", weight_decay=0.1, clip_norm=5.0), 10)
    traces = itertools.count()

    @quick_jit
    def update(opt_state, params):
        next(traces)
        return optimizer.update(jax.tree.map(jnp.zeros_like, params), opt_state, params)

    params = {"W": jnp.ones(3)}
    opt_state = optimizer.init(params)
    names = {"learning_rate", "schedule", "weight_decay", "clip_norm"}
    assert set(opt_state.hyperparams) == names
    for decay in 0.1, 0.2, 0.0:
        numbers = {
            **opt_state.hyperparams,
            "weight_decay": jnp.float32(decay),
            "learning_rate": jnp.float32(0.05),
            "clip_norm": jnp.float32(1.0),
        }
        updates, opt_state = update(opt_state._replace(hyperparams=numbers), params)
        np.testing.assert_allclose(updates["W"], -0.05 * decay, rtol=1e-6)
    assert next(traces) == 1


def test_equal_choices_give_the_same_optimizer_so_that_nothing_is_traced_twice():
    assert make_optimizer(choose("adam"), 7) is make_optimizer(choose("adam"), 7)
    assert make_optimizer(choose("adam"), 7) is not make_optimizer(choose("adam"), 8)


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(InputError, match="steps must be at least 0, not -1"):
        make_optimizer(choose(), -1)
