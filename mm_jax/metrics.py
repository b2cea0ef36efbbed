"""Losses of steps -> the lines of metrics.jsonl, and these lines read again."""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mm_jax.config import OptimizerConfig
from mm_jax.lr import learning_rates

METRIC_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps


class LossLines:
    """Turns the loss of every step into lines of metrics, each the mean over as many steps.

    A line says the learning rate of its last step, where the optimizer has one. Where a line ends
    depends on the step alone, not on the chunks that the losses come in.
    """

    def __init__(self, config: OptimizerConfig, num_steps: int, most: int = METRIC_LINES) -> None:
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
