import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.population import scheduler
from mm_jax.population.planning import SlicePlan
from mm_jax.population.scheduler import (
    PopulationSpec,
    SliceObserver,
    run_jobs,
    slice_arrays,
    slice_state,
    train_slices,
)
from mm_jax.population.vmapped import init_member
from mm_jax.runs.named_arrays import spec_of
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit_chunks
from tests.helpers import FIVE_NAMES, V, assert_trees_close, assert_trees_identical

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL = mlp(V, 3, 4, 8, "scaled")
BATCH = windows(FIVE_NAMES, LETTERS, 3)
RATES = np.float32([0.05, 0.1, 0.2, 0.4, 0.8])
ROWS = {"seed": np.uint32([0, 1, 2, 3, 4]), "rate": RATES}


SGD = make_optimizer(OptimizerConfig(learning_rate=1.0, schedule="constant"), 1)


def first_state(shared, row):
    return init_member(MODEL, SGD, jax.random.key(row["seed"]), learning_rate=row["rate"])


class Recorder(SliceObserver):
    """Keeps the losses of all members and the parameters that each ends with."""

    def __init__(self, plan, num_steps):
        self.plan, self.params = plan, {}
        self.losses = np.full((5, num_steps), np.nan, np.float32)
        self.calls = []

    def chunk_done(self, members, step, losses, state):  # noqa: ARG002
        self.calls.append(("chunk", members.tolist(), step))
        self.losses[members, step - losses.shape[1] : step] = losses

    def slice_done(self, members, step, state):
        self.calls.append(("slice", members.tolist(), step))
        arrays = slice_arrays(state.params, self.plan, len(members))
        for row, member in enumerate(members.tolist()):
            self.params[member] = jax.tree.map(lambda leaf, row=row: leaf[row], arrays)


def train(plan, num_steps=30, recorder=None, slices=None):
    """The observer of the training of all five members."""
    recorder = recorder or Recorder(plan, num_steps)
    spec = PopulationSpec(MODEL, SGD, first_state, None, ROWS, BATCH, num_steps, 8, plan)
    run_jobs(train_slices(spec, recorder, slices), plan.workers)
    return recorder


@pytest.fixture(scope="module")
def alone():
    """Each member as mm.fit_chunks trains it."""
    params, losses = {}, []
    start = jax.jit(init_state, static_argnums=(0, 1))  # eager and jitted differ in last bits
    for seed, rate in enumerate(RATES):
        state = start(MODEL, SGD, jax.random.key(seed))
        opt_state = optax.tree_utils.tree_set(state.opt_state, learning_rate=jnp.float32(rate))
        state = state.replace(opt_state=opt_state)
        chunks = fit_chunks(MODEL, SGD, state, BATCH, num_steps=30, batch_size=8)
        [(state, part)] = list(chunks)
        params[seed] = jax.device_get(state.params)
        losses.append(part)
    return params, np.stack(losses)


@pytest.mark.parametrize("workers", [1, 2])
def test_slices_of_one_are_the_single_runs_bit_for_bit(alone, workers):
    trained = train(SlicePlan(1, workers))
    assert np.array_equal(trained.losses, alone[1])
    for i in range(5):
        assert_trees_identical(trained.params[i], alone[0][i])


@pytest.mark.parametrize("members", [2, 5])
def test_larger_slices_are_the_single_runs_to_rounding(alone, members, monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 7 * members)  # 30 steps in 5 chunks
    trained = train(SlicePlan(members, 1))
    np.testing.assert_allclose(trained.losses, alone[1], atol=1e-5)
    assert sorted(trained.params) == [0, 1, 2, 3, 4]  # the last slice of two has one and a copy
    for i in range(5):
        assert_trees_close(trained.params[i], alone[0][i])


def test_an_observer_hears_of_each_chunk_and_of_the_end_of_each_slice(monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 10)
    trained = train(SlicePlan(1, 1), slices=[np.array([3]), np.array([1])])
    each = [("chunk", 10), ("chunk", 20), ("chunk", 30), ("slice", 30)]
    assert trained.calls == [(what, [member], step) for member in (3, 1) for what, step in each]


def test_a_stop_ends_the_slice_in_work_and_begins_no_other(monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 10)
    plan, asked = SlicePlan(1, 1), []
    recorder = Recorder(plan, 30)
    recorder.should_stop = lambda: len(asked) >= 4 or asked.append(0)
    train(plan, recorder=recorder)
    # asked before a slice and after each of its chunks but the last
    assert sorted(recorder.params) == [0, 1]
    assert np.isfinite(recorder.losses).sum(1).tolist() == [30, 10, 0, 0, 0]


@pytest.mark.parametrize("members", [1, 2])
def test_a_slice_is_resumed_from_the_state_and_step_that_the_observer_restores(
    alone, members, monkeypatch
):
    """The chunk that it was stopped in is taken to its end first, so that chunks end as before."""
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 10 * members)
    plan = SlicePlan(members, 1)
    spec = spec_of(lambda: first_state(None, jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), ROWS)))
    saved = {}

    class Saving(Recorder):
        def slice_done(self, members, step, state):  # noqa: ARG002
            saved[members[0]] = slice_arrays(state, plan, len(members))

    class Restoring(Recorder):
        def restore(self, members):
            return slice_state(saved[members[0]], spec, plan), 15

    train(plan, 15, Saving(plan, 15))
    resumed = train(plan, recorder=Restoring(plan, 30))
    steps = [step for what, slice_members, step in resumed.calls if 0 in slice_members]
    assert steps == [20, 30, 30]
    assert np.isnan(resumed.losses[:, :15]).all()
    near = {"rtol": 0, "atol": 0} if members == 1 else {"atol": 1e-5}
    np.testing.assert_allclose(resumed.losses[:, 15:], alone[1][:, 15:], **near)


def test_the_first_error_of_a_job_ends_all_and_is_raised():
    ran = []

    def fail():
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        run_jobs([lambda: ran.append(1), fail, lambda: ran.append(3)], 1)
    assert ran == [1]


def test_as_many_jobs_as_workers_run_side_by_side():
    both = threading.Barrier(2, timeout=60)
    run_jobs([both.wait, both.wait], 2)  # a single worker would wait for ever
