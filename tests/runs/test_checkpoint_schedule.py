"""When the next checkpoint is due."""

import pytest

from mm_jax.runs import checkpoint_schedule
from mm_jax.runs.checkpoint_schedule import CheckpointSchedule


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint_schedule.time, "perf_counter", lambda: now[0])
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
