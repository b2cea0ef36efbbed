"""Lists and ranges of choices -> the settings to train.

``64,128,256`` is a list; ``0.01:1``, ``0.01:1:log`` and ``0.01:1:log:5`` are ranges, the last one
cut into a list of 5. Lists alone are a grid; with a range among them settings are drawn at random.
Imports no jax.
"""

import dataclasses
import itertools
import math
import random
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from mm_jax.config.base import InputError, flag
from mm_jax.config.training import RunConfig

TABLES = ("", "optimizer", "model")  # of a RunConfig, that a sweep may change
FIXED = ("seed", "seeds", "full_batch")  # choices that it may not
DRAWS = 16  # settings that are drawn from ranges, where no number of them is given
Value: TypeAlias = int | float | str


class Axis(NamedTuple):
    """The values that one choice may have: a list, or a range to draw from."""

    table: str  # of RunConfig: "", optimizer or model
    name: str
    values: tuple[Value, ...] | None  # None: a range
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False  # whole numbers only

    @property
    def first(self) -> str:
        """One of the values, as a flag would give it."""
        if self.values is not None:
            return str(self.values[0])
        return str(int(self.low) if self.whole else self.low)

    @property
    def text(self) -> str:
        """All of the values, as a flag gives them."""
        if self.values is not None:
            return ",".join(map(str, self.values)) + ":log" * self.log
        ends = (int(self.low), int(self.high)) if self.whole else (self.low, self.high)
        return ":".join(map(str, ends)) + ":log" * self.log

    def draw(self, generator: random.Random) -> Value:
        """Return a random value."""
        if self.values is not None:
            return generator.choice(self.values)
        if self.log:
            drawn = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = generator.uniform(self.low, self.high)
        return round(drawn) if self.whole else float(f"{drawn:.4g}")


def is_range(text: str) -> bool:
    """Check whether the value of a flag is meant as a list or a range."""
    return "," in text or ":" in text


def sweepable_fields(config: RunConfig) -> dict[str, tuple[str, type]]:
    """Return the choices that a sweep may change: name -> (table, int, float or str)."""
    sweepable = {}
    for table in TABLES:
        choices = getattr(config, table) if table else config
        hints = typing.get_type_hints(type(choices), include_extras=True)
        for field in dataclasses.fields(choices):
            kind = _kind(hints[field.name])
            if kind and field.name not in FIXED:
                sweepable[field.name] = table, kind
    return sweepable


def _kind(hint: Any) -> type | None:
    """Return what the values of a choice are: int, float or str; None for tables and switches."""
    while typing.get_origin(hint) in (Annotated, types.UnionType, typing.Union):
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is Literal:
        return str
    return hint if hint in (int, float, str) else None


def read_axis(config: RunConfig, name: str, text: str) -> Axis:
    """Return the values that ``text`` gives to a choice: A,B,C or LOW:HIGH[:lin|log][:COUNT].

    Raises InputError with what is wrong with it.
    """
    table, kind = sweepable_fields(config)[name]
    what = f"{flag(name)} {text}"
    if "," in text and ":" in text:
        raise InputError(f"{what} is a list and a range at once; write A,B,C or LOW:HIGH")
    if "," in text:
        return Axis(table, name, _read_list(kind, text, what))
    if kind is str:
        raise InputError(f"{what}: only numbers have ranges; write A,B,C")
    low, high, log, count = _read_range(kind, text, what)
    if count is None:
        return Axis(table, name, None, low, high, log, kind is int)
    return Axis(table, name, _spaced(low, high, log, count, kind is int, what))


def _read_list(kind: type, text: str, what: str) -> tuple[Value, ...]:
    words = text.split(",")
    if not all(word.strip() for word in words):
        raise InputError(f"{what} has an empty place; write A,B,C")
    values = tuple(_read_value(kind, word, what) for word in words)
    if len(set(values)) < len(values):
        raise InputError(f"{what} has a value twice")
    return values


def _read_range(kind: type, text: str, what: str) -> tuple[float, float, bool, int | None]:
    """Return both ends of a range, whether it is log, and how many values it is cut into."""
    low, high, *rest = text.split(":")
    if not low.strip() or not high.strip():
        end = "beginning" if high.strip() else "end"
        raise InputError(f"{what} is a range without {end}; write LOW:HIGH or LOW:HIGH:log")
    log = rest[:1] == ["log"]
    if rest[:1] in (["log"], ["lin"]):
        rest = rest[1:]
    if len(rest) > 1 or not all(re.fullmatch("[0-9]+", count) for count in rest):
        raise InputError(
            f"{what}: after LOW:HIGH comes log or lin, then how many; {rest[0]!r} is not"
        )
    ends = float(_read_value(kind, low, what)), float(_read_value(kind, high, what))
    if ends[0] >= ends[1]:
        raise InputError(f"{what}: {low} must be below {high}")
    if log and ends[0] <= 0:
        raise InputError(f"{what}: a log range begins above 0")
    return *ends, log, int(rest[0]) if rest else None


def _spaced(
    low: float, high: float, log: bool, count: int, whole: bool, what: str
) -> tuple[Value, ...]:
    if not 2 <= count <= 10**6:
        raise InputError(f"{what}: a range is cut into 2 values or more, not {count}")
    shares = [i / (count - 1) for i in range(count)]
    if log:
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    rounded: list[Value] = [round(v) if whole else float(f"{v:.4g}") for v in values]
    return tuple(dict.fromkeys(rounded))


def _read_value(kind: type, text: str, what: str) -> Value:
    try:
        value = kind(text.strip())
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{what}: {text.strip()} is not {wanted}") from None
    if kind is float and not math.isfinite(value):
        raise InputError(f"{what}: {text.strip()} is not a finite number")
    return value


def list_settings(axes: Sequence[Axis], num: int | None, seed: int) -> list[dict[str, Value]]:
    """Return what each setting changes: all of a grid of lists, or ``num`` that are drawn.

    Raises InputError where nothing is varied, or a grid is too large to list.
    """
    size = math.prod(len(axis.values) if axis.values is not None else 1 for axis in axes)
    names = [axis.name for axis in axes]
    grid = all(axis.values is not None for axis in axes)
    if grid and (num is None or num >= size):
        if size > 10**6:
            raise InputError(f"a grid of {size:,} settings; draw some of them with --num")
        products = itertools.product(*(axis.values or () for axis in axes))
        return [dict(zip(names, values, strict=True)) for values in products]
    generator, settings = random.Random(seed), {}
    num = DRAWS if num is None else num
    for _ in range(100 * num):  # where there are few whole numbers they are drawn repeatedly
        drawn = {axis.name: axis.draw(generator) for axis in axes}
        settings[tuple(drawn.values())] = drawn
        if len(settings) == num:
            break
    return list(settings.values())


def apply_setting(
    config: RunConfig, axes: Sequence[Axis], setting: Mapping[str, Value]
) -> RunConfig:
    """Return the choices with a setting's own values. Raises InputError for a wrong value."""
    tables: dict[str, dict[str, Value]] = {}
    for axis in axes:
        tables.setdefault(axis.table, {})[axis.name] = setting[axis.name]
    changes: dict[str, Any] = dict(tables.pop("", {}))
    for table, values in tables.items():
        changes[table] = dataclasses.replace(getattr(config, table), **values)
    return dataclasses.replace(config, **changes)


def seed_range(config: RunConfig) -> range:
    """Return the seeds of a run, counted from --seed. Raises InputError past the last seed."""
    if config.seed + config.seeds > 2**32:
        raise InputError(
            f"--seed {config.seed} and the {config.seeds} --seeds from there on go past 2**32"
        )
    return range(config.seed, config.seed + config.seeds)


def seeds_of(config: RunConfig) -> list[RunConfig]:
    """Return a run for each seed. Raises InputError past the last seed."""
    return [dataclasses.replace(config, seed=seed, seeds=1) for seed in seed_range(config)]
