"""Choices <-> plain nested values, as config.json and --json hold them; strict JSON.

Reading checks all that making the choices does. Imports no jax.
"""

import contextlib
import dataclasses
import json
import math
from typing import Any, TypeVar

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import COUNTED, MODEL_CONFIGS
from mm_jax.config.training import CountConfig, OptimizerConfig, RunConfig, TrainingConfig

T = TypeVar("T")


def to_json(record: Any) -> str:
    """Return strict JSON on one line; a number that JSON lacks becomes the string nan or inf."""

    def strict(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strict(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [strict(each) for each in value]
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(record), allow_nan=False)


def number(value: Any, name: str) -> float:
    """Return a number that to_json wrote. Raises InputError where it is none."""
    if value in ("nan", "inf", "-inf") or (
        isinstance(value, int | float) and not isinstance(value, bool)
    ):
        with contextlib.suppress(OverflowError):
            return float(value)
    raise InputError(f"{name} is no number")


def whole(value: Any, name: str) -> int:
    """Return a count that to_json wrote. Raises InputError where it is none."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    raise InputError(f"{name} is no count")


def to_dict(config: TrainingConfig | CountConfig) -> dict[str, Any]:
    """Return the choices as plain nested values for JSON, the model's name among them."""
    values = dataclasses.asdict(config)
    values["model"] = {"name": config.model.name, **values["model"]}
    return values


def from_dict(values: dict[str, Any]) -> RunConfig | CountConfig:
    """Return the RunConfig, or of a counted model the CountConfig, that ``to_dict`` was given.

    Raises InputError where a choice is missing or unknown, or a value is out of its limits.
    """
    tables = {**_table(values, "config")}
    model = {**_table(tables.get("model"), "model")}
    name = model.pop("name", None)
    if name not in MODEL_CONFIGS:
        raise InputError(f"unknown model {name!r}; there is {', '.join(MODEL_CONFIGS)}")
    tables["model"] = _build(MODEL_CONFIGS[name], model)
    tables["data"] = _build(DataConfig, _table(tables.get("data"), "data"))
    if name in COUNTED:
        return _build(CountConfig, tables)
    tables["optimizer"] = _build(OptimizerConfig, _table(tables.get("optimizer"), "optimizer"))
    return _build(RunConfig, tables)


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a table of choices, not {value!r}")
    return value


def _build(cls: type[T], values: dict[str, Any]) -> T:
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for wrong, what in ((names - values.keys(), "missing"), (values.keys() - names, "unknown")):
        if wrong:
            raise InputError(f"{what} choice {min(wrong)!r}")
    return cls(**values)
