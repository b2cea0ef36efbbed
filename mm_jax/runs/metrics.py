"""Losses of steps -> the lines of metrics.jsonl, and these lines read again."""

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
TABLES = ("saturated", "update_to_data")
MAX_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps


class LossLog:
    """Turns the loss of every step into lines of metrics, each the mean over as many steps.

    A line says the learning rate of its last step, where the optimizer has one. Where a line ends
    depends on the step alone, not on the chunks that the losses come in.
    """

    def __init__(self, config: OptimizerConfig, num_steps: int, most: int = MAX_LINES) -> None:
        self.interval = max(1, num_steps // most)
        self.rated = config.optimizer != "lbfgs"  # which finds the length of each step itself
        shape = dataclasses.replace(config, learning_rate=1.0)
        self.rate, self.factors = np.float32(config.rate), _factors(shape, num_steps, self.interval)
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
        """Return a line, of which ``number`` came before."""
        line = {"step": (number + 1) * self.interval, "loss": loss_nats}
        if self.rated:
            line["learning_rate"] = float(self.rate * self.factors[number])
        return line


@cache
def _factors(config: OptimizerConfig, num_steps: int, interval: int) -> np.ndarray:
    """Return what a schedule multiplies the rate with, at the last step of each line."""
    ends = np.arange(interval, num_steps + 1, interval)
    return np.asarray(learning_rates(config, num_steps, ends - 1))


def last_line(path: Path) -> dict[str, Any]:
    """Return the last whole line of a file of metrics, or nothing where there is none."""
    try:
        whole = path.read_bytes().rpartition(b"\n")[0]
        line = json.loads(whole.rpartition(b"\n")[2])
    except (OSError, ValueError):
        return {}
    return line if isinstance(line, dict) else {}


class LossCurve(NamedTuple):
    """What metrics.jsonl says of one training, the last lines of which may be missing."""

    seed: int | None  # of the members of an ensemble
    steps: Float64[np.ndarray, " lines"]
    losses: Float64[np.ndarray, " lines"]  # of minibatches, nats; the mean over ``interval`` steps
    rates: Float64[np.ndarray, " lines"]  # learning rates; empty where the optimizer has none
    dev_steps: Float64[np.ndarray, " looks"]
    dev_losses: Float64[np.ndarray, " looks"]
    looks: list[dict[str, Any]]  # inside the net, where that was asked for
    end: int  # the last step that is known of

    @property
    def interval(self) -> int:
        """Steps of a line."""
        return int(self.steps[0]) if len(self.steps) else 1


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file of metrics, none where there is no file.

    Raises InputError where one is damaged; what comes after the last line end is in the making.
    """
    try:
        text = path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    lines = []
    for place, row in enumerate(text.splitlines(), 1):
        try:
            lines.append(_checked(json.loads(row)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {place} is damaged: {error}") from None
    return lines


def _checked(line: Any) -> dict[str, Any]:
    """Return a line with its numbers as such. Raises InputError where it is not what we write."""
    if not isinstance(line, dict):
        raise InputError("it is no table")
    found: dict[str, Any] = {
        name: read_count(line[name], name) for name in ("step", "seed") if name in line
    }
    for name in NUMBERS:
        if line.get(name) is not None:
            found[name] = read_number(line[name], name)
    for name in TABLES:
        table = line.get(name)
        if isinstance(table, dict):
            found[name] = {key: read_number(value, name) for key, value in table.items()}
        elif table is not None:
            raise InputError(f"{name} is no table")
    return found


def curves_of(lines: list[dict[str, Any]]) -> list[LossCurve]:
    """Return the curve of a run, or of each member of an ensemble; of finite losses only."""
    members: dict[Any, list[dict[str, Any]]] = {}
    for line in lines:
        if "step" in line:  # of what was counted there are only losses
            members.setdefault(line.get("seed"), []).append(line)
    if len(members) > 1:
        members.pop(None, None)  # the ensemble's own losses, at its end
    return [_curve(seed, each) for seed, each in members.items()]


def _curve(seed: int | None, lines: list[dict[str, Any]]) -> LossCurve:
    def column(name: str) -> dict[int, float]:
        found = {line["step"]: line[name] for line in lines if name in line}
        return {step: x for step, x in sorted(found.items()) if 1 / MAX_FLOAT < x < MAX_FLOAT}

    losses, dev, every = column("loss"), column("dev_loss"), [line["step"] for line in lines]
    known = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    rates = [known.get(step, math.nan) for step in losses]
    if not all(0 <= rate < MAX_FLOAT for rate in rates):
        rates = []
    looks = [line for line in lines if all(name in line for name in TABLES)]
    return LossCurve(
        seed=seed,
        steps=np.array([*losses], float),
        losses=np.array([*losses.values()], float),
        rates=np.array(rates, float),
        dev_steps=np.array([*dev], float),
        dev_losses=np.array([*dev.values()], float),
        looks=looks,
        end=max(every, default=0),
    )
