"""The checkpoints of a population while it trains: a file for each slice of members.

A checkpoint holds the states of its members, their metrics so far, and at the end of a rung their
losses on dev. Without a directory checkpoints are kept in memory. Imports no jax.
"""

import dataclasses
import hashlib
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.command_line import flags_of
from mm_jax.config.data import DataConfig
from mm_jax.config.serialization import to_dict, to_json
from mm_jax.config.training import RunConfig
from mm_jax.runs.checkpoint import (
    CHECKPOINTS,
    MAX_TIME_SHARE,
    DamagedError,
    deserialize,
    params_of_state,
    serialize,
)
from mm_jax.runtime.atomic_files import make_dir, read, remove, write_whole

PREFIX = "members-"
LOG_ARRAYS = ("log.means", "log.pending")  # (m, lines) float64; (m, losses) float32


class SliceCheckpoint(NamedTuple):
    """Members that are trained together, at some step of a rung."""

    members: tuple[int, ...]  # their numbers in the population
    end_step: int  # of the rung
    step: int
    arrays: dict[str, np.ndarray]  # the leaves of their states, by name, an axis of members first
    means: np.ndarray  # (m, lines) of metrics, float64
    pending: np.ndarray  # (m, losses) that fill no line yet, float32
    dev_losses: list[float | None] | None = None  # at the end of the rung

    @property
    def ended(self) -> bool:
        """Whether its members are at the end of their rung."""
        return self.dev_losses is not None

    def row(self, member: int) -> "SliceCheckpoint":
        """Return what it holds of a single member."""
        place = self.members.index(member)
        row = slice(place, place + 1)
        return self._replace(
            members=(member,),
            arrays={name: array[row] for name, array in self.arrays.items()},
            means=self.means[row],
            pending=self.pending[row],
            dev_losses=None if self.dev_losses is None else self.dev_losses[row],
        )


class PopulationCheckpoints:
    """The checkpoints of a population, in a directory or in memory. Any thread may find and save.

    Slices that have reached the end of their rung are kept in memory as long as writing each of
    them by itself would take more than a hundredth of the time, and then go into one file.
    """

    def __init__(self, path: Path | None = None, digest: str = "", *, writes: bool = True) -> None:
        self.folder = None if path is None else path / CHECKPOINTS
        self.digest, self.writes = digest, writes
        self.by_slice: dict[tuple[int, int], SliceCheckpoint] = {}  # by end_step and first member
        # The slice of each member that has ended, by end_step and the number of the member.
        self.slice_of_ended: dict[tuple[int, int], tuple[int, int]] = {}
        self.unwritten: list[SliceCheckpoint] = []
        self.lock = threading.RLock()
        self.flushed_at, self.flush_seconds = -math.inf, 0.0
        self.last_read: tuple[Path, SliceCheckpoint] | None = None

    def open(self, report: Callable[[DamagedError], None]) -> None:
        """Read what is in the directory; ``report`` each damaged file.

        Raises InputError where it is of another population.
        """
        if self.folder is None:
            return
        for path in sorted(self.folder.glob(f"{PREFIX}*.safetensors")):
            try:
                checkpoint, digest = _read(path)
            except DamagedError as error:
                report(error)
                continue
            if digest != self.digest:
                raise InputError(f"{path} is of a population with other choices, or on other data")
            self._register(checkpoint)

    @property
    def is_empty(self) -> bool:
        """Whether there are no checkpoints."""
        return not self.by_slice

    @property
    def steps_taken(self) -> int:
        """How many steps all members together have taken."""
        steps: dict[int, int] = {}
        for checkpoint in self.by_slice.values():
            for member in checkpoint.members:
                steps[member] = max(checkpoint.step, steps.get(member, 0))
        return sum(steps.values())

    def _register(self, checkpoint: SliceCheckpoint) -> None:
        """Remember a checkpoint; of one in the directory the arrays stay there until needed."""
        key = checkpoint.end_step, checkpoint.members[0]
        on_disk = self.folder is not None and self.writes
        self.by_slice[key] = checkpoint._replace(arrays={}) if on_disk else checkpoint
        self._register_ended(checkpoint)

    def _register_ended(self, checkpoint: SliceCheckpoint) -> None:
        if checkpoint.ended:
            key = checkpoint.end_step, checkpoint.members[0]
            for member in checkpoint.members:
                self.slice_of_ended[checkpoint.end_step, member] = key

    def _with_arrays(self, key: tuple[int, int]) -> SliceCheckpoint:
        checkpoint = self.by_slice[key]
        if checkpoint.arrays:
            return checkpoint
        path = self._path(checkpoint)
        if self.last_read is None or self.last_read[0] != path:
            self.last_read = path, _read(path)[0]
        return self.last_read[1]

    def _path(self, checkpoint: SliceCheckpoint) -> Path:
        assert self.folder is not None
        name = f"{PREFIX}{checkpoint.end_step:010}-{checkpoint.members[0]:06}.safetensors"
        return self.folder / name

    def save(self, checkpoint: SliceCheckpoint) -> None:
        """Save a checkpoint, in place of an earlier one of the slice. Raises InputError."""
        with self.lock:
            if self.folder is None or not self.writes:
                self._register(checkpoint)
            elif not checkpoint.ended:
                self._write(checkpoint)
            else:
                self.by_slice[checkpoint.end_step, checkpoint.members[0]] = checkpoint
                self._register_ended(checkpoint)
                self.unwritten.append(checkpoint)
                since = time.perf_counter() - self.flushed_at
                if since >= self.flush_seconds / MAX_TIME_SHARE:
                    self.flush()

    def flush(self) -> None:
        """Write what was not written yet; slices of equal shapes go into one file.

        Raises InputError.
        """
        with self.lock:
            begun, alike = time.perf_counter(), defaultdict(list)
            for checkpoint in self.unwritten:
                shapes = [(name, array.shape[1:]) for name, array in checkpoint.arrays.items()]
                logs = checkpoint.means.shape[1:], checkpoint.pending.shape[1:]
                alike[(checkpoint.end_step, *shapes, *logs)].append(checkpoint)
            for checkpoints in alike.values():
                self._write(_joined(checkpoints))
            self.unwritten = []
            self.flushed_at = time.perf_counter()
            self.flush_seconds = self.flushed_at - begun

    def _write(self, checkpoint: SliceCheckpoint) -> None:
        assert self.folder is not None
        make_dir(self.folder)
        record = {
            "about": self.digest,
            "members": checkpoint.members,
            "until": checkpoint.end_step,
            "step": checkpoint.step,
            "dev_losses": checkpoint.dev_losses,
        }
        logs = dict(zip(LOG_ARRAYS, (checkpoint.means, checkpoint.pending), strict=True))
        path = self._path(checkpoint)
        write_whole(path, serialize(checkpoint.arrays | logs, record))
        if self.last_read is not None and self.last_read[0] == path:
            self.last_read = None
        for member in checkpoint.members:
            self.by_slice.pop((checkpoint.end_step, member), None)
        self._register(checkpoint)

    def ended(self, end_step: int, members: Iterable[int]) -> list[int]:
        """Return those members that are at the end of a rung."""
        return [member for member in members if (end_step, member) in self.slice_of_ended]

    def find(
        self, members: Sequence[int], end_step: int, start_step: int
    ) -> SliceCheckpoint | None:
        """Return what a slice resumes from in a rung; None where it has to begin at step 0.

        That is its own checkpoint in this rung or, where all of its members are at the end of the
        rung before, at ``start_step``, what the checkpoints of that hold of them.
        """
        with self.lock:
            key = end_step, members[0]
            if key in self.by_slice and self.by_slice[key].members == tuple(members):
                return self._with_arrays(key)
            if self.ended(start_step, members) != list(members):
                return None
            rows = [self.ended_member(start_step, member) for member in members]
        return _joined(rows)._replace(end_step=end_step, step=start_step, dev_losses=None)

    def ended_member(self, end_step: int, member: int) -> SliceCheckpoint:
        """Return the checkpoint of a single member at the end of a rung."""
        with self.lock:
            return self._with_arrays(self.slice_of_ended[end_step, member]).row(member)

    def remove(self) -> None:
        """Remove the files, once what they were needed for has been written."""
        if self.folder is None or not self.writes or not self.folder.is_dir():
            return
        for path in self.folder.glob(f"{PREFIX}*.safetensors"):
            remove(path)
        try:
            self.folder.rmdir()
        except OSError as error:
            raise InputError(f"cannot remove {self.folder}: {error.strerror}") from None


def _joined(checkpoints: Sequence[SliceCheckpoint]) -> SliceCheckpoint:
    """Return checkpoints of equal shapes, all at the end of the same rung, as one."""
    first = checkpoints[0]
    return first._replace(
        members=tuple(member for each in checkpoints for member in each.members),
        arrays={
            name: np.concatenate([each.arrays[name] for each in checkpoints])
            for name in first.arrays
        },
        means=np.concatenate([each.means for each in checkpoints]),
        pending=np.concatenate([each.pending for each in checkpoints]),
        dev_losses=[loss for each in checkpoints for loss in each.dev_losses or ()],
    )


def _read(path: Path) -> tuple[SliceCheckpoint, str]:
    """Return the checkpoint in a file, and the digest of its population."""
    arrays, record = deserialize(path, read(path))
    try:
        means, pending = (arrays.pop(name) for name in LOG_ARRAYS)
        losses = record["dev_losses"]
        checkpoint = SliceCheckpoint(
            tuple(record["members"]),
            record["until"],
            record["step"],
            arrays,
            means,
            pending,
            losses and [None if loss is None else float(loss) for loss in losses],
        )
    except (LookupError, TypeError) as error:
        raise DamagedError(f"{path} is no checkpoint of a population: {error}") from None
    return checkpoint, record["about"]


def population_digest(
    configs: Sequence[RunConfig], data: dict[str, Any], symbols: Sequence[str]
) -> str:
    """Return a digest of what sets a population apart: its choices, data and vocabulary."""
    choices = [to_dict(config) | {"data": None} for config in configs]
    splits = [[config.data.split, config.data.split_seed] for config in configs[:1]]
    what: list[Any] = [choices, splits, data["sha256"], list(symbols)]
    for config in configs[:1]:  # other choices of the data, where an older mm-jax did not have them
        chosen = dataclasses.replace(config.data, data=DataConfig.data)
        other = flags_of(chosen, DataConfig(split=chosen.split, split_seed=chosen.split_seed))
        what += [other] if other else []
    text = to_json(what)
    return hashlib.sha256(text.encode()).hexdigest()


def finished_members(path: Path, end_step: int) -> tuple[dict[str, np.ndarray], int]:
    """Return the parameters of those members of an ensemble that are trained, and how many.

    Arrays have an axis of members in front. Raises InputError where a file cannot be read.
    """
    members: dict[int, dict[str, np.ndarray]] = {}
    for file in sorted((path / CHECKPOINTS).glob(f"{PREFIX}{end_step:010}-*.safetensors")):
        try:
            checkpoint, _ = _read(file)
        except InputError:  # damaged, or gone since it was listed: training has come to its end
            continue
        params = params_of_state(checkpoint.arrays)
        for row, member in enumerate(checkpoint.members if checkpoint.ended else ()):
            values = {name: array[row] for name, array in params.items()}
            if all(np.isfinite(value).all() for value in values.values()):
                members[member] = values
    rows = [members[number] for number in sorted(members)]
    names = rows[0] if rows else {}
    return {name: np.stack([row[name] for row in rows]) for name in names}, len(rows)
