"""What is kept of a population while it trains: a file for each slice of members.

Such a part holds the states of its members, what their metrics say so far, and what they reach on
dev at the end of a rung. Without a directory parts are kept in memory. Imports no jax.
"""

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
from mm_jax.config.serialization import to_dict, to_json
from mm_jax.config.training import RunConfig
from mm_jax.runs.checkpoint import (
    CHECKPOINTS,
    MAX_TIME_SHARE,
    DamagedError,
    decode,
    encode,
    params_of_state,
)
from mm_jax.runtime.atomic_files import make_dir, read, remove, write_whole

PREFIX = "members-"
LOG_ARRAYS = ("log.means", "log.pending")  # (m, lines) float64; (m, losses) float32


class SliceCheckpoint(NamedTuple):
    """Members that are trained together, at some step of a rung."""

    members: tuple[int, ...]  # their numbers in the population
    until: int  # the last step of the rung
    step: int
    arrays: dict[str, np.ndarray]  # the leaves of their states, by name, an axis of members first
    means: np.ndarray  # (m, lines) of metrics, float64
    pending: np.ndarray  # (m, losses) that fill no line yet, float32
    dev_losses: list[float | None] | None = None  # at the end of the rung

    @property
    def ended(self) -> bool:
        """Whether its members are at the end of their rung."""
        return self.dev_losses is not None


class PopulationCheckpoints:
    """The parts of a population: in a directory, or in memory. Any thread may ask and save.

    Parts that have come to the end of their rung wait for one another, as long as writing each for
    itself would take more than a hundredth of the time, and then go into one file.
    """

    def __init__(self, path: Path | None = None, about: str = "", *, writes: bool = True) -> None:
        self.folder = None if path is None else path / CHECKPOINTS
        self.about, self.writes = about, writes
        self.held: dict[tuple[int, int], SliceCheckpoint] = {}  # by rung and first member
        self.owner: dict[tuple[int, int], tuple[int, int]] = {}  # by rung and any member that ended
        self.waiting: list[SliceCheckpoint] = []
        self.lock, self.at, self.cost = threading.RLock(), -math.inf, 0.0
        self.read: tuple[Path, SliceCheckpoint] | None = None  # the file that was read last

    def open(self, report: Callable[[DamagedError], None]) -> None:
        """Read what is in the directory; ``report`` what is damaged.

        Raises InputError where it is of another population.
        """
        if self.folder is None:
            return
        for path in sorted(self.folder.glob(f"{PREFIX}*.safetensors")):
            try:
                part, about = _open(path)
            except DamagedError as error:
                report(error)
                continue
            if about != self.about:
                raise InputError(f"{path} is of a population with other choices, or on other data")
            self._hold(part)

    @property
    def taken(self) -> int:
        """How many steps all members together have taken."""
        steps: dict[int, int] = {}
        for part in self.held.values():
            steps |= {each: max(part.step, steps.get(each, 0)) for each in part.members}
        return sum(steps.values())

    def _hold(self, part: SliceCheckpoint) -> None:
        key = part.until, part.members[0]
        # In a directory the arrays stay there until they are asked for.
        away = self.folder is not None and self.writes
        self.held[key] = part._replace(arrays={}) if away else part
        if part.ended:
            self.owner |= {(part.until, member): key for member in part.members}

    def _whole(self, key: tuple[int, int]) -> SliceCheckpoint:
        part = self.held[key]
        if part.arrays:
            return part
        path = self._path(part)
        if self.read is None or self.read[0] != path:
            self.read = path, _open(path)[0]
        return self.read[1]

    def _path(self, part: SliceCheckpoint) -> Path:
        assert self.folder is not None
        return self.folder / f"{PREFIX}{part.until:010}-{part.members[0]:06}.safetensors"

    def save(self, part: SliceCheckpoint) -> None:
        """Keep a part, in place of what there was of it. Raises InputError."""
        with self.lock:
            if self.folder is None or not self.writes:
                self._hold(part)
            elif not part.ended:
                self._write(part)
            else:
                key = part.until, part.members[0]
                self.held[key] = part
                self.owner |= {(part.until, each): key for each in part.members}
                self.waiting.append(part)
                if time.perf_counter() - self.at >= self.cost / MAX_TIME_SHARE:
                    self.flush()

    def flush(self) -> None:
        """Write what waits. Raises InputError."""
        with self.lock:
            begun, groups = time.perf_counter(), defaultdict(list)
            for part in self.waiting:
                shapes = [(name, array.shape[1:]) for name, array in part.arrays.items()]
                alike = (part.until, *shapes, part.means.shape[1:], part.pending.shape[1:])
                groups[alike].append(part)
            for group in groups.values():
                self._write(_joined(group))
            self.waiting = []
            self.at = time.perf_counter()
            self.cost = self.at - begun

    def _write(self, part: SliceCheckpoint) -> None:
        assert self.folder is not None
        make_dir(self.folder)
        record = {
            "about": self.about,
            "members": part.members,
            "until": part.until,
            "step": part.step,
            "dev_losses": part.dev_losses,
        }
        logs = dict(zip(LOG_ARRAYS, (part.means, part.pending), strict=True))
        write_whole(self._path(part), encode(part.arrays | logs, record))
        if self.read is not None and self.read[0] == self._path(part):
            self.read = None
        for each in part.members:
            self.held.pop((part.until, each), None)
        self._hold(part)

    def ended(self, until: int, members: Iterable[int]) -> list[int]:
        """Return those members that are at the end of a rung."""
        return [member for member in members if (until, member) in self.owner]

    def find(self, members: Sequence[int], until: int, before: int) -> SliceCheckpoint | None:
        """Return where these members go on in a rung, ``before`` being the end of the last one."""
        with self.lock:
            key = until, members[0]
            if key in self.held and self.held[key].members == tuple(members):
                return self._whole(key)
            if self.ended(before, members) != list(members):
                return None
            rows = [self._row(before, member) for member in members]
        return SliceCheckpoint(
            tuple(members),
            until,
            before,
            {name: np.stack([row.arrays[name][0] for row in rows]) for name in rows[0].arrays},
            np.stack([row.means[0] for row in rows]),
            np.stack([row.pending[0] for row in rows]),
        )

    def _row(self, until: int, member: int) -> SliceCheckpoint:
        """Return the part of a single member that has ended."""
        part = self._whole(self.owner[until, member])
        row = slice(at := part.members.index(member), at + 1)
        return part._replace(
            members=(member,),
            arrays={name: array[row] for name, array in part.arrays.items()},
            means=part.means[row],
            pending=part.pending[row],
            dev_losses=None if part.dev_losses is None else part.dev_losses[row],
        )

    def member(self, until: int, member: int) -> SliceCheckpoint:
        """Return what is known of a member that is at the end of a rung, and its arrays."""
        with self.lock:
            return self._row(until, member)

    def remove(self) -> None:
        """Remove all that is in the directory: what it was needed for has been written."""
        if self.folder is None or not self.writes or not self.folder.is_dir():
            return
        for path in self.folder.glob(f"{PREFIX}*.safetensors"):
            remove(path)
        try:
            self.folder.rmdir()
        except OSError as error:
            raise InputError(f"cannot remove {self.folder}: {error.strerror}") from None


def _joined(parts: Sequence[SliceCheckpoint]) -> SliceCheckpoint:
    """Return parts of equal shapes as one."""
    first = parts[0]
    return first._replace(
        members=tuple(member for part in parts for member in part.members),
        arrays={name: np.concatenate([p.arrays[name] for p in parts]) for name in first.arrays},
        means=np.concatenate([part.means for part in parts]),
        pending=np.concatenate([part.pending for part in parts]),
        dev_losses=[loss for part in parts for loss in part.dev_losses or ()],
    )


def _open(path: Path) -> tuple[SliceCheckpoint, str]:
    arrays, record = decode(path, read(path))
    try:
        means, pending = (arrays.pop(name) for name in LOG_ARRAYS)
        losses = record["dev_losses"]
        part = SliceCheckpoint(
            tuple(record["members"]),
            record["until"],
            record["step"],
            arrays,
            means,
            pending,
            losses and [None if loss is None else float(loss) for loss in losses],
        )
    except (LookupError, TypeError) as error:
        raise DamagedError(f"{path} is no part of a population: {error}") from None
    return part, record["about"]


def population_digest(
    configs: Sequence[RunConfig], data: dict[str, Any], symbols: Sequence[str]
) -> str:
    """Return what tells a population from all others: its choices, data and vocabulary."""
    choices = [to_dict(config) | {"data": None} for config in configs]
    splits = [[config.data.split, config.data.split_seed] for config in configs[:1]]
    told = to_json([choices, splits, data["sha256"], list(symbols)])
    return hashlib.sha256(told.encode()).hexdigest()


def finished_members(path: Path, until: int) -> tuple[dict[str, np.ndarray], int]:
    """Return the parameters of those members of an ensemble that are trained, and how many.

    Arrays have an axis of members in front. Raises InputError where a file cannot be read.
    """
    members: dict[int, dict[str, np.ndarray]] = {}
    for file in sorted((path / CHECKPOINTS).glob(f"{PREFIX}{until:010}-*.safetensors")):
        try:
            part, _ = _open(file)
        except InputError:  # damaged, or gone since it was listed: training has come to its end
            continue
        params = params_of_state(part.arrays)
        for row, member in enumerate(part.members if part.ended else ()):
            values = {name: array[row] for name, array in params.items()}
            if all(np.isfinite(value).all() for value in values.values()):
                members[member] = values
    rows = [members[number] for number in sorted(members)]
    names = rows[0] if rows else {}
    return {name: np.stack([row[name] for row in rows]) for name in names}, len(rows)
