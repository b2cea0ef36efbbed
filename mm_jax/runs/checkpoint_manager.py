"""What is kept of one run while it trains, and how it goes on from there.

Enters: states and lines of metrics, as training makes them. Leaves: metrics.jsonl and checkpoints,
the newest two and the best on dev, such that a run goes on from any of them with the same bits.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.serialization import to_dict, to_json
from mm_jax.runs.checkpoint import (
    BEST,
    CHECKPOINTS,
    MAX_TIME_SHARE,
    Checkpoint,
    DamagedError,
    encode,
    newest_checkpoint,
    open_checkpoint,
    raise_damaged,
    save_checkpoint,
)
from mm_jax.runs.layout import CONFIG, METRICS, RunMetadata, check_checkpoint_matches
from mm_jax.runs.metrics import MAX_LINES, LossLog
from mm_jax.runs.named_arrays import check_arrays, from_arrays, spec_of, to_arrays
from mm_jax.runtime.atomic_files import append, check_space, cut, make_dir, read, sync, write_whole
from mm_jax.runtime.environment import differences, fingerprint
from mm_jax.runtime.mesh import is_primary
from mm_jax.training.step import TrainState

SECONDS = 10.0  # between checkpoints, where nothing else is said
LINE_BYTES = 120  # of metrics, at most
OTHERS = 2**18  # bytes of a run that are no arrays and no metrics


class BestState(NamedTuple):
    """The state with the lowest loss on dev so far."""

    step: int
    dev_loss: float
    state: TrainState | None  # None where it is in its file already


class CheckpointSchedule:
    """Tells when the next checkpoint is to be made."""

    def __init__(self, every: int | None, seconds: float | None, step: int = 0) -> None:
        self.every, self.seconds = every, seconds
        self.step, self.at, self.cost = step, time.perf_counter(), 0.0

    def __call__(self, step: int) -> bool:
        """Tell whether it is time, after so many steps."""
        if self.every and step // self.every > self.step // self.every:
            return True
        if self.seconds is None:
            if self.every:
                return False
            seconds = max(SECONDS, self.cost / MAX_TIME_SHARE)
        else:
            seconds = self.seconds
        return step > self.step and time.perf_counter() - self.at >= seconds

    @contextlib.contextmanager
    def making(self, step: int) -> Iterator[None]:
        """Note that one is made, and how long that takes."""
        begun = time.perf_counter()
        yield
        self.step, self.at = step, time.perf_counter()
        self.cost = self.at - begun


class CheckpointManager:
    """Writes what is kept of one run. Of many processes only the first one writes anything."""

    def __init__(
        self, path: Path, metadata: RunMetadata, keep: CheckpointConfig, log: LossLog
    ) -> None:
        deterministic = bool((metadata.fingerprint or {}).get("deterministic"))
        self.about: dict[str, Any] = {
            "config": to_dict(metadata.config),
            "symbols": metadata.symbols,
            "data": metadata.data,
            "fingerprint": fingerprint(deterministic=deterministic),
        }
        self.path, self.metadata, self.strict, self.log = path, metadata, keep.strict, log
        self.due = CheckpointSchedule(keep.checkpoint_every, keep.checkpoint_seconds)
        self.lock = threading.RLock()
        self.size, self.hash = 0, hashlib.sha256()  # of metrics.jsonl
        self.best: BestState | None = None
        self.latest: tuple[TrainState, int] | None = None
        self.saved = -1  # the step of the newest checkpoint
        self.seconds = 0.0  # that checkpoints took

    def find(self, like: TrainState, note: Callable[[str], None]) -> TrainState | None:
        """Return the state to go on from, or None: then training begins at step 0.

        It has to look like ``like``; ``note`` is told what the user should know. Raises InputError
        where it is of another run, or, if that was asked for, where the newest is damaged.
        """
        damaged: list[DamagedError] = []
        found = newest_checkpoint(self.path, raise_damaged if self.strict else damaged.append)
        _check_all_have(found)
        for error in damaged:
            note(f"{error}; {'the one before it is used' if found else 'training begins anew'}")
        if found is None:
            if is_primary() and (self.path / METRICS).exists():
                cut(self.path / METRICS, 0)
            return None
        check_checkpoint_matches(self.path, self.metadata, found.path, found.record)
        if missing := {"metrics", "num_lines", "best", "fingerprint"} - found.record.keys():
            raise InputError(f"{found.path} is not to go on from: it has no {min(missing)}")
        arrays, shape = {**found.arrays}, spec_of(lambda: like)
        self.log.pending = arrays.pop("pending", np.zeros(0)).tolist()
        check_arrays(arrays, shape.leaves, str(found.path), CONFIG)
        for what in differences(found.record["fingerprint"], self.about["fingerprint"]):
            note(f"not bit-exact from here: {what}")
        self._go_on(found, note)
        return from_arrays(arrays, shape)

    def _go_on(self, found: Checkpoint, note: Callable[[str], None]) -> None:
        record, metrics = found.record, self.path / METRICS
        place = record["metrics"]
        self.log.num_lines = record["num_lines"]
        self.saved = found.step
        self.due = CheckpointSchedule(self.due.every, self.due.seconds, found.step)
        self._find_best(record, note)
        if not is_primary():
            return
        if not metrics.exists():
            note(f"{metrics} is gone: the run goes on without its lines up to step {found.step:,}")
            return
        lines = read(metrics)[: place["bytes"]]
        self.hash, self.size = hashlib.sha256(lines), len(lines)
        if self.hash.hexdigest() != place["sha256"]:
            raise InputError(
                f"{metrics} is not what it was at step {found.step:,}; restore it, or remove it to "
                "go on without its lines"
            )
        cut(metrics, self.size)

    def _find_best(self, record: dict[str, Any], note: Callable[[str], None]) -> None:
        if record["best"] is None:
            return
        try:
            best = open_checkpoint(self.path / CHECKPOINTS / BEST)
            self.best = BestState(best.step, float(best.record["dev_loss"]), None)
        except InputError as error:
            note(f"{error}; the best state from here on will be kept")

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to metrics.jsonl."""
        if not lines or not is_primary():
            return
        data = "".join(to_json(line) + "\n" for line in lines).encode()
        append(self.path / METRICS, data)
        self.size += len(data)
        self.hash.update(data)

    def look(self, state: TrainState, step: int, dev_loss: float) -> None:
        """Take the loss on dev of a state; the best one goes to disk with the next checkpoint."""
        if self.best is None or dev_loss < self.best.dev_loss:
            self.best = BestState(step, dev_loss, state)

    def best_state(self, like: TrainState) -> tuple[TrainState, int] | None:
        """Return the best state on dev and its step, or None; from its file where it has gone."""
        if self.best is None:
            return None
        state = self.best.state
        if state is None:
            found = open_checkpoint(self.path / CHECKPOINTS / BEST)
            state = from_arrays(found.arrays, spec_of(lambda: like))
        return state, self.best.step

    def save(self, state: TrainState, step: int) -> None:
        """Make a checkpoint. Raises InputError where that fails; those before it stay."""
        if step == self.saved:
            return
        with self.lock, self.due.making(step):
            if is_primary():
                self._save(state, step)
        self.saved = step
        self.seconds += self.due.cost

    def _save(self, state: TrainState, step: int) -> None:
        if self.size:
            sync(self.path / METRICS)
        best = self.best
        if best is not None and best.state is not None:
            path = self.path / CHECKPOINTS / BEST
            make_dir(path.parent)
            record = {**self.about, "step": best.step, "dev_loss": best.dev_loss}
            write_whole(path, encode(to_arrays(best.state), record))
            self.best = best._replace(state=None)
        arrays = to_arrays(state) | {"pending": np.array(self.log.pending, np.float32)}
        record = {
            **self.about,
            "metrics": {"bytes": self.size, "sha256": self.hash.hexdigest()},
            "num_lines": self.log.num_lines,
            "best": None if best is None else {"step": best.step, "dev_loss": best.dev_loss},
        }
        save_checkpoint(self.path, step, arrays, record)

    def save_latest(self) -> None:
        """Make a checkpoint of the last chunk's end, in a hurry and from another thread."""
        with self.lock:
            if self.latest is not None and self.latest[1] > self.saved:
                self.save(*self.latest)


def _check_all_have(found: Checkpoint | None) -> None:
    """Raise InputError unless all processes have found the same checkpoint."""
    if jax.process_count() == 1:
        return
    step = np.int32(-1 if found is None else found.step)
    steps = multihost_utils.process_allgather(step).tolist()
    if len(set(steps)) > 1:
        raise InputError(f"processes have found checkpoints of different steps: {steps}")


def check_disk_space(path: Path, state_bytes: int, params_bytes: int, members: int = 1) -> None:
    """Raise InputError where a run, with its checkpoints, will not fit on its disk."""
    copies = 4 if members == 1 else 2 * members  # two newest, the best, one in the making
    lines = MAX_LINES * LINE_BYTES * (1 if members == 1 else 1 + members // 10)
    needed = copies * state_bytes + 2 * members * params_bytes + lines + OTHERS
    check_space(path, needed, "free some, or name an --out elsewhere")
