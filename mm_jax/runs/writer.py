"""A run directory, chosen, made and written, by one process at a time.

config.json (choices, vocabulary, data, versions) comes first, metrics.jsonl during training,
params.safetensors last and whole. Checkpoints are written by checkpoint_manager.py and
population_checkpoints.py. Of many processes that train together only the first one writes.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from mm_jax import __version__
from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_dict, to_json
from mm_jax.models.base import Params
from mm_jax.runs.checkpoint import CHECKPOINTS, remove_partial_files, serialize
from mm_jax.runs.layout import (
    CONFIG,
    FORMAT,
    LADDER,
    MEMBERS,
    METRICS,
    PARAMS,
    SAMPLES,
    SETTINGS,
    SUMS,
    SWEEP,
    RunMetadata,
    resume_command,
)
from mm_jax.runtime.atomic_files import (
    LOCK,
    PARTIAL,
    append,
    exclusive_writer,
    read,
    remove,
    write_whole,
)
from mm_jax.runtime.mesh import is_primary

# The command that resumes a directory, by what is in it; of several the first
RESUMABLE = {SWEEP: "sweep", LADDER: "ladder", CHECKPOINTS: "train"}


# The directory


def choose_dir(out: str | None, stem: str, *, resume: bool = False) -> Path:
    """Return where a new run goes: ``out``, or the first free of runs/STEM-1, runs/STEM-2, ...

    Raises InputError where ``out`` exists and is not an empty directory, or cannot be made. With
    ``resume`` it need not be empty. Creates nothing.
    """
    if out is None:
        return _first_free(stem)
    if not out:
        raise InputError("--out is empty; name a directory")
    path = Path(out)
    if not is_primary():
        return path
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {path} exists and is not a directory")
        if not resume:
            check_empty(path)
        if path.is_symlink() and not path.exists():
            raise InputError(f"--out {path} is a link that leads nowhere")
        existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {path}: {existing} is no directory that can be written to")
    return path


def _first_free(stem: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return path


def check_empty(path: Path) -> None:
    """Raise InputError where a directory holds more than a lock and half-written files."""
    if not path.is_dir():
        return
    if any(name != LOCK and not name.endswith(PARTIAL) for name in os.listdir(path)):
        advice = "name another"
        commands = [command for name, command in RESUMABLE.items() if (path / name).exists()]
        if commands:
            advice += f", or resume it: {resume_command(commands[0], path)}"
        raise InputError(f"--out {path} exists and is not empty; {advice}")


@contextlib.contextmanager
def hold_dir(path: Path, out: str | None, stem: str, *, resume: bool = False) -> Iterator[Path]:
    """Make the directory that choose_dir chose, and hold it as its only writer.

    Yields its path: where another process took it meanwhile, the next number. Raises InputError
    where it cannot be made, another process writes it, or it is not empty and not to be resumed.
    """
    if not is_primary():
        yield path
        return
    path = _make_chosen_dir(path, out, stem)
    with exclusive_writer(path):
        if not resume:
            check_empty(path)
        remove_partial_files(path)
        yield path


def _make_chosen_dir(path: Path, out: str | None, stem: str) -> Path:
    while True:
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
        except OSError as error:
            if out is not None or error.errno != errno.EEXIST:
                raise InputError(f"cannot make {path}: {error.strerror}") from None
            path = _first_free(stem)
        else:
            return path


# Its files


def write_metadata(path: Path, metadata: RunMetadata) -> None:
    """Make the directory and write config.json."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "optax", "flax", "numpy")}
    versions |= {"python": platform.python_version(), "mm_jax": __version__}
    record = {
        "format": FORMAT,
        "config": to_dict(metadata.config),
        "symbols": metadata.symbols,
        "data": metadata.data,
        "lr_range": metadata.lr_range,
        "versions": versions,
        "fingerprint": metadata.fingerprint,
    }
    if is_primary():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {path}: {error.strerror}") from None
    _write(path / CONFIG, json.dumps(record, indent=1).encode())


def save_settings(path: Path, record: dict[str, Any]) -> None:
    """Write settings.json of a sweep, what it was asked for, which comes first."""
    _write(path / SETTINGS, to_json(record).encode())


def save_table(path: Path, rows: list[list[Any]], record: dict[str, Any] | None) -> None:
    """Write the results of a sweep: members.csv, and at its end sweep.json, which comes last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path / MEMBERS, text.getvalue().encode())
    if record is not None:
        last = to_json(record).encode()
        _write(path / SUMS, _sums(path, (SETTINGS, MEMBERS), {SWEEP: last}))
        _write(path / SWEEP, last)


def append_metrics(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Append one JSON line per record to metrics.jsonl."""
    append_lines(path / METRICS, records)


def save_results(path: Path, params: Params, samples: str) -> None:
    """Write samples.txt and SHA256SUMS, then params.safetensors, which marks the end of the run.

    ``samples`` is the text of the first (data/samples.py).
    """
    if not is_primary():
        return
    _write(path / SAMPLES, samples.encode())
    named = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep=".").items()}
    last = serialize(named, {})
    _write(path / SUMS, _sums(path, (CONFIG, METRICS, SAMPLES), {PARAMS: last}))
    _write(path / PARAMS, last)


def drop_results(path: Path) -> None:
    """Remove what marks a run as complete, before it is written to again."""
    if is_primary():
        for name in (PARAMS, SUMS, SAMPLES, METRICS):
            remove(path / name)


def _sums(path: Path, names: Iterable[str], next_files: dict[str, bytes]) -> bytes:
    """Return lines for sha256sum --check: of the files that exist, and of those written next."""
    if not is_primary():
        return b""
    data = {name: read(path / name) for name in names if (path / name).exists()} | next_files
    lines = (f"{hashlib.sha256(each).hexdigest()}  {name}\n" for name, each in data.items())
    return "".join(lines).encode()


def _write(path: Path, data: bytes) -> None:
    if is_primary():
        write_whole(path, data)


def append_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Append one JSON line per record to a file."""
    if is_primary():
        append(path, "".join(to_json(record) + "\n" for record in records).encode())
