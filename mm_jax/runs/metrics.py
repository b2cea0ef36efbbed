"""The losses of steps -> the lines of metrics.jsonl, and these lines read as curves."""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from mm_jax.config.base import MAX_FLOAT, InputError
from mm_jax.config.serialization import read_count, read_number
from mm_jax.config.training import OptimizerConfig
from mm_jax.training.optimizers import learning_rates

NUMBERS = ("loss", "learning_rate", "train_loss", "dev_loss")  # that a line may have
TABLES = ("saturated", "update_to_data")  # of a line of diagnostics
MAX_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps


class LossLog:
    """Turns the loss of each step into lines of metrics, each the mean over ``interval`` steps.

    A line has the learning rate of its last step, where the optimizer has one. Where a line ends
    depends on the step alone, not on the chunks that the losses come in.
    """

    def __init__(self, config: OptimizerConfig, num_steps: int, max_lines: int = MAX_LINES) -> None:
        self.interval = max(1, num_steps // max_lines)
        self.has_rate = config.optimizer != "lbfgs"  # which finds the length of each step itself
        schedule = dataclasses.replace(config, learning_rate=1.0)
        self.rate = np.float32(config.rate)
        self.factors = _schedule_factors(schedule, num_steps, self.interval)
        self.num_lines = 0  # that are complete
        self.pending: list[float] = []  # losses of steps that fill no line yet

    def add(self, losses: np.ndarray) -> list[dict[str, Any]]:
        """Return the lines that these losses complete."""
        self.pending += losses.tolist()
        lines = []
        while len(self.pending) >= self.interval:
            mean = math.fsum(self.pending[: self.interval]) / self.interval
            del self.pending[: self.interval]
            lines.append(self.line(self.num_lines, mean))
            self.num_lines += 1
        return lines

    def line(self, number: int, loss_nats: float) -> dict[str, Any]:
        """Return the line after ``number`` others."""
        line = {"step": (number + 1) * self.interval, "loss": loss_nats}
        if self.has_rate:
            line["learning_rate"] = float(self.rate * self.factors[number])
        return line


@cache
def _schedule_factors(config: OptimizerConfig, num_steps: int, interval: int) -> np.ndarray:
    """Return what a schedule multiplies the rate by, at the last step of each line."""
    ends = np.arange(interval, num_steps + 1, interval)
    return np.asarray(learning_rates(config, num_steps, ends - 1))


def last_line(path: Path) -> dict[str, Any]:
    """Return the last whole line of a file of metrics, or an empty table where there is none."""
    try:
        complete = path.read_bytes().rpartition(b"\n")[0]
        line = json.loads(complete.rpartition(b"\n")[2])
    except (OSError, ValueError):
        return {}
    return line if isinstance(line, dict) else {}


class LossCurve(NamedTuple):
    """What metrics.jsonl says of one training, the last lines of which may be missing."""

    seed: int | None  # of a member of an ensemble
    steps: Float64[np.ndarray, " lines"]
    losses: Float64[np.ndarray, " lines"]  # of minibatches, nats; the mean over ``interval`` steps
    rates: Float64[np.ndarray, " lines"]  # learning rates; empty where the optimizer has none
    dev_steps: Float64[np.ndarray, " evaluations"]
    dev_losses: Float64[np.ndarray, " evaluations"]  # nats
    diagnostics: list[dict[str, Any]]  # the lines that --inside adds
    end: int  # the last step of any line

    @property
    def interval(self) -> int:
        """The number of steps of a line."""
        return int(self.steps[0]) if len(self.steps) else 1


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file of metrics, none where there is no file.

    Raises InputError where one is damaged; what follows the last line end is still being written.
    """
    try:
        text = path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    lines = []
    for number, row in enumerate(text.splitlines(), 1):
        try:
            lines.append(_checked_line(json.loads(row)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is damaged: {error}") from None
    return lines


def _checked_line(line: Any) -> dict[str, Any]:
    """Return a line with its numbers as such. Raises InputError where it is not what we write."""
    if not isinstance(line, dict):
        raise InputError("it is no table")
    checked: dict[str, Any] = {
        name: read_count(line[name], name) for name in ("step", "seed") if name in line
    }
    for name in NUMBERS:
        if line.get(name) is not None:
            checked[name] = read_number(line[name], name)
    for name in TABLES:
        table = line.get(name)
        if isinstance(table, dict):
            checked[name] = {key: read_number(value, name) for key, value in table.items()}
        elif table is not None:
            raise InputError(f"{name} is no table")
    return checked


def loss_curves(lines: list[dict[str, Any]]) -> list[LossCurve]:
    """Return the curve of a run, or of each member of an ensemble; of finite losses only."""
    members: dict[int | None, list[dict[str, Any]]] = {}
    for line in lines:
        if "step" in line:  # a counted model has losses without a step
            members.setdefault(line.get("seed"), []).append(line)
    if len(members) > 1:
        members.pop(None, None)  # the losses of the ensemble itself, at its end
    return [_curve(seed, member) for seed, member in members.items()]


def _curve(seed: int | None, lines: list[dict[str, Any]]) -> LossCurve:
    losses, dev_losses = _column(lines, "loss"), _column(lines, "dev_loss")
    known = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    rates = [known.get(step, math.nan) for step in losses]
    if not all(0 <= rate < MAX_FLOAT for rate in rates):
        rates = []
    return LossCurve(
        seed=seed,
        steps=np.array([*losses], float),
        losses=np.array([*losses.values()], float),
        rates=np.array(rates, float),
        dev_steps=np.array([*dev_losses], float),
        dev_losses=np.array([*dev_losses.values()], float),
        diagnostics=[line for line in lines if all(name in line for name in TABLES)],
        end=max((line["step"] for line in lines), default=0),
    )


def _column(lines: list[dict[str, Any]], name: str) -> dict[int, float]:
    """Return the values of a name by step, the last one of each step; those that can be drawn."""
    values = {line["step"]: line[name] for line in lines if name in line}
    return {step: x for step, x in sorted(values.items()) if 1 / MAX_FLOAT < x < MAX_FLOAT}
