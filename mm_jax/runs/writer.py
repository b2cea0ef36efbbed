"""A run directory, made and written, by one process at a time.

config.json (choices, vocabulary, data, versions) comes first, metrics.jsonl while training goes on,
params.safetensors last and whole. Checkpoints and parts are written by keeper.py and parts.py.
"""

import contextlib
import csv
import hashlib
import io
import json
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_dict, to_json
from mm_jax.models.base import Params
from mm_jax.runs import layout
from mm_jax.runs.checkpoint import encode, remove_partial_files
from mm_jax.runs.layout import (
    CONFIG,
    FORMAT,
    MEMBERS,
    METRICS,
    PARAMS,
    SAMPLES,
    SETTINGS,
    SUMS,
    SWEEP,
    RunMetadata,
    check_empty,
    make_numbered_dir,
)
from mm_jax.runtime.atomic_files import append, exclusive_writer, read, remove, write_whole
from mm_jax.runtime.mesh import is_primary


def choose_dir(out: str | None, stem: str, *, resume: bool = False) -> Path:
    """Return where a new run goes; see layout.choose_dir. Only the first process looks."""
    if out is not None and not is_primary():
        return Path(out)
    return layout.pick_dir(out, stem, resume=resume)


@contextlib.contextmanager
def hold_dir(path: Path, out: str | None, stem: str, *, resume: bool = False) -> Iterator[Path]:
    """Make the directory that choose_dir chose, and hold it as its only writer.

    Yields its path: where another process took it meanwhile, the next number. Raises InputError
    where it cannot be made, another process writes it, or it is not empty and not to be resumed.
    """
    if not is_primary():
        yield path
        return
    path = make_numbered_dir(path, out, stem)
    with exclusive_writer(path):
        if not resume:
            check_empty(path)
        remove_partial_files(path)
        yield path


def write_metadata(path: Path, metadata: RunMetadata) -> None:
    """Make the directory and write config.json.

    Of many processes only the first one makes and writes anything.
    """
    libraries = ("jax", "jaxlib", "optax", "flax", "numpy", "mm_jax")
    record = {
        "format": FORMAT,
        "config": to_dict(metadata.config),
        "symbols": metadata.symbols,
        "data": metadata.data,
        "lr_range": metadata.lr_range,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in libraries},
        "fingerprint": metadata.fingerprint,
    }
    make_dir(path)
    _write(path / CONFIG, json.dumps(record, indent=1).encode())


def make_dir(path: Path) -> None:
    """Make the directory that a run or a sweep is kept in."""
    if not is_primary():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror}") from None


def save_settings(path: Path, record: dict[str, Any]) -> None:
    """Write what a sweep was asked for, which comes first."""
    _write(path / SETTINGS, to_json(record).encode())


def save_table(path: Path, rows: list[list[Any]], record: dict[str, Any] | None) -> None:
    """Write what a sweep found: members.csv, and at its end sweep.json, which comes last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path / MEMBERS, text.getvalue().encode())
    if record is not None:
        last = to_json(record).encode()
        _write(path / SUMS, _sums(path, (SETTINGS, MEMBERS), {SWEEP: last}))
        _write(path / SWEEP, last)


def append_metrics(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Add one JSON line a record to metrics.jsonl."""
    append_lines(path / METRICS, records)


def save_results(path: Path, params: Params, samples: list[str]) -> None:
    """Write samples.txt and SHA256SUMS, then params.safetensors, which marks the run as whole."""
    if not is_primary():
        return
    _write(path / SAMPLES, "".join(line + "\n" for line in samples).encode())
    named = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep=".").items()}
    last = encode(named, {})
    _write(path / SUMS, _sums(path, (CONFIG, METRICS, SAMPLES), {PARAMS: last}))
    _write(path / PARAMS, last)


def drop_results(path: Path) -> None:
    """Take back what marks a run as whole, before it is written to again."""
    if is_primary():
        for name in (PARAMS, SUMS, SAMPLES, METRICS):
            remove(path / name)


def _sums(path: Path, names: Iterable[str], more: dict[str, bytes]) -> bytes:
    """Return lines for sha256sum --check: of files that are there, and of those to come."""
    if not is_primary():
        return b""
    data = {name: read(path / name) for name in names if (path / name).exists()} | more
    lines = (f"{hashlib.sha256(each).hexdigest()}  {name}\n" for name, each in data.items())
    return "".join(lines).encode()


def _write(path: Path, data: bytes) -> None:
    if is_primary():
        write_whole(path, data)


def append_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Add one JSON line a record to a file."""
    if is_primary():
        append(path, "".join(to_json(record) + "\n" for record in records).encode())
