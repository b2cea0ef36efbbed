"""What stands where in a run directory, and its config.json: read, checked, compared.

Imports no jax, so that a command can ask before it begins.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mm_jax.config.base import InputError, check_path, flag
from mm_jax.config.serialization import from_dict, read_count, read_number, to_dict
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.data.text import BOUNDARY
from mm_jax.runtime.atomic_files import LOCK, PART

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
SAMPLES, TEST_LOOKS, SUMS = "samples.txt", "test_looks.jsonl", "SHA256SUMS"
PROFILE = "profile"  # a directory
SETTINGS, MEMBERS, SWEEP = "settings.json", "members.csv", "sweep.json"  # of a sweep


class RunMetadata(NamedTuple):
    """What config.json says."""

    config: RunConfig | CountConfig
    symbols: tuple[str, ...]
    data: dict[str, Any]  # path, sha256 and counts of the file that was learned from
    lr_range: dict[str, Any] | None = None  # how the learning rate was found, where it was
    fingerprint: dict[str, Any] | None = None  # of the machine; None where none was written


def read_metadata(path: Path) -> RunMetadata:
    """Read the config.json of a run directory. Raises InputError where it is not what we write."""
    try:
        return metadata_from_record(json.loads((path / CONFIG).read_bytes()))
    except (OSError, InputError) as error:
        raise InputError(f"{path / CONFIG}: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path / CONFIG} is damaged: {type(error).__name__}: {error}") from None


def metadata_from_record(record: dict[str, Any]) -> RunMetadata:
    """Return what a record says; raises InputError, or what a wrong type leads to."""
    if record["format"] > FORMAT:
        raise InputError(f"a newer mm-jax wrote it (format {record['format']}); upgrade")
    choices, data, symbols = record["config"], record["data"], record["symbols"]
    config = from_dict(_of_format(choices, record["format"]))
    distinct = len({*symbols}) == len(symbols) and {*map(len, symbols)} == {1}
    if symbols[0] != BOUNDARY or not distinct or not "".join(symbols).encode():
        raise InputError("its symbols are not the boundary and distinct code points")
    if not isinstance(data["sha256"], str):
        raise InputError("its data has no sha256")
    machine = record.get("fingerprint")
    if not isinstance(machine, dict | None):
        raise InputError("its fingerprint is no table")
    return RunMetadata(config, tuple(symbols), data, record.get("lr_range"), machine)


def check_data_record(path: Path, data: Any) -> None:
    """Raise InputError where a file does not say what was learned from, as we write it.

    To use a model the sha256 is enough; to speak of what it was made from takes more.
    """
    try:
        _check_data_record(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_data_record(data: Any) -> None:
    if not isinstance(data, dict) or not {"sha256", "path", "split_lines"} <= data.keys():
        raise InputError("its data has no path, sha256 or split_lines")
    if not (isinstance(data["sha256"], str) and isinstance(data["path"], str)):
        raise InputError("the path or the sha256 of its data is no text")
    check_path(data["path"], "the path of its data,")
    for name in ("num_lines", "num_blank"):
        read_count(data.get(name), f"{name} of its data")
    if not isinstance(data["split_lines"], list | tuple) or len(data["split_lines"]) != 3:
        raise InputError("split_lines of its data are not three")
    for count in data["split_lines"]:
        read_count(count, "one of split_lines of its data")
    read_number(data.get("dev_lines_in_train"), "dev_lines_in_train of its data")


def _of_format(choices: Any, written: int) -> Any:
    """Return the choices of an earlier format as this one has them."""
    if not (isinstance(choices, dict) and "optimizer" in choices):
        return choices  # nothing has changed in those of a counted run
    for later in range(written + 1, FORMAT + 1):
        choices = SINCE[later] | choices
    model = choices.get("model")
    if written < 3 and isinstance(model, dict) and model.get("name") == "mlp":
        choices["model"] = {"dropout": 0.0} | model
    return choices


def find_resumable(out: str | None, *, resume: bool) -> RunMetadata | None:
    """Return what --resume goes on with: the run in ``out``, or None where there is none yet."""
    if not resume:
        return None
    if not out:
        raise InputError("--resume needs --out, the run to go on with")
    path = Path(out)
    with contextlib.suppress(OSError):
        if (path / CONFIG).exists():
            return read_metadata(path)
    return None


def differing_choices(
    before: RunConfig | CountConfig, now: RunConfig | CountConfig, *, auto: bool = False
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each choice that differs: its flag, its value before and now.

    Where the data stands is not compared: what it holds is. With ``auto`` the rate before was
    found, and to ask for that again is no difference.
    """
    old, new = _flat(to_dict(before)), _flat(to_dict(now))
    for name in {**old, **new}:
        found = auto and name == "learning_rate" and new.get(name) == "auto"
        if name != "data" and not found and old.get(name) != new.get(name):
            yield ("--model" if name == "name" else flag(name)), old.get(name), new.get(name)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def check_same_choices(path: Path, metadata: RunMetadata, now: RunConfig | CountConfig) -> None:
    """Raise InputError where a run was made with other choices, and say which."""
    auto = metadata.lr_range is not None
    for name, before, here in differing_choices(metadata.config, now, auto=auto):
        raise InputError(
            f"{path} was made with {name} {before}, not {here}; go on without that flag, or name "
            "another --out"
        )


def check_checkpoint_matches(
    path: Path, metadata: RunMetadata, checkpoint: Path, record: dict[str, Any]
) -> None:
    """Raise InputError where a checkpoint was made with other choices than config.json has."""
    try:
        made = metadata_from_record({"format": FORMAT, **record})
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{checkpoint} is no checkpoint of a run: {error}") from None
    what = f"{checkpoint} does not fit {path / CONFIG}"
    for name, before, here in differing_choices(made.config, metadata.config):
        raise InputError(f"{what}: {name} was {before}, and is {here} there")
    if made.symbols != metadata.symbols:
        raise InputError(f"{what}: it has another vocabulary")
    if made.data["sha256"] != metadata.data["sha256"]:
        raise InputError(f"{what}: it was made from other data")


def check_same_data(
    path: Path, metadata: RunMetadata, data: dict[str, Any], symbols: tuple[str, ...]
) -> None:
    """Raise InputError where a run was made from other data, or with another vocabulary."""
    if metadata.data["sha256"] != data["sha256"]:
        raise InputError(
            f"{data['path']} is not what {path} was trained on: its sha256 is "
            f"{data['sha256'][:12]}..., was {metadata.data['sha256'][:12]}..."
        )
    if metadata.symbols != symbols:
        pairs = zip((*metadata.symbols, None), (*symbols, None), strict=False)
        number, (before, now) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
        raise InputError(
            f"{path} has another vocabulary than its data: symbol {number} of {CONFIG} is "
            f"{before!r}, of the data {now!r}"
        )


def list_files(path: Path) -> list[str]:
    """Return the names of what is kept in a directory: not the lock, and nothing half-written."""
    return sorted(name for name in os.listdir(path) if name != LOCK and not name.endswith(PART))


def pick_dir(out: str | None, stem: str, *, resume: bool = False) -> Path:
    """Return where a new run goes: ``out``, or the first free of runs/STEM-1, runs/STEM-2, ...

    Raises InputError where ``out`` exists and is not an empty directory, or cannot be made. With
    ``resume`` it need not be empty. Creates nothing.
    """
    if out is None:
        number = 1
        while (path := Path("runs") / f"{stem}-{number}").exists():
            number += 1
        return path
    if not out:
        raise InputError("--out is empty; name a directory")
    path = Path(out)
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


def check_empty(path: Path) -> None:
    """Raise InputError where a directory holds anything."""
    if path.is_dir() and list_files(path):
        mend = "name another, or go on with it: --resume"
        if not (path / CONFIG).exists() and not (path / SWEEP).exists():
            mend = "name another"
        raise InputError(f"--out {path} exists and is not empty; {mend}")


def make_numbered_dir(path: Path, out: str | None, stem: str) -> Path:
    """Make the directory that ``pick_dir`` chose; where another process was faster, the next."""
    while True:
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
        except OSError as error:
            if out is not None or error.errno != errno.EEXIST:
                raise InputError(f"cannot make {path}: {error.strerror}") from None
            path = pick_dir(None, stem)
        else:
            return path
