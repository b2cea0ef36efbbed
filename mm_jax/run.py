"""A run directory: the only module that writes files of a run, and the one that reads them.

config.json (choices, vocabulary, data, versions) comes first, metrics.jsonl grows while training
goes on, params.safetensors comes last and whole: a directory without it is half-written. Reading a
run needs neither the flags that it was made with nor, without a loss on data, the data file.
"""

import contextlib
import csv
import datetime
import io
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
from mm_jax.mesh import is_primary
from mm_jax.model import Model, Params, num_params
from mm_jax.models import build_model
from mm_jax.population import ensemble
from mm_jax.records import from_dict, to_dict, to_json
from mm_jax.text import BOUNDARY, Splits, Text, find_data, load_splits
from mm_jax.vocab import Vocab
from mm_jax.windows import LAYOUTS, Batch

FORMAT = 3  # of config.json; a later one that an older mm-jax cannot read gets a higher number
# What a format says that the one before did not, and what its silence meant.
SINCE: dict[int, dict[str, Any]] = {
    2: {"full_batch": False, "regularization": 0.0},
    3: {
        "label_smoothing": 0.0,
        "init_scale": 1.0,
        "data_seed": None,
        "average_decay": 0.0,
        "seeds": 1,
    },
}
CONFIG, METRICS, PARAMS = "config.json", "metrics.jsonl", "params.safetensors"
SAMPLES, TEST_LOOKS = "samples.txt", "test_looks.jsonl"
MEMBERS, SWEEP = "members.csv", "sweep.json"  # of a sweep


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
    if not is_primary():
        return path
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
    """Make the directory and write config.json; ``lr_range`` says how a rate was found.

    Of many processes only the first one makes and writes anything.
    """
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


def save_table(path: Path, rows: list[list[Any]], record: dict[str, Any]) -> None:
    """Write what a sweep found: members.csv, and sweep.json, which comes last."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path / MEMBERS, text.getvalue().encode())
    _write(path / SWEEP, to_json(record).encode())


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
        config = from_dict(_of_format(choices, record["format"]))
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
    if getattr(config, "seeds", 1) > 1:
        model = ensemble(model, _num_members(path / PARAMS))
    params = _load_params(path / PARAMS, model, config.model.grows)
    return Run(path, config, Vocab(tuple(symbols)), model, params, data)


def _num_members(path: Path) -> int:
    """Return how many members of an ensemble a file holds: all of them, or those that trained."""
    shapes = [array.shape for array in _load_arrays(path).values()]
    if not shapes or not shapes[0] or not shapes[0][0]:
        raise InputError(f"{path} holds no members of an ensemble")
    return shapes[0][0]


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _of_format(choices: Any, written: int) -> Any:
    """Return the choices of an earlier format as this one has them."""
    if not (isinstance(choices, dict) and "optimizer" in choices):
        return choices  # nothing has changed in those of a counted run
    for number in range(written + 1, FORMAT + 1):
        choices = SINCE[number] | choices
    model = choices.get("model")
    if written < 3 and isinstance(model, dict) and model.get("name") == "mlp":
        choices["model"] = {"dropout": 0.0} | model
    return choices


def _load_params(path: Path, model: Model, grows: bool) -> Params:
    """Read the parameters and hold them against the shapes that the model would make.

    Of a model that grows with its data the first axis may be longer, but the same for all arrays,
    and its integers number the rows.
    """
    named = _load_arrays(path)
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
    if not is_primary():
        return
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
    if not is_primary():
        return
    try:
        with path.open("a") as file:
            file.writelines(to_json(record) + "\n" for record in records)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
