import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.population import scheduler
from mm_jax.population.scheduler import SlicePlan, make_plan, run_jobs, slice_arrays, train_slices
from mm_jax.population.vmapped import init_member
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit_chunks, init_state
from tests.helpers import FIVE_NAMES, V, assert_trees_close, assert_trees_identical, bigram

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL = mlp(V, 3, 4, 8, "scaled")
BATCH = windows(FIVE_NAMES, LETTERS, 3)
RATES = np.float32([0.05, 0.1, 0.2, 0.4, 0.8])
ROWS = {"seed": np.uint32([0, 1, 2, 3, 4]), "rate": RATES}


def sgd(rate=1.0):
    return make_optimizer(OptimizerConfig(learning_rate=float(rate), schedule="constant"), 1)


def begin(shared, row):
    return init_member(MODEL, sgd(), jax.random.key(row["seed"]), learning_rate=row["rate"])


def train(plan, num_steps=30, **options):
    """The parameters of each member after its steps, and the losses of all."""
    params, losses = {}, np.full((5, num_steps), np.nan, np.float32)

    def note(members, taken, part):
        losses[members, taken - part.shape[1] : taken] = part

    def done(members, taken, state):
        arrays = slice_arrays(state.params, plan, len(members))
        for row, member in enumerate(members):
            params[int(member)] = jax.tree.map(lambda leaf, row=row: leaf[row], arrays)

    jobs = train_slices(
        MODEL,
        sgd(),
        begin,
        None,
        ROWS,
        BATCH,
        num_steps=num_steps,
        batch_size=8,
        plan=plan,
        note=note,
        done=done,
        **options,
    )
    run_jobs(jobs, plan.workers)
    return params, losses


@pytest.fixture(scope="module")
def alone():
    """Each member as mm.fit_chunks trains it."""
    params, losses = {}, []
    for seed, rate in enumerate(RATES):
        start = jax.jit(init_state, static_argnums=(0, 1))  # eager and jitted differ in last bits
        state = start(MODEL, sgd(rate), jax.random.key(seed))
        chunks = fit_chunks(MODEL, sgd(rate), state, BATCH, num_steps=30, batch_size=8)
        [(state, part)] = list(chunks)
        params[seed] = jax.device_get(state.params)
        losses.append(part)
    return params, np.stack(losses)


@pytest.mark.parametrize("workers", [1, 2])
def test_slices_of_one_are_the_single_runs_bit_for_bit(alone, workers):
    params, losses = train(SlicePlan(1, workers))
    assert np.array_equal(losses, alone[1])
    for i in range(5):
        assert_trees_identical(params[i], alone[0][i])


@pytest.mark.parametrize("members", [2, 5])
def test_larger_slices_are_the_single_runs_to_rounding(alone, members, monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 7 * members)  # 30 steps in 5 chunks
    params, losses = train(SlicePlan(members, 1))
    np.testing.assert_allclose(losses, alone[1], atol=1e-5)
    assert sorted(params) == [0, 1, 2, 3, 4]  # the last slice of two has a member and a copy
    for i in range(5):
        assert_trees_close(params[i], alone[0][i])


def test_a_stop_ends_the_slice_in_work_and_begins_no_other(monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 10)
    asked = []
    params, losses = train(SlicePlan(1, 1), stop=lambda: len(asked) >= 4 or asked.append(0))
    # asked before a slice and after each of its chunks but the last
    assert sorted(params) == [0, 1]
    assert np.isfinite(losses).sum(1).tolist() == [30, 10, 0, 0, 0]


def test_the_first_error_of_a_job_ends_all_and_is_told():
    ran = []

    def fail():
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        run_jobs([lambda: ran.append(1), fail, lambda: ran.append(3)], 1)
    assert ran == [1]


def test_so_many_jobs_run_side_by_side():
    both = threading.Barrier(2, timeout=20)
    run_jobs([both.wait, both.wait], 2)  # a single worker would wait for ever


@pytest.mark.parametrize(
    ("fits", "wanted", "expected"),
    [
        (100, None, (1, 2)),
        (100, 8, (8, 2)),
        (9, 8, (8, 1)),
        (1, None, (1, 1)),
        (100, 20, (20, 1)),
    ],
)
def test_a_cpu_trains_a_member_a_core_or_what_was_asked_for(monkeypatch, fits, wanted, expected):
    monkeypatch.setattr(scheduler, "num_cores", lambda: 2)
    monkeypatch.setattr(scheduler, "device_bytes", lambda _: 2000 * fits)
    plan = make_plan(20, 1000, members_per_slice=wanted)
    assert (plan.members, plan.workers) == expected


class Device:
    platform = "gpu"


@pytest.mark.parametrize(("fits", "wanted", "expected"), [(100, None, 20), (7, None, 7), (7, 3, 3)])
def test_a_gpu_trains_what_fits_in_half_of_its_memory(monkeypatch, fits, wanted, expected):
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    monkeypatch.setattr(scheduler, "device_bytes", lambda _: 2000 * fits)
    assert make_plan(20, 1000, members_per_slice=wanted) == SlicePlan(expected, 1)


def test_what_does_not_fit_is_refused_with_how_many_would(monkeypatch):
    monkeypatch.setattr(scheduler, "device_bytes", lambda _: 2000 * 3)
    with pytest.raises(InputError, match="--members-per-slice 4: only 3 members of about"):
        make_plan(20, 1000, members_per_slice=4)
    for wanted in 0, 21:
        with pytest.raises(InputError, match=f"--members-per-slice {wanted} must be from 1 to"):
            make_plan(20, 1000, members_per_slice=wanted)
    with pytest.raises(InputError, match="one model in training takes about"):
        make_plan(20, 4000)


def test_memory_of_a_member_grows_with_its_parameters_and_its_batch():
    def begin():
        return init_state(bigram(), sgd(), jax.random.key(0))

    small = scheduler.member_bytes(bigram(), begin, BATCH.replace(tokens=BATCH.tokens[:, -1:]), 8)
    state_bytes = 3 * V * V * 4
    assert state_bytes < small < 20 * state_bytes
    large = scheduler.member_bytes(
        bigram(), begin, BATCH.replace(tokens=BATCH.tokens[:, -1:]), 8000
    )
    assert large > 10 * small
    assert jnp.ndim(begin().step) == 0
