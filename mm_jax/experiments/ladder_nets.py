"""A net of the ladder: how many steps a budget holds, its runs, and what each reaches."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from mm_jax.config.base import InputError
from mm_jax.config.ladder import LadderConfig
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.examples import evenly
from mm_jax.experiments.ladder_record import InterruptedLadderError, RunResult, Training
from mm_jax.experiments.setup import Setup, load_setup
from mm_jax.experiments.single_run import SingleRun
from mm_jax.experiments.training_loop import DEV_EVALUATIONS
from mm_jax.models.base import Model, Params
from mm_jax.runs.layout import CONFIG, RunMetadata, check_same_data, read_metadata
from mm_jax.runs.writer import write_metadata
from mm_jax.runtime.environment import fingerprint
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit_chunks

MIN_MEASURED, MAX_MEASURED = 0.2, 3.0  # seconds that the speed of a net is measured for
DEV_PARTS = 20  # one of them is evaluated first, as it may take the budget already
MAX_STEPS = 2**31 - 1


def plan_net(config: RunConfig, ladder: LadderConfig, dataset: Dataset, path: Path) -> RunConfig:
    """Return the choices of the first seed of a net, with as many steps as the budget holds.

    Where ``path`` has a run of it already, these are its steps. Raises InputError where the net
    cannot be trained on these data, or the budget is too short.
    """
    config = dataclasses.replace(config, data=ladder.data)
    setup = load_setup(config, make_optimizer(config.optimizer, config.steps), dataset=dataset)
    config = setup.config  # type: ignore[assignment]
    if ladder.budget is None:
        return config
    if (path / CONFIG).exists():
        before = read_metadata(path).config
        assert isinstance(before, RunConfig)
        return dataclasses.replace(config, steps=before.steps)
    return dataclasses.replace(config, steps=steps_within(ladder.budget, config, setup))


def steps_within(budget: float, config: RunConfig, setup: Setup) -> int:
    """Return how many steps, with the evaluations of dev between them, take so many seconds.

    Raises InputError where there is no time for a single step.
    """
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = setup.initial_state(optimizer)
    seconds = budget
    if (dev := setup.dev_data) is not None:
        seconds -= DEV_EVALUATIONS * _seconds_on_dev(budget, setup.model, state.params, dev)
    started, first, measured = 0.0, 0, min(MAX_MEASURED, max(MIN_MEASURED, budget / 20))
    for after, _ in fit_chunks(
        setup.model,
        optimizer,
        state,
        setup.data,
        num_steps=MAX_STEPS,
        batch_size=setup.batch_size,
    ):
        now, step = time.perf_counter(), int(after.step)
        if not started:  # the first chunk compiles
            started, first = now, step
        elif now - started > measured:
            break
    steps = int(seconds * (step - first) / (now - started))
    if not steps:
        raise InputError(f"--budget {budget:g} is too short for a single step")
    return min(steps, MAX_STEPS)


def _seconds_on_dev(budget: float, model: Model, params: Params, dev: Any) -> float:
    """Return the seconds of one evaluation of dev. Raises InputError where all take the budget.

    Where a part of dev takes the budget already, the whole is not evaluated.
    """
    size = dev.exact.num_examples
    for part in (evenly(dev, size, max(1, size // DEV_PARTS)), dev):
        seconds = _seconds_of(partial(evaluate, model, params, part))
        if DEV_EVALUATIONS * seconds >= budget:
            total = DEV_EVALUATIONS * seconds * size / part.exact.num_examples
            text = f"{total:,.0f}" if total >= 10 else f"{total:.2g}"
            raise InputError(
                f"--budget {budget:g} is too short: the {DEV_EVALUATIONS} evaluations of dev take "
                f"{text} s alone"
            )
    return seconds


def _seconds_of(compute: Callable[[], object]) -> float:
    """Return the seconds of the second of two calls: the first one compiles."""
    jax.block_until_ready(compute())
    begun = time.perf_counter()
    jax.block_until_ready(compute())
    return time.perf_counter() - begun


class NetRun:
    """One seed of a net in its run directory: trained, or resumed from its newest checkpoint."""

    def __init__(self, path: Path, config: RunConfig, dataset: Dataset) -> None:
        self.path, self.dataset = path, dataset
        self.setup = load_setup(
            config, make_optimizer(config.optimizer, config.steps), dataset=dataset
        )
        if (path / CONFIG).exists():
            metadata = read_metadata(path)
            check_same_data(path, metadata, dataset.record, dataset.vocab.symbols)
        else:
            record = dataset.record
            metadata = RunMetadata(config, dataset.vocab.symbols, record, None, fingerprint())
            write_metadata(path, metadata)
        self.run = SingleRun(path, metadata, self.setup, CheckpointConfig(resume=True))
        self.save_latest = self.run.save_latest

    def train(self, name: str, training: Training) -> RunResult:
        """Train to the last step, and return what is reached. Raises InterruptedLadderError."""
        total = self.run.config.steps
        with training(name, self.run.first_step, total) as observer:
            end = self.run.train(observer)
        if end.interrupted:
            raise InterruptedLadderError
        _, result = self.run.finish(end)
        speed = end.steps_per_second or None
        return RunResult(
            end.step,
            self.setup.num_params,
            result.train_loss,
            result.dev_loss,
            None if speed is None else end.step / speed,
            None if speed is None else speed * self.setup.tokens_per_step,
        )
