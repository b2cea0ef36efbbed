"""Many seeds times many values: against training each of them by itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.population import grid, scheduler
from mm_jax.population.grid import fit_members
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit
from tests.helpers import FIVE_NAMES, bigram

BATCH = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 1)
SGD = make_optimizer(OptimizerConfig(learning_rate=1.0, schedule="constant"), 1)
RATES = np.float32([0.01, 0.1, 1.0])
OPTIONS = {"num_steps": 25, "batch_size": 8}


def with_rate(state, rate):
    return state.replace(opt_state=optax.tree_utils.tree_set(state.opt_state, learning_rate=rate))


@functools.cache
def states():
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    return jax.jit(jax.vmap(lambda key: init_state(bigram(), SGD, key)))(keys)


def losses(**more):
    rates = jnp.asarray(RATES)
    return fit_members(bigram(), SGD, states(), with_rate, rates, BATCH, **OPTIONS, **more)


@pytest.fixture(scope="module")
def usual():
    return losses()


def test_each_seed_is_trained_with_each_value_from_its_own_start(usual):
    assert usual.shape == (2, 3, 25)

    @jax.jit
    def train(state, rate):
        return fit(bigram(), SGD, with_rate(state, rate), BATCH, **OPTIONS)[1]

    for seed in range(2):
        one = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states())
        for i, rate in enumerate(RATES):
            np.testing.assert_allclose(usual[seed, i], train(one, jnp.float32(rate)), rtol=1e-6)


def test_slices_and_chunks_of_any_length_change_nothing(usual, monkeypatch):
    seen = []
    options = {"update": lambda *each: seen.append(each)}
    np.testing.assert_allclose(losses(members_per_slice=4, **options), usual, rtol=1e-5)
    first, last = (steps for steps, _ in seen)
    assert first in (4 * 25, 2 * 25)  # either slice may end first
    assert last == 6 * 25
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 7)
    seen.clear()
    np.testing.assert_allclose(losses(**options), usual, rtol=1e-6)
    assert [steps for steps, _ in seen] == sorted({steps for steps, _ in seen})
    assert seen[-1][0] == 6 * 25
    assert all(usual.min() < loss < usual.max() for _, loss in seen)


def test_more_losses_than_memory_holds_and_slices_of_nothing_are_refused(monkeypatch):
    with pytest.raises(InputError, match="members-per-slice 0 must be from 1 to the 6 members"):
        losses(members_per_slice=0)
    needed = 4 * 2 * 3 * 25  # bytes, of an eighth of the memory
    monkeypatch.setattr(grid, "memory_bytes", lambda: 8 * needed)
    grid.check_losses_fit(2, 3, 25)
    monkeypatch.setattr(grid, "memory_bytes", lambda: 8 * needed - 1)
    with pytest.raises(InputError, match="2 seeds x 3 values x 25 steps have losses of"):
        losses()
