"""What is saved of a run while it trains, and what is restored of it."""

import dataclasses
import functools
import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import BigramConfig
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.runs import checkpoint_manager
from mm_jax.runs.checkpoint import checkpoint_path, checkpoint_steps, open_checkpoint, serialize
from mm_jax.runs.checkpoint_manager import CheckpointManager, check_disk_space
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from tests.helpers import V, assert_trees_identical, bigram

CONFIG = RunConfig(model=BigramConfig(), optimizer=OptimizerConfig("adam"), steps=4000)
SYMBOLS = (".", *"abcdefghijklmnopqrstuvwxyz")
METADATA = RunMetadata(CONFIG, SYMBOLS, {"path": "names.txt", "sha256": "0" * 64})


@functools.cache
def first_state():
    return init_state(bigram(), make_optimizer(CONFIG.optimizer, 10), jax.random.key(3))


def state_at(step):
    """A state that no other step has."""
    params = {"W": jnp.full((V, V), step / 7, jnp.float32)}
    return dataclasses.replace(first_state(), step=jnp.int32(step), params=params)


def manager_of(path, **choices):
    log = LossLog(CONFIG.optimizer, CONFIG.steps)  # a line for each two steps
    return CheckpointManager(path, METADATA, CheckpointConfig(**choices), log)


def train(manager, steps, before=0):
    """What a training loop does: some losses, their lines, a checkpoint."""
    losses = np.arange(before, before + steps) / 4
    manager.append_metrics(manager.log.add(losses.astype(np.float32)))
    manager.save(state_at(before + steps), before + steps)


def restore(path, **choices):
    """A new manager, what it restores, and its warnings."""
    manager, warnings = manager_of(path, **choices), []
    return manager, manager.restore(first_state(), warnings.append), warnings


def test_a_run_is_restored_with_all_that_decides_what_it_writes_next(tmp_path):
    manager = manager_of(tmp_path)
    train(manager, 5)
    manager.append_metrics(manager.log.add(np.float32([7, 8, 9])))  # lost with the process
    restored, state, warnings = restore(tmp_path)
    assert warnings == []
    assert_trees_identical(state, state_at(5))
    assert restored.saved_step == 5
    train(restored, 4, before=5)
    whole = manager_of(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    train(whole, 5)
    train(whole, 4, before=5)
    for name in ("metrics.jsonl", "checkpoints/step-0000000009.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    means = [(0 + 1) / 8, (2 + 3) / 8, (4 + 5) / 8, (6 + 7) / 8]  # of losses that are i / 4
    assert [(line["step"], line["loss"]) for line in lines] == list(
        zip((2, 4, 6, 8), means, strict=True)
    )


def test_without_a_checkpoint_training_begins_anew_and_so_do_its_metrics(tmp_path):
    manager_of(tmp_path).append_metrics([{"step": 1, "loss": 2.0}])
    manager, state, warnings = restore(tmp_path)
    assert (state, warnings, manager.saved_step) == (None, [], -1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_damaged_checkpoint_gives_way_to_the_one_before_unless_strict(tmp_path):
    manager = manager_of(tmp_path)
    train(manager, 5)
    train(manager, 4, before=5)
    newest = checkpoint_path(tmp_path, 9)
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"0009\.safetensors is damaged"):
        restore(tmp_path, resume=True, strict=True)
    _, state, [warning] = restore(tmp_path)
    assert_trees_identical(state, state_at(5))
    assert (
        "0009.safetensors is damaged: its checksum is wrong; the one before it is used" in warning
    )
    older = checkpoint_path(tmp_path, 5)
    older.write_bytes(b"")
    _, state, warnings = restore(tmp_path)
    assert state is None
    assert [warning.rpartition("; ")[2] for warning in warnings] == ["training begins anew"] * 2


@pytest.mark.parametrize("key", ["metrics", "num_lines", "best", "fingerprint"])
def test_a_state_that_is_no_checkpoint_of_training_is_refused(tmp_path, key):
    train(manager_of(tmp_path), 5)
    path = checkpoint_path(tmp_path, 5)
    checkpoint = open_checkpoint(path)
    del checkpoint.record[key], checkpoint.record["sha256"]
    path.write_bytes(serialize(checkpoint.arrays, checkpoint.record))
    with pytest.raises(InputError, match=f"0005.safetensors cannot be resumed from.*no {key}"):
        restore(tmp_path)


def test_a_state_of_another_shape_is_refused(tmp_path):
    train(manager_of(tmp_path), 5)
    like = dataclasses.replace(first_state(), params={"W": jnp.zeros((V, V + 1))})
    with pytest.raises(InputError, match=r"does not fit .*params.W is float32\[27, 27\], should"):
        manager_of(tmp_path).restore(like, print)


def test_the_best_state_on_dev_is_kept_with_the_next_checkpoint(tmp_path):
    manager = manager_of(tmp_path)
    assert manager.best_state(first_state()) is None
    for step, dev_loss in ((1, 2.5), (2, 2.25), (3, 2.25), (4, 3.0)):
        manager.update_best(state_at(step), step, dev_loss)
    assert not (tmp_path / "checkpoints").exists()
    for path in ("memory", "disk", "another process"):
        if path == "disk":
            train(manager, 5)
        elif path == "another process":
            manager, _, warnings = restore(tmp_path)
            assert warnings == []
        state, step = manager.best_state(first_state())
        assert step == 2
        assert_trees_identical(state, state_at(2))
    best = open_checkpoint(tmp_path / "checkpoints/best.safetensors")
    assert (best.step, best.record["dev_loss"]) == (2, 2.25)
    manager.update_best(state_at(6), 6, 2.3)
    assert manager.best_state(first_state())[1] == 2
    manager.update_best(state_at(7), 7, 2.2)
    assert manager.best_state(first_state())[1] == 7


def test_a_damaged_best_state_is_a_warning(tmp_path):
    manager = manager_of(tmp_path)
    manager.update_best(state_at(1), 1, 2.5)
    train(manager, 5)
    (tmp_path / "checkpoints/best.safetensors").write_bytes(b"")
    manager, state, [warning] = restore(tmp_path)
    assert_trees_identical(state, state_at(5))
    assert warning.endswith("; the best state from here on will be kept")
    assert manager.best is None


def test_elsewhere_the_bits_may_differ_and_that_is_a_warning(tmp_path, monkeypatch):
    train(manager_of(tmp_path), 5)
    here = checkpoint_manager.fingerprint()
    monkeypatch.setattr(checkpoint_manager, "fingerprint", lambda **_: here | {"num_threads": 4096})
    _, state, warnings = restore(tmp_path)
    assert_trees_identical(state, state_at(5))
    assert warnings == [
        f"not bit-exact from here: {here['num_threads']} thread(s) before, 4096 thread(s) here"
    ]


def test_a_step_is_saved_once_and_the_latest_only_if_it_is_newer(tmp_path):
    manager = manager_of(tmp_path)
    manager.save_latest()
    assert checkpoint_steps(tmp_path) == []
    train(manager, 5)
    path = checkpoint_path(tmp_path, 5)
    path.unlink()
    manager.save(state_at(5), 5)
    manager.latest = state_at(5), 5
    manager.save_latest()
    assert not path.exists()
    manager.latest = state_at(6), 6
    with manager.lock:  # as while metrics are written
        other = threading.Thread(target=manager.save_latest)
        other.start()
        other.join(0.2)
        assert checkpoint_steps(tmp_path) == []
    other.join(60)
    assert checkpoint_steps(tmp_path) == [6]
    assert manager.seconds > 0


def test_processes_that_found_different_checkpoints_do_not_begin(tmp_path, monkeypatch):
    train(manager_of(tmp_path), 5)
    monkeypatch.setattr(checkpoint_manager.jax, "process_count", lambda: 2)
    gather = "mm_jax.runs.checkpoint_manager.multihost_utils.process_allgather"
    monkeypatch.setattr(gather, lambda step: np.array([step, 4]))
    with pytest.raises(InputError, match=r"found checkpoints of different steps: \[5, 4\]"):
        restore(tmp_path)
    monkeypatch.setattr(gather, lambda step: np.array([step, 5]))
    assert restore(tmp_path)[0].saved_step == 5


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_manager, "is_primary", lambda: False)
    manager = manager_of(tmp_path)
    manager.update_best(state_at(1), 1, 2.5)
    train(manager, 5)
    assert list(tmp_path.iterdir()) == []
    assert manager.saved_step == 5


@pytest.mark.parametrize(("members", "copies"), [(1, 4), (10, 20)])
def test_a_run_needs_room_for_its_checkpoints_and_results(tmp_path, monkeypatch, members, copies):
    """Of one run four states at most are on disk at once, of a population two a member."""
    asked = []
    monkeypatch.setattr(
        checkpoint_manager, "check_space", lambda _, needed, __: asked.append(needed)
    )
    for state_bytes, params_bytes in ((0, 0), (1000, 0), (0, 1000)):
        check_disk_space(tmp_path, state_bytes, params_bytes, members)
    others, *with_arrays = asked
    assert [each - others for each in with_arrays] == [1000 * copies, 2 * 1000 * members]
    assert others >= 2000 * 60  # that many lines of metrics, of sixty bytes at least
