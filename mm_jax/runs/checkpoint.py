"""A checkpoint: one safetensors file with a checksum of all of it, and the two newest of a run.

Enters and leaves: NumPy arrays by name, and a record of plain values that describes them. The
record stands in the file's header; its first entry is the sha256 of the file with that entry blank.
Nothing is ever unpickled. Imports no jax.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_json
from mm_jax.runs.layout import read_metadata
from mm_jax.runtime import atomic_files
from mm_jax.runtime.atomic_files import make_dir, read, remove, write_whole

CHECKPOINTS = "checkpoints"  # a directory in a run's
BEST = "best.safetensors"  # in it: the state with the lowest loss on dev
NUM_KEPT = 2  # how many others are kept
MAX_TIME_SHARE = 0.01  # of the training time that checkpoints take, unless the user says when
ENTRY = "mm_jax"  # of the header
BLANK = "-" * 64  # stands for the checksum while it is being computed


class DamagedError(InputError):
    """A file is not what was written."""


class Checkpoint(NamedTuple):
    """What a file holds."""

    path: Path
    arrays: dict[str, np.ndarray]
    record: dict[str, Any]

    @property
    def step(self) -> int:
        """How many steps had been taken."""
        return self.record["step"]


def serialize(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> bytes:
    """Return the bytes of a safetensors file of ``arrays``; the same for the same content."""
    entry = to_json({"sha256": BLANK, **record})  # one entry: safetensors has no order of many
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = bytearray(save(in_order, metadata={ENTRY: entry}))
    start = data.index(BLANK.encode())
    data[start : start + len(BLANK)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def deserialize(path: Path, data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and record of a file's bytes; raises DamagedError unless all are as written."""
    record = _read_record(path, data)
    if record is None:
        raise DamagedError(f"{path} is damaged: it has no checksum")
    return _verified_arrays(path, data, record), record


def _read_record(path: Path, data: bytes) -> dict[str, Any] | None:
    """Return the record in a safetensors file, unchecked; None where others wrote the file."""
    try:
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise ValueError("it is cut short")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        if ENTRY not in header:
            if "sha256" in json.dumps(header):
                raise ValueError("its header was changed")
            return None
        record = json.loads(header[ENTRY])
        if not isinstance(record["sha256"], str) or len(record["sha256"]) != len(BLANK):
            raise ValueError("its checksum is none")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    return record


def _verified_arrays(path: Path, data: bytes, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a file whose checksum is right; raises DamagedError where it is not."""
    try:
        start = data.index(record["sha256"].encode())
        blank = data[:start] + BLANK.encode() + data[start + len(BLANK) :]
        if hashlib.sha256(blank).hexdigest() != record["sha256"]:
            raise DamagedError(f"{path} is damaged: its checksum is wrong")
        return load(data)
    except (SafetensorError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} is damaged: {error}") from None


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify all of it. Raises InputError; DamagedError where it changed."""
    arrays, record = deserialize(path, read(path))
    if not isinstance(record.get("step"), int):
        raise DamagedError(f"{path} is damaged: it names no step")
    return Checkpoint(path, arrays, record)


def checkpoint_path(run: Path, step: int) -> Path:
    """Return where the checkpoint of a step is, or would be."""
    return run / CHECKPOINTS / f"step-{step:010}.safetensors"


def checkpoint_steps(run: Path) -> list[int]:
    """Return the steps that have a checkpoint, the newest first."""
    names = (path.stem.removeprefix("step-") for path in run.glob(f"{CHECKPOINTS}/step-*[0-9].*"))
    return sorted({int(name) for name in names if name.isdecimal()}, reverse=True)


def save_checkpoint(
    run: Path, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> Path:
    """Write a checkpoint; of those of earlier steps only the newest stays. Raises InputError."""
    path = checkpoint_path(run, step)
    make_dir(path.parent)
    write_whole(path, serialize(arrays, {"step": step, **record}))
    # Later ones are damaged, or stem from before a resume.
    before = [other for other in checkpoint_steps(run) if other < step]
    for other in checkpoint_steps(run):
        if other > step or other in before[NUM_KEPT - 1 :]:
            remove(checkpoint_path(run, other))
    return path


def valid_checkpoints(run: Path, report: Callable[[DamagedError], None]) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a run, the newest first, and ``report`` those that are damaged.

    While another process trains, one may be removed before it could be read: that is no error.
    """
    for step in checkpoint_steps(run):
        path = checkpoint_path(run, step)
        try:
            yield open_checkpoint(path)
        except DamagedError as error:
            report(error)
        except InputError:
            if path.exists():
                raise


def newest_checkpoint(run: Path, report: Callable[[DamagedError], None]) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None; ``report`` those that are damaged."""
    for _ in range(3):  # during training, all that were listed may be removed meanwhile
        checkpoint = next(valid_checkpoints(run, report), None)
        if checkpoint is not None or not checkpoint_steps(run):
            break
    return checkpoint


def read_params(path: Path) -> dict[str, np.ndarray]:
    """Read arrays, and verify them if they have a checksum: other programs write none."""
    data = read(path)
    record = _read_record(path, data)
    if record is not None:
        return _verified_arrays(path, data, record)
    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None


def params_of_state(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters to use of a state, by name: their average where one is kept."""
    averaged = any(name.startswith("average.") for name in arrays)
    table = "average." if averaged else "params."
    return {
        name.removeprefix(table): array for name, array in arrays.items() if name.startswith(table)
    }


def fingerprint_of_run(run: Path) -> dict[str, Any]:
    """Return the fingerprint of the machine that took the last steps of a run."""
    last = newest_checkpoint(run, lambda _: None)
    if last is not None and isinstance(last.record.get("fingerprint"), dict):
        return last.record["fingerprint"]
    return read_metadata(run).fingerprint or {}


def raise_damaged(error: DamagedError) -> None:
    """Report a damaged checkpoint as an error, as --strict asks for."""
    raise error


def remove_partial_files(run: Path) -> None:
    """Remove what a crash left half-written in a run directory. Raises InputError."""
    atomic_files.remove_partial_files(run)
    atomic_files.remove_partial_files(run / CHECKPOINTS)
