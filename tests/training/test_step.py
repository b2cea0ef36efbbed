import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.training.loss import loss
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import TrainState, init_state
from mm_jax.training.step import NotFiniteError, fit, fit_chunks, minibatch_ids, train_step
from tests.helpers import (
    FIVE_NAMES,
    V,
    as64,
    assert_frequencies,
    assert_trees_close,
    assert_trees_identical,
    bigram,
    mlp64,
    nats64,
    quick_jit,
    softmax64,
)

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL, BIGRAM = mlp(V, 3, 4, 16, "scaled"), bigram()
SGD = make_optimizer(OptimizerConfig(learning_rate=0.1), 1000)  # 0.1, then 0.01 from step 500
draw_ids = quick_jit(minibatch_ids, static_argnums=(2, 3))
LOSS = quick_jit(loss, static_argnums=0)


@pytest.fixture(scope="module")
def data():
    return windows(read_lines().lines[:60], LETTERS, 3)


@pytest.fixture(scope="module")
def pairs():
    return windows(FIVE_NAMES, LETTERS, 1)


@pytest.fixture(scope="module")
def start():
    return quick_jit(lambda key: init_state(MODEL, SGD, key))(jax.random.key(0))


def test_training_starts_from_given_parameters(start):
    given = jax.tree.map(lambda leaf: leaf + 1, start.params)
    state = init_state(MODEL, SGD, jax.random.key(0), params=given)
    assert_trees_identical(state.params, given)
    # all else is as it is for parameters that the key draws
    assert_trees_identical(dataclasses.replace(state, params=start.params), start)


def copied(state):
    """The same state in memory of its own, to be donated."""
    return jax.tree.map(jnp.copy, state)


def run(state, data, num_steps, chunk_steps, *, model=MODEL, optimizer=SGD):
    """The last state of a run, and the losses of all its steps."""
    losses = []
    for after, chunk in fit_chunks(
        model, optimizer, state, data, num_steps=num_steps, batch_size=32, chunk_steps=chunk_steps
    ):
        state = after
        losses.extend(chunk.tolist())
    return state, losses


@pytest.fixture(scope="module")
def thousand(start, data):
    return run(start, data, 1000, 100)


@pytest.mark.parametrize("chunk_steps", [7, 1000])
def test_the_length_of_a_chunk_changes_no_bit(start, data, thousand, chunk_steps):
    state, losses = run(start, data, 1000, chunk_steps)
    assert losses == thousand[1]
    assert len(losses) == 1000
    assert_trees_identical(state, thousand[0])
    assert int(state.step) == 1000


def test_training_lowers_the_loss_and_the_state_handed_in_stays(start, data, thousand):
    assert np.mean(thousand[1][-100:]) < thousand[1][0] - 0.5
    assert int(start.step) == 0
    assert not np.array_equal(start.params["W1"], thousand[0].params["W1"])


def test_resuming_equals_not_stopping(start, data, thousand):
    half, first = run(start, data, 450, 100)
    assert int(half.step) == 450
    kept = jax.device_get((half.step, half.params, half.opt_state))  # as a file would keep it
    key = jax.random.wrap_key_data(np.asarray(jax.random.key_data(half.key)))
    again = TrainState(*jax.tree.map(jnp.asarray, kept), key)
    whole, second = run(again, data, 1000, 100)
    assert first + second == thousand[1]
    assert_trees_identical(whole, thousand[0])


def test_chunks_are_handed_out_one_by_one_with_the_steps_taken(start, data):
    chunks = list(
        fit_chunks(MODEL, SGD, start, data, num_steps=250, batch_size=32, chunk_steps=100)
    )
    assert [int(state.step) for state, _ in chunks] == [100, 200, 250]
    assert [len(losses) for _, losses in chunks] == [100, 100, 50]
    assert run(chunks[-1][0], data, 250, 100)[1] == []


def step64(params, windows, targets, rate):
    """One step of gradient descent in float64, derived by hand: (loss, parameters)."""
    p, num = as64(params), len(targets)
    windows = np.asarray(windows)
    h, logits = mlp64(params, windows)
    d_logits = (softmax64(logits) - np.eye(V)[targets]) / num
    d_pre = (d_logits @ p["W2"].T) * (1 - h**2)
    emb = p["C"][windows].reshape(num, -1)
    d_emb = (d_pre @ p["W1"].T).reshape(*windows.shape, -1)
    d_C = np.zeros_like(p["C"])
    np.add.at(d_C, windows, d_emb)
    grads = {"C": d_C, "W1": emb.T @ d_pre, "b1": d_pre.sum(0)}
    grads |= {"W2": h.T @ d_logits, "b2": d_logits.sum(0)}
    after = {name: leaf - rate * grads[name] for name, leaf in p.items()}
    return nats64(logits, targets).mean(), after


def test_a_step_of_sgd_is_that_of_numpy_in_float64(start):
    batch = windows(FIVE_NAMES, LETTERS, 3)
    expected_loss, expected = step64(start.params, batch.tokens, np.asarray(batch.targets), 0.1)
    after, metrics = train_step(MODEL, SGD, copied(start), batch)
    assert float(metrics["loss_nats"]) == pytest.approx(expected_loss, rel=1e-6)
    assert_trees_close(jax.device_get(after.params), expected)
    moved = {name: after.params[name] - start.params[name] for name in expected}
    for name, leaf in moved.items():
        np.testing.assert_allclose(leaf, expected[name] - as64(start.params)[name], atol=2e-7)
        assert np.any(leaf)
    assert int(after.step) == 1


def test_the_state_handed_to_train_step_is_donated(start):
    state = copied(start)
    train_step(MODEL, SGD, state, windows(FIVE_NAMES, LETTERS, 3))
    assert all(leaf.is_deleted() for leaf in state.params.values())
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state.params["W1"])


def test_fit_takes_the_steps_that_train_step_takes(start, data):
    state, by_hand = copied(start), []
    for _ in range(5):
        ids = np.asarray(draw_ids(state.key, state.step, len(data.targets), 32))
        batch = jax.tree.map(lambda array, ids=ids: jnp.asarray(np.asarray(array)[ids]), data)
        state, metrics = train_step(MODEL, SGD, state, batch)
        by_hand.append(metrics["loss_nats"])
    after, losses = fit(MODEL, SGD, start, data, num_steps=5, batch_size=32)
    assert_trees_close(losses, np.stack(by_hand))
    assert_trees_close(after, state)


def test_the_minibatch_of_a_step_depends_on_key_and_step_alone(start, data):
    num = len(data.targets)
    ids = np.asarray(draw_ids(start.key, jnp.int32(5), num, 32))
    assert ids.tolist() == draw_ids(start.key, jnp.int32(5), num, 32).tolist()
    assert ids.tolist() != draw_ids(start.key, jnp.int32(6), num, 32).tolist()
    other_key = jax.random.key(9)
    assert ids.tolist() != draw_ids(other_key, jnp.int32(5), num, 32).tolist()
    # However a run came to step 5, and whatever its parameters are, these are its examples.
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), start.params)
    state = start.replace(step=jnp.int32(5), params=jax.tree.map(jnp.asarray, params))
    losses = fit(MODEL, SGD, state, data, num_steps=5, batch_size=32)[1]
    logits = mlp64(params, np.asarray(data.tokens)[ids])[1]
    expected = nats64(logits, np.asarray(data.targets)[ids]).mean()
    assert float(losses[0]) == pytest.approx(expected, rel=1e-6)


def test_minibatches_are_drawn_uniformly_and_no_two_steps_share_theirs(start):
    many = quick_jit(jax.vmap(lambda step: minibatch_ids(start.key, step, 20, 32)))
    drawn = np.asarray(many(jnp.arange(500)))
    assert_frequencies(drawn.ravel(), [1 / 20] * 20)
    assert len(np.unique(drawn, axis=0)) == 500


def test_a_limit_takes_that_many_steps_and_leaves_the_other_losses_0(start, data):
    after, losses = fit(
        MODEL, SGD, start, data=data, num_steps=100, batch_size=32, limit=jnp.int32(3)
    )
    assert int(after.step) == 3
    assert (losses[:3] > 0).all()
    assert (losses[3:] == 0).all()


def test_fit_composes_under_jit_scan_and_vmap(pairs):
    start = init_state(BIGRAM, SGD, jax.random.key(0))

    def four(state, _=None):
        return fit(BIGRAM, SGD, state, pairs, num_steps=4, batch_size=8)

    @quick_jit
    def all_ways(state):
        scanned = jax.lax.scan(four, state, length=2)
        many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
        many = many.replace(step=jnp.array([0, 4]))
        alone = fit(BIGRAM, SGD, state, pairs, num_steps=8, batch_size=8)
        return alone, scanned, jax.vmap(four)(many)

    alone, scanned, (population, population_losses) = all_ways(start)
    (after, losses), (last, scanned_losses) = alone, scanned
    assert_trees_close(last, after)
    assert_trees_close(scanned_losses.reshape(8), losses)
    assert_trees_close(population_losses[0], losses[:4])
    assert not np.array_equal(population_losses[0], population_losses[1])
    assert population.step.tolist() == [4, 8]


def test_a_step_has_a_gradient_by_the_parameters_it_starts_from(pairs):
    start = init_state(BIGRAM, SGD, jax.random.key(0))

    def after_a_step(params):
        after, _ = train_step(BIGRAM, SGD, start.replace(params=params), pairs)
        return loss(BIGRAM, after.params, pairs)

    def by_hand(params):
        grads = jax.grad(loss, argnums=1)(BIGRAM, params, pairs)
        return loss(BIGRAM, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), pairs)

    assert_trees_close(
        quick_jit(jax.grad(after_a_step))(start.params), quick_jit(jax.grad(by_hand))(start.params)
    )


# A run that blows up: every step multiplies the parameters by about -1e6, until they overflow.

BLOWING_UP = make_optimizer(
    OptimizerConfig(learning_rate=1.0, schedule="constant", weight_decay=1e6), 100
)


def test_a_gradient_flows_through_fit_to_the_learning_rate(pairs):
    """It is the slope that two runs with slightly other rates show."""
    start = init_state(BIGRAM, SGD, jax.random.key(0))

    def after(rate):
        numbers = {**start.opt_state.hyperparams, "learning_rate": rate}
        state = start.replace(opt_state=start.opt_state._replace(hyperparams=numbers))
        state, _ = fit(BIGRAM, SGD, state, pairs, num_steps=20, batch_size=8)
        return loss(BIGRAM, state.params, pairs)

    slope = quick_jit(jax.grad(after))(jnp.float32(1.0))
    lower, upper = quick_jit(jax.vmap(after))(jnp.array([0.9, 1.1]))
    assert slope < -0.1
    np.testing.assert_allclose(slope, (upper - lower) / 0.2, rtol=0.05)


@pytest.fixture(scope="module")
def blowing(pairs):
    """The state before each step, by a plain loop, up to the first loss that is not finite."""
    start = quick_jit(lambda key: init_state(BIGRAM, BLOWING_UP, key))
    state = start(jax.random.key(0))
    states, losses = [], []
    for _ in range(20):
        states.append(copied(state))
        ids = np.asarray(draw_ids(state.key, state.step, len(pairs.targets), 32))
        batch = jax.tree.map(lambda array, ids=ids: jnp.asarray(np.asarray(array)[ids]), pairs)
        state, metrics = train_step(BIGRAM, BLOWING_UP, state, batch)
        losses.append(float(metrics["loss_nats"]))
        if not np.isfinite(losses[-1]):
            break
    assert 4 <= len(losses) <= 10
    return states, losses


def fails(state, pairs, chunk_steps, num_steps=50):
    with pytest.raises(NotFiniteError) as caught:
        run(state, pairs, num_steps, chunk_steps, model=BIGRAM, optimizer=BLOWING_UP)
    return caught.value


@pytest.mark.parametrize("where", ["inside a chunk", "first of a chunk", "chunks of one"])
def test_the_first_loss_that_is_not_finite_ends_the_run_with_the_last_good_state(
    blowing, pairs, where
):
    states, losses = blowing
    bad = len(losses) - 1
    length = {"inside a chunk": 30, "first of a chunk": bad, "chunks of one": 1}
    error = fails(states[0], pairs, length[where])
    assert error.step == bad
    assert not np.isfinite(error.loss_nats)
    assert f"step {bad}" in str(error)
    # The state from which the last finite loss came, with that step not yet taken.
    assert int(error.state.step) == bad - 1
    undisturbed, finite = run(
        states[0], pairs, bad - 1, length[where], model=BIGRAM, optimizer=BLOWING_UP
    )
    assert_trees_identical(error.state, undisturbed)
    assert np.isfinite(finite).all()
    assert_trees_close(error.state, states[bad - 1])


@pytest.mark.parametrize("chunk_steps", [1, 30])
@pytest.mark.parametrize("step", [0, 3])
def test_a_run_that_is_not_finite_at_its_first_step_gives_back_what_it_was_given(
    blowing, pairs, chunk_steps, step
):
    params = {"W": jnp.asarray(np.full((V, V), np.nan, np.float32))}
    state = blowing[0][0].replace(params=params, step=jnp.int32(step))
    error = fails(state, pairs, chunk_steps)
    assert error.step == step
    assert_trees_identical(error.state, state)


def test_a_batch_size_below_one_is_refused(start, data):
    with pytest.raises(InputError, match="batch_size must be at least 1, not 0"):
        next(fit_chunks(MODEL, SGD, start, data, num_steps=1, batch_size=0))
    with pytest.raises(InputError, match="batch_size must be at least 1, not -3"):
        fit(MODEL, SGD, start, data, num_steps=1, batch_size=-3)


def test_parameters_and_minibatches_come_from_the_key_by_different_keys():
    one, other = (init_state(BIGRAM, optax.sgd(0.1), jax.random.key(seed)) for seed in (0, 1))
    assert not np.array_equal(one.params["W"], other.params["W"])
    keys = [jax.random.key_data(key).tolist() for key in (one.key, other.key, jax.random.key(0))]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
    assert isinstance(one, TrainState)
    assert int(one.step) == 0


# What regularises


FAST = make_optimizer(OptimizerConfig(learning_rate=5.0, schedule="constant"), 20)


def trained_with(data, model=BIGRAM, optimizer=FAST, chunk_steps=20, **options):
    """The state after 20 steps, and the parameters after each."""
    state = init_state(model, optimizer, jax.random.key(0), **options)
    each = [state.params]
    chunks = fit_chunks(
        model, optimizer, state, data, num_steps=20, batch_size=16, chunk_steps=chunk_steps
    )
    for after, _ in chunks:
        state = after
        each.append(state.params)
    return state, each


def test_the_average_is_the_exponential_one_with_less_memory_at_first(pairs):
    state, each = trained_with(pairs, chunk_steps=1, average_decay=0.5)
    average = as64(each[0])
    for step, params in enumerate(each[1:]):
        rest = max(0.5, 9 / (step + 10))
        average = jax.tree.map(
            lambda a, p, rest=rest: (1 - rest) * a + rest * np.asarray(p, np.float64),
            average,
            params,
        )
    assert_trees_close(jax.device_get(state.average), average)
    assert state.best_params is state.average
    assert not np.allclose(state.average["W"], state.params["W"], atol=1e-5)


def test_without_an_average_the_parameters_are_the_best(start):
    assert start.best_params is start.params


def test_init_scale_multiplies_the_first_parameters_and_key_data_decides_the_minibatches(start):
    state = init_state(MODEL, SGD, jax.random.key(0), init_scale=0.5, key_data=jax.random.key(7))
    assert_trees_close(state.params, jax.tree.map(lambda leaf: 0.5 * leaf, start.params))
    other = init_state(MODEL, SGD, jax.random.key(7))
    assert jnp.array_equal(jax.random.key_data(state.key), jax.random.key_data(other.key))
    same = init_state(MODEL, SGD, jax.random.key(0), key_data=jax.random.key(0))
    assert_trees_close(same, start)


DROPPING = mlp(V, 3, 4, 16, "scaled", 0.5)


def test_dropout_depends_on_key_and_step_alone(data):
    """Not on the chunks, and minibatches are those of a net without it."""
    whole, _ = trained_with(data, DROPPING, SGD)
    parts, _ = trained_with(data, DROPPING, SGD, chunk_steps=7)
    assert_trees_identical(whole, parts)
    plain, _ = trained_with(data, MODEL, SGD)
    assert jnp.array_equal(jax.random.key_data(whole.key), jax.random.key_data(plain.key))
    assert not np.allclose(whole.params["W1"], plain.params["W1"], atol=1e-4)


def test_every_step_drops_other_units(data):
    """Parameters stand still here, so the loss of all data moves by what is dropped alone."""
    still = make_optimizer(OptimizerConfig(learning_rate=1e-30, schedule="constant"), 20)
    state = init_state(DROPPING, still, jax.random.key(0))
    _, losses = fit(DROPPING, still, state, data, num_steps=20, batch_size=None)
    assert len(set(np.asarray(losses).tolist())) == 20
    mean = float(np.mean(losses))
    used = float(LOSS(MODEL, state.params, data))
    assert abs(mean - used) < 0.2  # and about the loss of the net in use


def test_label_smoothing_is_minimised_and_reported_losses_are_without_it(pairs):
    state = init_state(BIGRAM, FAST, jax.random.key(0), label_smoothing=0.9)
    _, losses = fit(BIGRAM, FAST, state, pairs, num_steps=1, batch_size=None)
    assert float(losses[0]) == pytest.approx(float(LOSS(BIGRAM, state.params, pairs)), rel=1e-6)
    smooth, _ = trained_with(pairs, label_smoothing=0.9)
    plain, _ = trained_with(pairs)
    losses = [float(LOSS(BIGRAM, one.params, pairs)) for one in (smooth, plain)]
    assert losses[0] > losses[1] + 0.1
