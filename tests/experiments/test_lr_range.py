"""The range test: against training step by step, and against bowls whose best rate is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OPTIMIZERS, BaseOptimizerConfig, LRRangeConfig, OptimizerConfig
from mm_jax.data.batches import rows, windows
from mm_jax.data.splits import split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import Vocab, build_vocab
from mm_jax.experiments.lr_range import (
    find_learning_rate,
    lr_range_test,
    range_optimizer,
    set_rates,
    with_set_rates,
)
from mm_jax.models.mlp import mlp
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit, minibatch_ids
from tests.helpers import (
    FIVE_NAMES,
    assert_trees_identical,
    bigram,
    gru,
    nats64,
    numb,
    softmax64,
)

VOCAB = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
BATCH = windows(FIVE_NAMES, VOCAB, 1)
SGD = range_optimizer(BaseOptimizerConfig())


@functools.cache
def states(model, num, optimizer=SGD):
    """The states of so many seeds, which no test may change."""
    keys = jax.vmap(jax.random.key)(jnp.arange(num, dtype=jnp.uint32))
    return jax.jit(jax.vmap(lambda key: init_state(model, optimizer, key)))(keys)


def one(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def test_a_sweep_is_the_lectures_loop_for_every_seed():
    config = LRRangeConfig(min=0.1, max=100.0, num=30)
    population = states(bigram(), 3)
    test = lr_range_test(bigram(), SGD, population, BATCH, config, batch_size=8)
    np.testing.assert_allclose(test.lrs, 10 ** np.linspace(-1, 2, 30))
    tokens, targets = np.asarray(BATCH.tokens)[:, 0], np.asarray(BATCH.targets)
    for seed in range(3):
        W, expected = np.asarray(population.params["W"][seed], np.float64), []
        for step, rate in enumerate(test.lrs):
            ids = np.asarray(minibatch_ids(population.key[seed], jnp.int32(step), 32, 8))
            x, y = tokens[ids], targets[ids]
            expected.append(nats64(W[x], y).mean())
            np.subtract.at(W, x, rate * (softmax64(W[x]) - np.eye(27)[y]) / 8)
        np.testing.assert_allclose(test.losses[seed], expected, rtol=2e-4)
        W, ids = np.asarray(population.params["W"][seed], np.float64), np.arange(27, 30)
        draw = jax.vmap(minibatch_ids, in_axes=(None, 0, None, None))
        ids = np.asarray(draw(population.key[seed], ids, 32, 8))
        untrained = nats64(W[tokens[ids]], targets[ids]).mean()
        assert test.untrained[seed] == pytest.approx(untrained, rel=1e-5)


def test_the_size_of_a_slice_changes_nothing():
    config = LRRangeConfig(min=0.1, max=100.0, num=30)
    usual = lr_range_test(bigram(), SGD, states(bigram(), 3), BATCH, config, batch_size=8)
    options = {"batch_size": 8, "members_per_slice": 2}
    some = lr_range_test(bigram(), SGD, states(bigram(), 3), BATCH, config, **options)
    np.testing.assert_allclose(some.losses, usual.losses, rtol=1e-5)


@pytest.mark.parametrize("which", ["rows", "all"])
def test_a_grid_is_a_training_for_every_rate_from_the_same_start(which):
    model = gru(dim=8) if which == "rows" else mlp(27, 3, 4, 8, "scaled")
    data = rows(FIVE_NAMES, VOCAB, 1) if which == "rows" else windows(FIVE_NAMES, VOCAB, 3)
    batch_size = None if which == "all" else 4
    adam = range_optimizer(BaseOptimizerConfig("adam", weight_decay=0.1, clip_norm=1.0))
    config = LRRangeConfig("grid", min=1e-3, max=0.1, num=10, steps=40)
    population = states(model, 2, adam)
    test = lr_range_test(model, adam, population, data, config, batch_size=batch_size)
    single = jax.jit(
        lambda rate, state: fit(
            model,
            adam,
            state.replace(opt_state=optax.tree_utils.tree_set(state.opt_state, learning_rate=rate)),
            data,
            num_steps=40,
            batch_size=batch_size,
        )[1]
    )
    for seed in range(2):
        alone = [single(jnp.float32(rate), one(population, seed)) for rate in test.lrs]
        expected = np.asarray(alone)[:, -4:].mean(1)
        np.testing.assert_allclose(test.losses[seed], expected, rtol=1e-3)
        assert test.losses[seed].std() > 0.1  # the rate does count
    # at a rate of 0 the same minibatches are seen and nothing is learned
    still = [single(jnp.float32(0.0), one(population, seed))[-4:] for seed in range(2)]
    near = 1e-3 if which == "rows" else 1e-5  # rows are of different lengths; it is a mean a symbol
    np.testing.assert_allclose(test.untrained, np.mean(still, 1), rtol=near)


def test_the_state_handed_in_is_left_as_it_was_and_the_same_seed_gives_the_same_bits():
    config = LRRangeConfig(num=30, min=0.1, max=10)
    population = states(bigram(), 3)
    before = jax.tree.map(lambda leaf: leaf.copy(), population)
    first, again = (
        lr_range_test(bigram(), SGD, population, BATCH, config, batch_size=8) for _ in range(2)
    )
    assert_trees_identical(population, before)
    np.testing.assert_array_equal(first.losses, again.losses)
    assert first.suggestion[:3] == again.suggestion[:3]
    other = lr_range_test(bigram(), SGD, states(bigram(), 2), BATCH, config, batch_size=8)
    np.testing.assert_allclose(first.losses[:2], other.losses, rtol=1e-5)  # seeds do not mix


def test_of_one_state_each_seed_draws_minibatches_of_its_own_from_the_same_parameters():
    state = init_state(bigram(), SGD, jax.random.key(0))
    config = LRRangeConfig(num=30, seeds=3)
    whole = lr_range_test(bigram(), SGD, state, BATCH, config, batch_size=None)
    assert whole.losses.shape == (3, 30)
    np.testing.assert_allclose(whole.losses, whole.losses[:1] + np.zeros((3, 1)), rtol=1e-6)
    small = lr_range_test(bigram(), SGD, state, BATCH, config, batch_size=8)
    assert len(set(small.losses[:, 0].tolist())) == 3


def test_rates_that_diverge_are_shown_and_do_not_spoil_the_suggestion():
    model = mlp(27, 1, 4, 16, "scaled")
    config = LRRangeConfig("grid", min=1e-4, max=1e8, num=60, steps=100)
    test = lr_range_test(model, SGD, states(model, 4), BATCH, config, batch_size=8)
    assert not (test.losses[:, -10:] < 10).any()
    assert np.isfinite(test.losses[:, 0]).all()
    assert test.suggested_lr < test.suggestion.explodes < 1e4
    assert 0.05 < test.suggested_lr < 20


def test_where_the_curve_has_no_valley_the_rate_is_an_error_with_the_reason():
    config = LRRangeConfig(min=1e-9, max=1e-6, num=200)
    test = lr_range_test(bigram(), SGD, states(bigram(), 4), BATCH, config, batch_size=8)
    assert test.suggestion.lr is None
    with pytest.raises(InputError, match=r"no learning rate to suggest: .*flat"):
        test.suggested_lr  # noqa: B018
    with pytest.raises(InputError, match=r"flat"):
        find_learning_rate(numb(bigram()), SGD, states(bigram(), 4), BATCH, batch_size=8)


def test_without_a_range_the_valley_is_found_wherever_it_is_and_then_looked_at_from_near():
    """Logits of scale * W have gradients scale times as long, for a way 1 / scale times as long."""
    rates, seen = {}, []
    for scale in (1.0, 0.1):
        model = bigram()._replace(
            init=lambda key, scale=scale: {"W": bigram().init(key)["W"] / scale},
            apply=lambda p, t, scale=scale: bigram().apply({"W": p["W"] * scale}, t),
        )
        test = find_learning_rate(
            model,
            SGD,
            states(model, 4),
            BATCH,
            batch_size=8,
            update=lambda done, _loss: seen.append(done),
        )
        rates[scale] = test.suggested_lr
        assert len(test.lrs) == 1000
        assert test.lrs[-1] / test.lrs[0] == pytest.approx(32**2)
        assert test.lrs[0] < test.suggested_lr < test.lrs[-1]
    assert rates[0.1] / rates[1.0] == pytest.approx(0.1**-2, rel=0.05)
    first = seen[: seen.index(max(seen)) + 1]
    assert first == sorted(first)
    assert first[-1] == 2 * 4 * 1000  # sweeps, seeds, steps


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        (optax.sgd(0.1), "keeps no learning_rate"),
        (optax.lbfgs(), "keeps no learning_rate"),
        (
            optax.chain(*[optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)] * 2),
            "keeps 2 of them",
        ),
        (
            optax.inject_hyperparams(optax.sgd)(learning_rate=optax.linear_schedule(0, 1, 5)),
            "a schedule sets",
        ),
    ],
)
def test_an_optimizer_whose_rate_cannot_be_set_is_refused(optimizer, why):
    state = init_state(bigram(), optimizer, jax.random.key(0))
    with pytest.raises(InputError, match=why):
        lr_range_test(bigram(), optimizer, state, BATCH, batch_size=8)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("lbfgs", "rprop")])
def test_the_rate_of_every_optimizer_can_follow_the_test(name):
    optimizer = range_optimizer(BaseOptimizerConfig(name, clip_norm=1.0))

    def take(key):
        state = set_rates(init_state(bigram(), optimizer, key), jnp.ones(5))
        after, losses = fit(
            bigram(), with_set_rates(optimizer), state, BATCH, num_steps=5, batch_size=8
        )
        return after.params, losses

    params, losses = jax.eval_shape(take, jax.random.key(0))
    assert losses.shape == (5,)
    assert params["W"].shape == (27, 27)


@pytest.mark.parametrize("name", ["lbfgs", "rprop"])
def test_an_optimizer_that_finds_its_own_steps_has_no_rate_to_look_for(name):
    with pytest.raises(InputError, match=f"{name} finds its own step length"):
        range_optimizer(BaseOptimizerConfig(name))


def test_a_sweep_that_begins_above_the_valley_is_told_to_begin_lower():
    model, data = mlp(27, 3, 4, 16, "scaled"), windows(FIVE_NAMES, VOCAB, 3)
    found = []
    for low in (1e-3, 5.0):
        config = LRRangeConfig(min=low, max=1e5 * low, num=500, seeds=4)
        found.append(lr_range_test(model, SGD, states(model, 4), data, config, batch_size=8))
    assert 0.1 < found[0].suggested_lr < 5
    assert found[1].suggestion.lr is None
    assert "lower --min" in found[1].suggestion.reason


def test_the_range_optimizer_is_the_one_of_training_without_its_schedule():
    config = OptimizerConfig("adamw", weight_decay=0.1, clip_norm=2.0, schedule="cosine")
    plain = OptimizerConfig("adamw", 0.1, 2.0, learning_rate=1.0, schedule="constant")
    assert range_optimizer(config) is make_optimizer(plain, 0)


@pytest.mark.parametrize("mode", ["sweep", "grid"])
def test_the_lectures_model_on_names(mode):
    """The lecture picks 0.1 by eye, with 1,000 steps from 0.001 to 1."""
    lines = read_lines().lines
    vocab = build_vocab(lines)
    model, data = mlp(len(vocab), 3, 10, 200), windows(split_lines(lines).train, vocab, 3)
    seeds, more = (4, {}) if mode == "sweep" else (1, {"num": 15, "steps": 200})
    config = LRRangeConfig(mode, **more)
    test = lr_range_test(model, SGD, states(model, seeds), data, config, batch_size=32)
    assert 0.03 < test.suggested_lr < 0.3
    if mode == "sweep":
        low, high = test.suggestion.interval
        assert 0.03 < low <= high < 0.3
