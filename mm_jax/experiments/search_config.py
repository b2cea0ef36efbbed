"""What a sweep was asked for <-> its settings.json, so that it can be resumed. Imports no jax."""

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mm_jax.config.base import InputError, flag
from mm_jax.config.command_line import flags_of
from mm_jax.config.presets import PRESETS, default_run
from mm_jax.config.serialization import from_dict, read_number, to_dict
from mm_jax.config.training import RunConfig
from mm_jax.experiments.search_space import Axis, list_settings, sweepable_fields
from mm_jax.runs.layout import SETTINGS, differing_choices, named_damage


class SearchConfig(NamedTuple):
    """What a sweep was asked for, and the data that it was begun with."""

    config: RunConfig  # the flags that all settings share; a varied one has the first of its values
    axes: tuple[Axis, ...]
    preset: str | None = None
    num: int | None = None
    halvings: int = 0
    max_params: int | None = None
    deterministic: bool = False
    symbols: tuple[str, ...] = ()
    data: Mapping[str, Any] = MappingProxyType({})


def search_record(search: SearchConfig) -> dict[str, Any]:
    """Return the content of settings.json."""
    axes = [axis._asdict() for axis in search.axes]
    return search._asdict() | {"config": to_dict(search.config), "axes": axes}


def read_search(path: Path) -> SearchConfig:
    """Read the settings.json of a sweep. Raises InputError where it is not as we write it."""
    with named_damage(path / SETTINGS):
        record = json.loads((path / SETTINGS).read_bytes())
        config = from_dict(record.pop("config"))
        if not isinstance(config, RunConfig):
            raise InputError("its model is counted, not trained")
        axes = tuple(
            Axis(**{**axis, "values": axis["values"] and tuple(axis["values"])})
            for axis in record.pop("axes")
        )
        search = SearchConfig(config, axes, **record)._replace(symbols=tuple(record["symbols"]))
        if not isinstance(search.data["sha256"], str):
            raise InputError("its data has no sha256")
        check_axes(search)
        numbers = (search.halvings, search.num or 0, search.max_params or 0)
        if not all(type(number) is int for number in numbers):
            raise InputError("one of its numbers is not a whole number")
        if search.preset is not None and search.preset not in PRESETS:
            raise InputError(f"unknown preset {search.preset!r}")
        list_settings(axes, search.num, config.seed)
    return search


def check_axes(search: SearchConfig) -> None:
    """Raise InputError where settings.json varies what cannot be varied, or with wrong values."""
    if not search.axes:
        raise InputError("nothing is varied")
    known = sweepable_fields(search.config)
    for axis in search.axes:
        table, kind = known.get(axis.name, (None, None)) if type(axis.name) is str else (None, None)
        if not (type(axis.log) is type(axis.whole) is bool):
            raise InputError(f"log and whole of {axis.name!r} are not true or false")
        if kind is None or table != axis.table:
            raise InputError(f"{axis.name!r} is not a choice that a sweep can vary")
        values: tuple[Any, ...] = axis.values or ()
        kinds: set[type] = {int, float} if kind is float else {kind}
        if axis.values is None:  # a range, whose ends are written as floats
            values, kinds = (axis.low, axis.high), {int, float}
        if not values or not {type(value) for value in values} <= kinds:
            raise InputError(f"{axis.name} has no values, or some of a wrong type")
        for value in values:
            if not isinstance(value, str) and not math.isfinite(read_number(value, axis.name)):
                raise InputError(f"{axis.name} has a value that is not finite")


def check_search(search: SearchConfig) -> None:
    """Raise InputError for choices that do not belong in a sweep, or do not fit together."""
    config, names = search.config, [axis.name for axis in search.axes]
    if not names:
        raise InputError("nothing is varied; give a flag a list or a range, or train with --seeds")
    if config.optimizer.learning_rate == "auto":
        raise InputError("--learning-rate auto is not for a sweep; give a list or a range")
    if config.data.split == "none":
        raise InputError("a sweep compares losses on dev, and --split none holds no lines out")
    if search.halvings and "steps" in names:
        raise InputError("--halvings cuts --steps itself; give a single number of steps")
    if "steps" not in names and config.steps < 2**search.halvings:
        raise InputError(f"--steps {config.steps} are too few for --halvings {search.halvings}")


def command_of(search: SearchConfig) -> str:
    """Return the command that does the same sweep again."""
    model = search.config.model.name
    if search.preset is not None:
        start, base = ["--preset", search.preset], PRESETS[search.preset].config
    else:
        start = [] if model == RunConfig().model.name else ["--model", model]
        base = default_run(model)
    words = [*start, *_fixed_flags(search, base)]
    for axis in search.axes:
        words += [flag(axis.name), axis.text]
    for option in ("num", "halvings", "max_params"):
        if value := getattr(search, option):
            words += [flag(option), str(value)]
    words += ["--deterministic"] * search.deterministic
    return shlex.join(["mm-jax", "sweep", *words])


def _fixed_flags(search: SearchConfig, base: RunConfig) -> list[str]:
    """Return the flags that differ from ``base``, without those that are varied."""
    varied = {flag(axis.name) for axis in search.axes}
    flags = flags_of(search.config, base)
    return [
        word
        for word, before in zip(flags, ["", *flags], strict=False)
        if word not in varied and before not in varied
    ]


def check_same_search(path: Path, before: SearchConfig, now: SearchConfig) -> None:
    """Raise InputError where a sweep was begun with other choices, which the message names."""
    for name in ("axes", "num", "halvings", "max_params"):
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            what = "other lists or ranges" if name == "axes" else f"{flag(name)} {old}, not {new}"
            raise InputError(f"{path} was made with {what}; name another --out")
    varied = {axis.name for axis in now.axes}  # of these the config has only the first value
    for name, old, new in differing_choices(before.config, now.config):
        if name.removeprefix("--").replace("-", "_") not in varied:
            raise InputError(f"{path} was made with {name} {old}, not {new}; name another --out")
