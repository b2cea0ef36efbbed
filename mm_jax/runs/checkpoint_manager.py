"""What is saved of one run while it trains, and how the run is resumed from it.

Enters: states and lines of metrics, as training makes them. Leaves: metrics.jsonl and checkpoints,
the newest two and the best on dev; a run resumed from any of them has the same bits.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.serialization import to_dict
from mm_jax.runs.checkpoint import (
    BEST,
    CHECKPOINTS,
    Checkpoint,
    DamagedError,
    newest_checkpoint,
    open_checkpoint,
    raise_damaged,
    save_checkpoint,
    serialize,
)
from mm_jax.runs.checkpoint_schedule import CheckpointSchedule
from mm_jax.runs.layout import CONFIG, FORMAT, METRICS, RunMetadata, check_checkpoint_matches
from mm_jax.runs.metrics import MAX_LINES, LossLog
from mm_jax.runs.metrics_file import MetricsFile
from mm_jax.runs.named_arrays import check_arrays, from_arrays, spec_of, to_arrays
from mm_jax.runtime.atomic_files import check_space, make_dir, write_whole
from mm_jax.runtime.environment import differences, fingerprint
from mm_jax.runtime.mesh import is_primary
from mm_jax.training.state import TrainState

LINE_BYTES = 120  # of metrics, at most
OTHER_BYTES = 2**18  # of a run's files that hold neither arrays nor metrics
RECORD_KEYS = {"metrics", "num_lines", "best", "fingerprint"}  # a checkpoint to resume from has


class BestState(NamedTuple):
    """The state with the lowest loss on dev so far."""

    step: int
    dev_loss: float
    state: TrainState | None  # None where its file holds it already


class CheckpointManager:
    """Writes the metrics and checkpoints of one run, and restores its newest checkpoint.

    Of many processes only the first one writes anything. ``latest`` is the state after the last
    chunk whose metrics are written; another thread may save it, so whoever changes it or writes
    metrics holds the ``lock``.
    """

    def __init__(
        self, path: Path, metadata: RunMetadata, checkpoint_config: CheckpointConfig, log: LossLog
    ) -> None:
        deterministic = bool((metadata.fingerprint or {}).get("deterministic"))
        self.run_record: dict[str, Any] = {  # stands in each checkpoint
            "format": FORMAT,
            "config": to_dict(metadata.config),
            "symbols": metadata.symbols,
            "data": metadata.data,
            "fingerprint": fingerprint(deterministic=deterministic),
        }
        self.path, self.metadata, self.log = path, metadata, log
        self.strict = checkpoint_config.strict
        self.schedule = CheckpointSchedule(
            checkpoint_config.checkpoint_every, checkpoint_config.checkpoint_seconds
        )
        self.metrics = MetricsFile(path / METRICS)
        self.lock = threading.RLock()
        self.best: BestState | None = None
        self.latest: tuple[TrainState, int] | None = None
        self.saved_step = -1  # of the newest checkpoint
        self.seconds = 0.0  # that checkpoints took

    # Resuming

    def restore(self, like: TrainState, warn: Callable[[str], None]) -> TrainState | None:
        """Return the state of the newest checkpoint, or None: then training begins at step 0.

        Its arrays must have the names, shapes and dtypes of ``like``. Raises InputError where it is
        of another run, or, with --strict, where the newest one is damaged.
        """
        damaged: list[DamagedError] = []
        checkpoint = newest_checkpoint(self.path, raise_damaged if self.strict else damaged.append)
        _check_processes_agree(checkpoint)
        remedy = "the one before it is used" if checkpoint else "training begins anew"
        for error in dict.fromkeys(map(str, damaged)):  # they were tried more than once
            warn(f"{error}; {remedy}")
        if checkpoint is None:
            if is_primary():
                self.metrics.clear()
            return None
        check_checkpoint_matches(self.path, self.metadata, checkpoint.path, checkpoint.record)
        if missing := RECORD_KEYS - checkpoint.record.keys():
            raise InputError(f"{checkpoint.path} cannot be resumed from: it has no {min(missing)}")
        arrays, spec = {**checkpoint.arrays}, spec_of(lambda: like)
        self.log.pending = arrays.pop("pending", np.zeros(0)).tolist()
        check_arrays(arrays, spec.leaves, str(checkpoint.path), CONFIG)
        for what in differences(checkpoint.record["fingerprint"], self.run_record["fingerprint"]):
            warn(f"not bit-exact from here: {what}")
        self._restore_progress(checkpoint, warn)
        return from_arrays(arrays, spec)

    def _restore_progress(self, checkpoint: Checkpoint, warn: Callable[[str], None]) -> None:
        record, step = checkpoint.record, checkpoint.step
        self.log.num_lines = record["num_lines"]
        self.saved_step = step
        self.schedule = CheckpointSchedule(self.schedule.every, self.schedule.seconds, step)
        if record["best"] is not None:
            try:
                best = open_checkpoint(self.path / CHECKPOINTS / BEST)
                self.best = BestState(best.step, float(best.record["dev_loss"]), None)
            except InputError as error:
                warn(f"{error}; the best state from here on will be kept")
        if is_primary():
            self.metrics.restore(record["metrics"], step, warn)

    # While training

    def append_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to metrics.jsonl."""
        if lines and is_primary():
            self.metrics.append(lines)

    def update_best(self, state: TrainState, step: int, dev_loss: float) -> None:
        """Remember a state if its dev loss is the lowest; the next checkpoint writes it to disk."""
        if self.best is None or dev_loss < self.best.dev_loss:
            self.best = BestState(step, dev_loss, state)

    def best_state(self, like: TrainState) -> tuple[TrainState, int] | None:
        """Return the best state on dev and its step, or None; read from its file if need be."""
        if self.best is None:
            return None
        state = self.best.state
        if state is None:
            checkpoint = open_checkpoint(self.path / CHECKPOINTS / BEST)
            state = from_arrays(checkpoint.arrays, spec_of(lambda: like))
        return state, self.best.step

    def save(self, state: TrainState, step: int) -> None:
        """Write a checkpoint. Raises InputError where that fails; earlier ones stay."""
        if step == self.saved_step:
            return
        with self.lock, self.schedule.making(step):
            if is_primary():
                self._write(state, step)
        self.saved_step = step
        self.seconds += self.schedule.cost

    def save_latest(self) -> None:
        """Write a checkpoint of the last chunk's end, also from another thread."""
        with self.lock:
            if self.latest is not None and self.latest[1] > self.saved_step:
                self.save(*self.latest)

    def _write(self, state: TrainState, step: int) -> None:
        self.metrics.sync()
        best = self.best
        if best is not None and best.state is not None:
            path = self.path / CHECKPOINTS / BEST
            make_dir(path.parent)
            record = {**self.run_record, "step": best.step, "dev_loss": best.dev_loss}
            write_whole(path, serialize(to_arrays(best.state), record))
            self.best = best._replace(state=None)
        arrays = to_arrays(state) | {"pending": np.array(self.log.pending, np.float32)}
        record = {
            **self.run_record,
            "metrics": self.metrics.record,
            "num_lines": self.log.num_lines,
            "best": None if best is None else {"step": best.step, "dev_loss": best.dev_loss},
        }
        save_checkpoint(self.path, step, arrays, record)


def _check_processes_agree(checkpoint: Checkpoint | None) -> None:
    """Raise InputError unless all processes have found the same checkpoint."""
    if jax.process_count() == 1:
        return
    step = np.int32(-1 if checkpoint is None else checkpoint.step)
    steps = multihost_utils.process_allgather(step).tolist()
    if len(set(steps)) > 1:
        raise InputError(f"processes have found checkpoints of different steps: {steps}")


def check_disk_space(path: Path, state_bytes: int, params_bytes: int, members: int = 1) -> None:
    """Raise InputError where a run with its checkpoints will not fit on its disk."""
    copies = 4 if members == 1 else 2 * members  # two newest, the best, one half-written
    lines = MAX_LINES * LINE_BYTES * (1 if members == 1 else 1 + members // 10)
    needed = copies * state_bytes + 2 * members * params_bytes + lines + OTHER_BYTES
    check_space(path, needed, "free some, or name an --out elsewhere")
