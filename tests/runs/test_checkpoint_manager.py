"""When a checkpoint is due, what decides the bits, and a tree by names."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.population.vmapped import init_member
from mm_jax.runs import checkpoint_manager
from mm_jax.runs.checkpoint_manager import CheckpointSchedule
from mm_jax.runs.named_arrays import check_arrays, from_arrays, spec_of, to_arrays
from mm_jax.runtime.environment import differences, fingerprint, pin_threads
from mm_jax.training.optimizers import make_optimizer
from tests.helpers import assert_trees_identical, bigram


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint_manager.time, "perf_counter", lambda: now[0])
    return now


def made(due, step, clock, seconds):
    with due.making(step):
        clock[0] += seconds


def test_by_itself_a_checkpoint_is_due_every_ten_seconds(clock):
    due = CheckpointSchedule(None, None)
    clock[0] = 9.9
    assert not due(1000)
    clock[0] = 10
    assert due(1000)
    made(due, 1000, clock, 0.01)
    assert not due(2000)
    clock[0] += 10.1
    assert due(2000)


def test_by_itself_it_never_costs_more_than_a_hundredth(clock):
    due = CheckpointSchedule(None, None)
    made(due, 1000, clock, 3)
    clock[0] += 299
    assert not due(2000)
    clock[0] += 1.1
    assert due(2000)


def test_it_is_due_as_often_as_is_asked_for(clock):
    due = CheckpointSchedule(500, None)
    assert next(step for step in range(0, 2000, 100) if due(step)) == 500
    made(due, 500, clock, 100)
    clock[0] = 1e9
    assert not due(999)
    assert due(1000)
    assert due(1700)
    due = CheckpointSchedule(None, 2.0)
    made(due, 10, clock, 100)
    assert not due(20)
    clock[0] += 2
    assert due(20)
    assert not due(10)  # where it was made already
    due = CheckpointSchedule(500, 2.0)
    assert due(500)
    clock[0] += 2
    assert due(1)


# Fingerprints


def test_the_same_machine_has_the_same_fingerprint():
    here = fingerprint()
    assert list(differences(here, fingerprint(deterministic=True))) == []
    assert here["jax"] == jax.__version__
    assert here["num_devices"] == jax.device_count()
    before = here | {"num_threads": 64, "processor": "another"}
    assert list(differences(before, here)) == [
        f"another before, {here['processor']} here",
        f"64 thread(s) before, {here['num_threads']} thread(s) here",
    ]
    del before["num_threads"]
    assert f"nothing before, {here['num_threads']} thread(s) here" in differences(before, here)
    assert list(differences(None, here)) == ["it is not said where it was made"]


def test_the_number_of_threads_is_pinned_before_jax_starts(monkeypatch):
    code = (
        "import os; from mm_jax.fingerprint import fingerprint, num_threads, pin; pin(); "
        "print(num_threads(), fingerprint()['num_threads'], os.environ['PJRT_NPROC'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 1 1\n"
    monkeypatch.setenv("PJRT_NPROC", "3")
    monkeypatch.setenv("XLA_FLAGS", "")
    pin_threads(3)
    with pytest.raises(InputError, match="JAX has started with 3 threads; set PJRT_NPROC=1"):
        pin_threads()
    assert os.environ["PJRT_NPROC"] == "3"


# Trees


def state():
    optimizer = make_optimizer(OptimizerConfig("adam", learning_rate=0.1), 10)
    return init_member(bigram(), optimizer, jax.random.key(3), average_decay=0.9)


def test_a_state_comes_back_from_its_arrays_bit_for_bit():
    arrays, shape = to_arrays(state()), spec_of(state)
    assert {"params.W", "average.W", "average_decay", "key", "step"} <= arrays.keys()
    assert (arrays["key"].dtype, arrays["key"].shape) == (np.uint32, (2,))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    check_arrays(arrays, shape.leaves, "here", "there")
    assert_trees_identical(from_arrays(arrays, shape), state())


def test_a_population_comes_back_too():
    both = {name: np.stack([array, array]) for name, array in to_arrays(state()).items()}
    found = from_arrays(both, spec_of(state))
    assert found.key.shape == found.step.shape == (2,)
    assert_trees_identical(jax.tree.map(lambda leaf: leaf[1], found), state())


def test_another_implementation_of_keys_is_kept():
    def tree():
        return {"key": jax.random.key(1, impl="rbg"), "x": jnp.zeros(2)}

    found = from_arrays(to_arrays(tree()), spec_of(tree))
    assert jax.random.key_impl(found["key"]) == jax.random.key_impl(tree()["key"])
    assert_trees_identical(found, tree())
