"""What stands where in a run directory, and its config.json: read, checked, compared.

Imports no jax, so that a command can ask before it begins.
"""

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mm_jax.config.base import InputError, check_path, flag
from mm_jax.config.serialization import from_dict, read_count, read_number, to_dict
from mm_jax.config.training import AnyConfig
from mm_jax.data.vocab import BOUNDARIES, byte_vocab
from mm_jax.data.word_totals import RECORDED

FORMAT = 9  # of config.json; one that an older mm-jax cannot read gets a higher number
UNMARKED = 3  # the format of checkpoints that do not say theirs
# The choices that a format added, and what it meant when they did not exist yet.
ADDED: dict[int, dict[str, Any]] = {
    2: {"full_batch": False, "regularization": 0.0},
    3: {
        "label_smoothing": 0.0,
        "init_scale": 1.0,
        "data_seed": None,
        "average_decay": 0.0,
        "seeds": 1,
    },
    5: {"row_length": 0},
    9: {"sampled_symbols": 0},
}
ADDED_MODEL: dict[int, dict[str, dict[str, Any]]] = {  # to the choices of a model, by its name
    3: {"mlp": {"dropout": 0.0}},
    5: {"mlp": {"layers": 1, "norm": "none"}},
    8: {"mlp": {"direct": False}},
}
ADDED_OPTIMIZER: dict[int, dict[str, Any]] = {
    5: {"b1": None, "b2": None},
    8: {"decay_biases": "yes", "rate_decay": 1e-8},
}
ADDED_DATA = {  # by format 4, to the choices of the data
    "items": "line",
    "unit": "char",
    "lower": False,
    "min_count": 1,
    "column": None,
    "weights": None,
    "block": 128,
}
CONFIG, METRICS, PARAMS = "config.json", "metrics.jsonl", "params.safetensors"
SAMPLES, TEST_LOOKS, SUMS = "samples.txt", "test_looks.jsonl", "SHA256SUMS"
PROFILE = "profile"  # a directory
SETTINGS, MEMBERS, SWEEP = "settings.json", "members.csv", "sweep.json"  # of a sweep
LADDER = "ladder.json"


def resume_command(command: str, path: Path) -> str:
    """Return the command that resumes what was stopped."""
    return shlex.join(["mm-jax", command, "--resume", "--out", str(path)])


class MadeFrom(Protocol):
    """What says which data a directory was made from."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The vocabulary."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Path, sha256 and counts of the file."""


class RunMetadata(NamedTuple):
    """What config.json says."""

    config: AnyConfig
    symbols: tuple[str, ...]
    data: dict[str, Any]  # path, sha256 and counts of the file that was learned from
    lr_range: dict[str, Any] | None = None  # the range test that chose the rate, where one did
    fingerprint: dict[str, Any] | None = None  # of the machine; None where none was written


# Reading


def read_metadata(path: Path) -> RunMetadata:
    """Read the config.json of a run directory. Raises InputError where it is not what we write."""
    with named_damage(path / CONFIG):
        return metadata_from_record(json.loads((path / CONFIG).read_bytes()))


@contextlib.contextmanager
def named_damage(file: Path) -> Iterator[None]:
    """Turn whatever reading our JSON leads to into an InputError that names the file."""
    try:
        yield
    except (OSError, InputError) as error:
        raise InputError(f"{file}: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is damaged: {type(error).__name__}: {error}") from None


def metadata_from_record(record: dict[str, Any]) -> RunMetadata:
    """Return what a record says. Raises InputError, or whatever a wrong type leads to."""
    if record["format"] > FORMAT:
        raise InputError(f"a newer mm-jax wrote it (format {record['format']}); upgrade")
    choices, data, symbols = record["config"], record["data"], record["symbols"]
    config = from_dict(_upgraded(choices, record["format"]))
    check_symbols(symbols, config.data.unit)
    if not isinstance(data["sha256"], str):
        raise InputError("its data has no sha256")
    fingerprint = record.get("fingerprint")
    if not isinstance(fingerprint, dict | None):
        raise InputError("its fingerprint is no table")
    return RunMetadata(config, tuple(symbols), data, record.get("lr_range"), fingerprint)


def check_symbols(symbols: Any, unit: str) -> None:
    """Raise InputError, or what a wrong type leads to, for symbols that no vocabulary has."""
    are_text = all(isinstance(symbol, str) and symbol for symbol in symbols)
    if unit == "char":
        are_text = are_text and {*map(len, symbols)} == {1}
    if (
        not symbols
        or symbols[0] not in BOUNDARIES
        or not are_text
        or len({*symbols}) != len(symbols)
        or not "".join(symbols).encode()
    ):
        raise InputError(f"its symbols are not the boundary and distinct {unit}s")
    if unit == "byte" and tuple(symbols) != byte_vocab().symbols:
        raise InputError("its symbols are not the boundary and all bytes")


def _upgraded(choices: Any, written: int) -> Any:
    """Return the choices of the format that was ``written`` as the newest format has them."""
    if not isinstance(choices, dict):
        return choices
    if written < 4 and isinstance(choices.get("data"), dict):
        choices = choices | {"data": ADDED_DATA | choices["data"]}
    if written < 8 and isinstance(choices.get("data"), dict):
        choices = choices | {"data": with_choices_of_words(choices["data"])}
    if isinstance(choices.get("runs"), list):  # a mixture
        choices = choices | {"runs": [_upgraded(run, written) for run in choices["runs"]]}
        if written < 7 and isinstance(choices.get("model"), dict):
            choices = choices | {"model": {"good_turing": False} | choices["model"]}
    if "optimizer" not in choices:
        return choices  # those of a run without training have not changed else
    for later in range(written + 1, FORMAT + 1):
        choices = ADDED.get(later, {}) | choices
        model, optimizer = choices.get("model"), choices["optimizer"]
        if isinstance(model, dict):
            added = ADDED_MODEL.get(later, {}).get(str(model.get("name")), {})
            choices = choices | {"model": added | model}
        if isinstance(optimizer, dict):
            choices = choices | {"optimizer": ADDED_OPTIMIZER.get(later, {}) | optimizer}
    return choices


def with_choices_of_words(data: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of the data with those that format 8 added, where they lack them."""
    counted_in = "all" if data.get("unit") == "word" else "train"
    added = {"count_words_in": counted_in, "merge_numbers": False, "sentence_ends": False}
    return added | data


def check_data_record(path: Path, data: Any) -> None:
    """Raise InputError where a file does not say what was learned from, as we write it.

    To use a model the sha256 is enough; a report on it needs the rest.
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
    for name in sorted(RECORDED & data.keys()):
        if not isinstance(data[name], list | tuple) or len(data[name]) != 3:
            raise InputError(f"{name} of its data are not three")
        for count in data[name]:
            read_count(count, f"one of {name} of its data")


def find_resumable(out: str | None, *, resume: bool) -> RunMetadata | None:
    """Return the metadata of the run in ``out`` that --resume continues, or None without one."""
    if not resume:
        return None
    if not out:
        raise InputError("--resume needs --out, the run to resume")
    path = Path(out)
    with contextlib.suppress(OSError):
        if (path / CONFIG).exists():
            return read_metadata(path)
    return None


# Comparing


def differing_choices(
    before: AnyConfig, now: AnyConfig, *, auto: bool = False
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each choice that differs: its flag, its value before and now.

    Where the data stands is not compared: what it holds is. To leave positions to the data again is
    no difference, nor, with ``auto``, to ask again for the learning rate of a range test.
    """
    old, new = _flattened(to_dict(before)), _flattened(to_dict(now))
    for name in {**old, **new}:
        same_rate = auto and name == "learning_rate" and new.get(name) == "auto"
        same_positions = name == "positions" and name in new and new[name] is None
        if name == "data" or same_rate or same_positions:
            continue
        if old.get(name) != new.get(name):
            yield ("--model" if name == "name" else flag(name)), old.get(name), new.get(name)


def _flattened(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flattened(value) if isinstance(value, dict) else {name: value}
    return flat


def check_same_choices(path: Path, metadata: RunMetadata, now: AnyConfig) -> None:
    """Raise InputError where a run was made with other choices, and say which."""
    auto = metadata.lr_range is not None
    for name, before, here in differing_choices(metadata.config, now, auto=auto):
        raise InputError(
            f"{path} was made with {name} {before}, not {here}; resume without that flag, or name "
            "another --out"
        )


def check_same_data(
    path: Path, metadata: MadeFrom, data: dict[str, Any], symbols: tuple[str, ...]
) -> None:
    """Raise InputError where a run was made from other data, or with another vocabulary."""
    if metadata.data["sha256"] != data["sha256"]:
        raise InputError(
            f"{data['path']} is not what {path} was trained on: its sha256 is "
            f"{data['sha256'][:12]}..., was {metadata.data['sha256'][:12]}..."
        )
    if metadata.symbols != symbols:
        pairs = zip((*metadata.symbols, None), (*symbols, None), strict=False)
        place, (before, now) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
        raise InputError(
            f"{path} has another vocabulary than its data: symbol {place} of {CONFIG} is "
            f"{before!r}, of the data {now!r}"
        )


def check_checkpoint_matches(
    path: Path, metadata: RunMetadata, checkpoint: Path, record: dict[str, Any]
) -> None:
    """Raise InputError where a checkpoint was made with other choices than config.json has."""
    try:
        saved = metadata_from_record({"format": UNMARKED, **record})
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{checkpoint} is no checkpoint of a run: {error}") from None
    mismatch = f"{checkpoint} does not fit {path / CONFIG}"
    for name, before, here in differing_choices(saved.config, metadata.config):
        raise InputError(f"{mismatch}: {name} was {before}, and is {here} there")
    if saved.symbols != metadata.symbols:
        raise InputError(f"{mismatch}: it has another vocabulary")
    if saved.data["sha256"] != metadata.data["sha256"]:
        raise InputError(f"{mismatch}: it was made from other data")
