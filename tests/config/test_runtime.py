import pytest

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig, RuntimeConfig


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"coordinator": "auto"},
        {"coordinator": "auto", "num_processes": 2, "process_id": 5},
        {"coordinator": "host:1234", "num_processes": 2, "process_id": 1},
        {"coordinator": "[::1]:80", "num_processes": 1, "process_id": 0},
    ],
)
def test_choices_about_processes_that_fit_together(values):
    config = RuntimeConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_processes": 2}, "--num-processes and --process-id need a --coordinator HOST:PORT"),
        ({"process_id": 0}, "--num-processes and --process-id need a --coordinator HOST:PORT"),
        ({"coordinator": "auto", "process_id": 0}, "--process-id belong together"),
        ({"coordinator": "h:1", "num_processes": 2}, "--process-id belong together"),
        ({"coordinator": "host"}, "--coordinator must be HOST:PORT or auto, not 'host'"),
        ({"coordinator": "host:"}, "--coordinator must be HOST:PORT or auto, not 'host:'"),
        ({"coordinator": "host:x"}, "--coordinator must be HOST:PORT or auto, not 'host:x'"),
        ({"coordinator": "host:1"}, "HOST:PORT needs --num-processes and --process-id"),
        (
            {"coordinator": "host:1", "num_processes": 2, "process_id": 2},
            "--process-id 2 must be below --num-processes 2",
        ),
        ({"members_per_slice": 0}, "--members-per-slice must be at least 1"),
        ({"data_parallel": 0}, "--data-parallel must be at least 1"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        RuntimeConfig(**values)


def test_strict_needs_resume():
    with pytest.raises(InputError, match="--strict needs --resume"):
        CheckpointConfig(strict=True)
    assert CheckpointConfig(strict=True, resume=True).strict


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoint_every": 0}, "--checkpoint-every must be at least 1"),
        ({"checkpoint_seconds": -1.0}, "--checkpoint-seconds must be at least 0"),
    ],
)
def test_wrong_intervals_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        CheckpointConfig(**values)
