"""A run directory: the only module that writes files of a run, and the one that reads them.

config.json (choices, vocabulary, data, versions) comes first, metrics.jsonl grows while training
goes on, params.safetensors comes last and whole: a directory without it is half-written. Reading a
run needs neither the flags that it was made with nor, without a loss on data, the data file.
"""

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mm_jax.choices import InputError
from mm_jax.config import CountConfig, RunConfig, TaskConfig
from mm_jax.model import Model, Params, num_params
from mm_jax.models import build_model
from mm_jax.records import from_dict, to_dict, to_json
from mm_jax.text import BOUNDARY, Splits, Text, find_data, load_splits
from mm_jax.vocab import Vocab
from mm_jax.windows import LAYOUTS, Batch

FORMAT = 2  # of config.json; a later one that an older mm-jax cannot read gets a higher number
SINCE_FORMAT_2 = {"full_batch": False, "regularization": 0.0}  # what format 1 does not say
CONFIG, METRICS, PARAMS = "config.json", "metrics.jsonl", "params.safetensors"
SAMPLES, TEST_LOOKS = "samples.txt", "test_looks.jsonl"


class Run(NamedTuple):
    """A trained model with all that is needed to use it."""

    path: Path
    config: RunConfig | CountConfig
    vocab: Vocab
    model: Model
    params: Params
    data: dict[str, Any]  # path, sha256 and counts of the file it was trained on


def choose_dir(out: str | None, stem: str) -> Path:
    """Return where a new run goes: ``out``, or the first free of runs/STEM-1, runs/STEM-2, ...

    Raises InputError where ``out`` exists and is not an empty directory, or cannot be made. Creates
    nothing.
    """
    if out is None:
        number = 1
        while (path := Path("runs") / f"{stem}-{number}").exists():
            number += 1
        return path
    path = Path(out)
    try:
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {path} exists and is not a directory")
        if path.is_dir() and any(path.iterdir()):
            raise InputError(f"--out {path} exists and is not empty; name another")
        if path.is_symlink() and not path.exists():
            raise InputError(f"--out {path} is a link that leads nowhere")
        there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out {path}: {there} is no directory that can be written to")
    return path


def create(
    path: Path,
    config: RunConfig | CountConfig,
    vocab: Vocab,
    data: dict[str, Any],
    lr_range: dict[str, Any] | None = None,
) -> None:
    """Make the directory and write config.json; ``lr_range`` says how a rate was found."""
    libraries = ("jax", "jaxlib", "optax", "flax", "numpy", "mm_jax")
    record = {
        "format": FORMAT,
        "config": to_dict(config),
        "symbols": vocab.symbols,
        "data": data,
        "lr_range": lr_range,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in libraries},
        "device": jax.devices()[0].device_kind,
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror}") from None
    _write(path / CONFIG, json.dumps(record, indent=1).encode())


def append_metrics(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Add one JSON line a record to metrics.jsonl."""
    _append(path / METRICS, records)


def save_results(path: Path, params: Params, samples: list[str]) -> None:
    """Write samples.txt, then params.safetensors, which marks the run as whole."""
    _write(path / SAMPLES, "".join(line + "\n" for line in samples).encode())
    named = {name: jax.device_get(leaf) for name, leaf in flatten_dict(params, sep=".").items()}
    _write(path / PARAMS, save(named))


def count_test_look(path: Path, loss_nats: float) -> int:
    """Note that the test split was looked at; return how often it has been, this time included."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _append(path / TEST_LOOKS, [{"time": now, "loss": loss_nats}])
    return len((path / TEST_LOOKS).read_text().splitlines())


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run directory. Raises InputError where it is not one, half-written or damaged."""
    path = Path(path)
    if not path.is_dir():
        what = "is not a run directory but a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}")
    if not (path / CONFIG).exists():
        raise InputError(f"{path} is not a run directory: it has no {CONFIG}")
    if not (path / PARAMS).exists():
        raise InputError(f"{path} is half-written: it has no {PARAMS}; its making did not end")
    try:
        record = json.loads((path / CONFIG).read_bytes())
        if record["format"] > FORMAT:
            raise InputError(f"a newer mm-jax wrote it (format {record['format']}); upgrade")
        choices, data, symbols = record["config"], record["data"], record["symbols"]
        if record["format"] == 1 and isinstance(choices, dict):
            choices = choices | SINCE_FORMAT_2
        config = from_dict(choices)
        distinct = len({*symbols}) == len(symbols) and {*map(len, symbols)} == {1}
        if symbols[0] != BOUNDARY or not distinct or not "".join(symbols).encode():
            raise InputError("its symbols are not the boundary and distinct code points")
        if not isinstance(data["sha256"], str):
            raise InputError("its data has no sha256")
    except (OSError, InputError) as error:
        raise InputError(f"{path / CONFIG}: {error}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path / CONFIG} is damaged: {type(error).__name__}: {error}") from None
    model = build_model(config.model, len(symbols))
    params = _load_params(path / PARAMS, model, config.model.grows)
    return Run(path, config, Vocab(tuple(symbols)), model, params, data)


def _load_params(path: Path, model: Model, grows: bool) -> Params:
    """Read the parameters and hold them against the shapes that the model would make.

    Of a model that grows with its data the first axis may be longer, but the same for all arrays,
    and its integers number the rows.
    """
    try:
        named = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    expected = flatten_dict(jax.eval_shape(model.init, jax.random.key(0)), sep=".")
    if grows and named:
        length = next(iter(named.values())).shape[:1]
        expected = {
            name: jax.ShapeDtypeStruct(length + leaf.shape[1:], leaf.dtype)
            for name, leaf in expected.items()
        }
    for name in sorted(expected.keys() | named.keys()):
        want, got = expected.get(name), named.get(name)
        if want is None or got is None or (want.shape, want.dtype) != (got.shape, got.dtype):
            found, due = (a if a is None else f"{a.dtype}{list(a.shape)}" for a in (got, want))
            raise InputError(f"{path} does not fit {CONFIG}: {name} is {found}, should be {due}")
        if not got.size:
            raise InputError(f"{path} holds no usable model: {name} is empty")
        if not np.isfinite(got).all():
            raise InputError(f"{path} holds no usable model: {name} is not finite")
        if got.dtype.kind == "i" and (got.min() < 0 or (grows and got.max() >= len(got))):
            raise InputError(f"{path} holds no usable model: {name} has a number out of its range")
    return unflatten_dict({name: jnp.asarray(named[name]) for name in expected}, sep=".")


def describe(run: Run) -> dict[str, Any]:
    """Return what every command that reads a run says of it in --json."""
    return {
        "config": to_dict(run.config),
        "vocab_size": len(run.vocab),
        "num_params": num_params(run.params),
        "run_dir": str(run.path),
    }


def run_splits(run: Run) -> tuple[Text, Splits]:
    """Read the data that a run was trained on. Raises InputError where the file has changed."""
    path = find_data(run.config.data.data)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: what {run.path} was made from is gone")
    text, splits = load_splits(run.config.data)
    if text.sha256 != run.data["sha256"]:
        raise InputError(f"{text.path} has changed since {run.path} was trained on it")
    return text, splits


def make_batch(
    lines: list[str], vocab: Vocab, model: Model, config: TaskConfig | CountConfig
) -> Batch:
    """Return ``lines`` in the layout that the run's model is trained on."""
    return LAYOUTS[config.model.layout](lines, vocab, model.context)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that there is the old one or the new one, never a part."""
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    try:
        with path.open("a") as file:
            file.writelines(to_json(record) + "\n" for record in records)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
