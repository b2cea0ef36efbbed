"""A sweep -> the numbers behind its figures and its report."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mm_jax.config.base import MAX_FLOAT, InputError
from mm_jax.config.serialization import read_count, read_number
from mm_jax.experiments.search_config import SearchConfig, read_search
from mm_jax.experiments.search_space import Axis
from mm_jax.runs.layout import SETTINGS, SWEEP, check_data_record

MAX_EVENLY_SPACED = 8  # values of a list; more of them are drawn to scale


class Setting(NamedTuple):
    """A setting of a sweep and its losses."""

    choices: dict[str, int | float | str]
    num_params: int
    steps: int  # fewer than asked for where halving dropped it
    mean: float  # loss on dev over its seeds, nats; not finite where it diverged
    losses: list[float]  # of each seed


class SweepSummary(NamedTuple):
    """Everything that the figures and the report of a sweep show."""

    folder: Path
    search: SearchConfig
    settings: list[Setting]  # the best first
    train_command: str | None  # of the best; None where all diverged

    @property
    def names(self) -> list[str]:
        """Names of the choices that were varied."""
        return [axis.name for axis in self.search.axes]

    @property
    def dropped(self) -> list[bool]:
        """Whether each setting was dropped by halving, before it had taken all its steps."""
        asked = self.search.config.steps
        return [each.steps < int(each.choices.get("steps", asked)) for each in self.settings]

    @property
    def scales(self) -> dict[str, str]:
        """The scale of each choice in a figure: log, linear, or names."""
        return {axis.name: _scale(axis) for axis in self.search.axes}


def is_sweep(path: Path) -> bool:
    """Return whether a directory is that of a sweep, not of a run."""
    try:
        return (path / SETTINGS).is_file()
    except OSError:
        return False


def summarize_sweep(path: Path) -> SweepSummary:
    """Return the summary of a sweep. Raises InputError where it has not finished."""
    search = read_search(path)
    check_data_record(path / SETTINGS, dict(search.data))
    if not (path / SWEEP).is_file():
        raise InputError(f"{path} has not finished; resume it: mm-jax sweep --resume --out {path}")
    try:
        record = json.loads((path / SWEEP).read_bytes())
        settings = [_setting(each, search.axes) for each in record["settings"]]
        command = record.get("train_command")
        if not settings or not isinstance(command, str | None):
            raise InputError("it has no settings or no command")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path / SWEEP} is damaged: {type(error).__name__}: {error}") from None
    return SweepSummary(path, search, settings, command)


def _setting(each: dict[str, Any], axes: Sequence[Axis]) -> Setting:
    choices = {}
    for axis in axes:
        value = choices[axis.name] = each["choices"][axis.name]
        if not (isinstance(value, str) and any(isinstance(v, str) for v in axis.values or ())):
            read_number(value, axis.name)
    losses = [_loss(loss) for loss in each["dev_losses"]]
    if not losses:
        raise InputError("a setting has no losses")
    return Setting(
        choices,
        read_count(each["num_params"], "num_params"),
        read_count(each["steps"], "steps"),
        _loss(each["mean_dev_loss"]),
        losses,
    )


def _loss(value: Any) -> float:
    found = read_number(value, "a loss")
    return found if abs(found) < MAX_FLOAT else math.inf


def _scale(axis: Axis) -> str:
    if axis.values is None:
        return "log" if axis.log else "linear"
    numbers = [float(value) for value in axis.values if not isinstance(value, str)]
    if len(axis.values) <= MAX_EVENLY_SPACED or len(numbers) < len(axis.values):
        return "names"  # evenly spaced, in their order
    low, high = min(numbers), max(numbers)
    return "log" if low > 0 and high / low >= 8 else "linear"
