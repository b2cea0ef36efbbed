"""Choices <-> plain nested values, as in config.json and --json, and strict JSON.

Values that are read are checked as values on the command line are. Imports no jax.
"""

import contextlib
import dataclasses
import json
import math
from typing import Any, TypeVar

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import COUNTED, MODEL_CONFIGS, MixtureConfig
from mm_jax.config.training import (
    AnyConfig,
    CountConfig,
    MixConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)

T = TypeVar("T")


def to_json(record: Any) -> str:
    """Return strict JSON on one line; numbers that JSON lacks become the strings nan, inf, -inf.

    >>> to_json({"loss": float("inf")})
    '{"loss": "inf"}'
    """

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [strict(each) for each in value]
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(record), allow_nan=False)


def read_number(value: Any, name: str) -> float:
    """Return a number that to_json wrote. Raise InputError where ``value`` is none."""
    if value in ("nan", "inf", "-inf") or (
        isinstance(value, int | float) and not isinstance(value, bool)
    ):
        with contextlib.suppress(OverflowError):
            return float(value)
    raise InputError(f"{name} is not a number")


def read_count(value: Any, name: str) -> int:
    """Return a count that to_json wrote. Raise InputError where ``value`` is none."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    raise InputError(f"{name} is not a count")


def to_dict(config: TrainingConfig | AnyConfig) -> dict[str, Any]:
    """Return the choices as plain nested values for JSON, with the name of the model."""
    values = dataclasses.asdict(config)
    values["model"] = {"name": config.model.name, **values["model"]}
    if isinstance(config, MixConfig):
        values["runs"] = [to_dict(run) for run in config.runs]
    return values


def from_dict(values: dict[str, Any]) -> AnyConfig:
    """Return the choices of a run of which ``values`` is the ``to_dict``.

    Raise InputError where a choice is missing or unknown, or a value is outside its limits.
    """
    # By hand: types and limits are checked by Choices itself, the one validator; dacite, cattrs or
    # pydantic would add a second set of types and error texts to replace these thirty lines.
    tables = dict(_table(values, "config"))
    model = dict(_table(tables.get("model"), "model"))
    name = model.pop("name", None)
    configs = {**MODEL_CONFIGS, MixtureConfig.name: MixtureConfig}
    if name not in configs:
        raise InputError(f"unknown model {name!r}; choose from {', '.join(configs)}")
    tables["model"] = _build(configs[name], model)
    tables["data"] = _build(DataConfig, _table(tables.get("data"), "data"))
    if name == MixtureConfig.name:
        runs = [from_dict(_table(run, "a run")) for run in _list(tables.get("runs"), "runs")]
        paths = tuple(_list(tables.get("paths"), "paths"))
        tables |= {"runs": tuple(runs), "paths": paths}
        if tables.get("fixed_weights") is not None:
            tables["fixed_weights"] = tuple(_list(tables["fixed_weights"], "fixed_weights"))
        return _build(MixConfig, tables)
    if name in COUNTED:
        return _build(CountConfig, tables)
    tables["optimizer"] = _build(OptimizerConfig, _table(tables.get("optimizer"), "optimizer"))
    return _build(RunConfig, tables)


def _table(value: Any, name: str) -> dict[str, Any]:
    """Return ``value``, a table of choices. Raise InputError where it is none."""
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a table of choices, not {value!r}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    """Return ``value``, a list. Raise InputError where it is none."""
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} must be a list, not {value!r}")
    return list(value)


def _build(cls: type[T], values: dict[str, Any]) -> T:
    """Make choices of which each must be given: defaults may differ between versions."""
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for wrong, what in ((names - values.keys(), "missing"), (values.keys() - names, "unknown")):
        if wrong:
            raise InputError(f"{what} choice {min(wrong)!r}")
    return cls(**values)
