"""One training session: chunks of steps, their metrics, progress, and when to stop.

Enters: choices, a model, a state and data on the device. Leaves: lines in metrics.jsonl, and where
and why training ended. train.py has the mathematics, run.py the files; this is what joins them.
"""

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from mm_jax.config import OptimizerConfig, RunConfig
from mm_jax.evaluate import evaluate
from mm_jax.lr import learning_rates, make_optimizer
from mm_jax.model import Model
from mm_jax.run import append_metrics
from mm_jax.train import NotFiniteError, TrainState, fit_chunks
from mm_jax.windows import Batch

METRIC_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps
DEV_LOOKS = 20  # times that the dev loss is measured during a run


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
        self.first = 0
        self.pending: list[float] = []  # losses of steps that fill no line yet

    def add(self, losses: np.ndarray) -> list[dict[str, Any]]:
        """Return the lines that these losses complete."""
        self.pending += losses.tolist()
        lines = []
        while len(self.pending) >= self.interval:
            mean = math.fsum(self.pending[: self.interval]) / self.interval
            del self.pending[: self.interval]
            self.first += self.interval
            lines.append({"step": self.first, "loss": mean})
            if self.rated:
                factor = self.factors[self.first // self.interval - 1]
                lines[-1]["learning_rate"] = float(self.rate * factor)
        return lines


@cache
def _factors(config: OptimizerConfig, num_steps: int, interval: int) -> np.ndarray:
    """Return what a schedule multiplies the rate with, at the last step of each line."""
    ends = np.arange(interval, num_steps + 1, interval)
    return np.asarray(learning_rates(config, num_steps, ends - 1))


class Ending(NamedTuple):
    """Where training ended, and why if that was before its last step."""

    state: TrainState  # the one to keep
    steps: int  # after how many steps that is
    seconds: float
    speed: float  # steps a second, without the first chunk, in which all is compiled
    complaint: str | None
    exit_code: int


def descend(
    config: RunConfig,
    model: Model,
    state: TrainState,
    data: Batch,
    dev_data: Batch | None,
    path: Path,
    update: Callable[[int, float], None],
    interrupted: Callable[[], bool],
    mesh: Mesh | None = None,
) -> Ending:
    """Train in chunks; after each write its metrics, show progress, and see whether to stop.

    Where no lines were held out for dev, losses of the steps alone tell whether all is well.
    """
    complaint, exit_code = None, 0
    done = looks = compiled_at = 0
    lines = LossLines(config.optimizer, config.steps)
    good = state, 0  # where the loss on dev was last found finite, and after how many steps
    optimizer = make_optimizer(config.optimizer, config.steps)
    size = None if config.full_batch else config.batch_size
    chunks = fit_chunks(
        model, optimizer, state, data, num_steps=config.steps, batch_size=size, mesh=mesh
    )
    begun = compiled = time.perf_counter()
    try:
        for after, losses in chunks:
            state = after
            done += len(losses)
            metrics = lines.add(losses)
            if dev_data is not None and done * DEV_LOOKS // config.steps > looks:
                looks = done * DEV_LOOKS // config.steps
                dev_loss = float(evaluate(model, state.best_params, dev_data, mesh=mesh))
                metrics.append({"step": done, "dev_loss": dev_loss})
                if math.isfinite(dev_loss):
                    good = state, done
                else:
                    complaint, exit_code = f"the dev loss became {dev_loss} by step {done}", 1
            append_metrics(path, metrics)
            update(done, float(losses.mean()))
            if not compiled_at:
                compiled, compiled_at = time.perf_counter(), done
            if not complaint and interrupted() and done < config.steps:
                complaint, exit_code = f"interrupted after step {done}", 130
            if complaint:
                break
    except NotFiniteError as error:
        good = error.state, int(error.state.step)
        complaint, exit_code = str(error), 1
    ended = time.perf_counter()
    seconds = ended - begun
    speed = (done - compiled_at) / (ended - compiled) if done > compiled_at else done / seconds
    if exit_code == 1:
        state, done = good
        complaint = (
            f"{complaint}; the parameters after step {done} are kept; lower --learning-rate "
            f"({config.optimizer.rate:g}), or set --clip-norm 1"
        )
    return Ending(state, done, seconds, speed, complaint, exit_code)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that the caller asks for; a second one ends all."""
    caught = False

    def note(*_: Any) -> None:
        nonlocal caught
        if not caught:
            os.write(2, b"stopping after this chunk; Ctrl-C again loses the run\n")
        caught = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: caught
    finally:
        signal.signal(signal.SIGINT, before)
