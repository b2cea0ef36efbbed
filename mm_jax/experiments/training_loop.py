"""The training of one model: chunks of steps, their metrics and checkpoints, and when to stop.

Enters: a setup, the state to begin with, a CheckpointManager. Leaves: lines of metrics and
checkpoints, and the state to keep, with the reason where training ended early.
"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mm_jax.config.training import RunConfig
from mm_jax.data.examples import Examples
from mm_jax.experiments.evaluation import evaluate_and_sample, first_samples
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.run_diagnostics import diagnostics_line
from mm_jax.experiments.setup import Setup
from mm_jax.population.scheduler import on_mesh
from mm_jax.runs.checkpoint_manager import CheckpointManager
from mm_jax.training.evaluate import evaluate
from mm_jax.training.minibatches import chunk_length
from mm_jax.training.state import TrainState
from mm_jax.training.step import NotFiniteError, fit, fit_chunks

DEV_EVALUATIONS = 20  # times that the dev loss is measured during a run
DIAGNOSTICS_LINES = 100  # of a run, at least
CHUNK_PRODUCTS = 2**38  # of parameters and predictions in a chunk: some seconds of two cores


class TrainResult(NamedTuple):
    """Where training ended, and why if that was before its last step."""

    state: TrainState  # the one to keep
    step: int  # its step
    steps_taken: int  # in this process
    seconds: float
    steps_per_second: float  # without the first chunk, in which everything is compiled
    reason: str | None  # why it ended early
    interrupted: bool  # True: it was asked to stop; False with a reason: a loss is not finite


class TrainingLoop:
    """Trains one model in chunks, from ``state`` to the last step of its config.

    After each chunk its metrics are written, the dev loss is measured and a checkpoint saved where
    these are due, and the observer is asked whether to stop. With ``diagnostics`` there are lines
    of metrics on saturated units and relative updates, too.
    """

    def __init__(
        self,
        config: RunConfig,
        setup: Setup,
        optimizer: optax.GradientTransformation,
        state: TrainState,
        manager: CheckpointManager,
        *,
        mesh: Mesh | None = None,
        diagnostics: bool = False,
    ) -> None:
        self.config, self.setup, self.optimizer = config, setup, optimizer
        self.manager, self.mesh, self.diagnostics = manager, mesh, diagnostics
        self.data, self.dev_data = on_mesh(setup.data, mesh), setup.dev_data
        if self.dev_data is not None:
            self.dev_data = on_mesh(self.dev_data, mesh)
        self.state, self.first_step = state, int(state.step)
        self.step = self.first_step
        self.running = False
        # What is kept where the loss is not finite.
        self.good = state, self.step
        self.reason: str | None = None
        # The dev loss is measured at multiples of this; chunks may be shorter and divide it.
        self.evaluation_interval = chunk_length(self.data, setup.batch_size)
        longest = CHUNK_PRODUCTS // int(setup.tokens_per_step * setup.num_params)
        if diagnostics:
            longest = min(longest, config.steps // DIAGNOSTICS_LINES)
        self.chunk_steps = divisor(self.evaluation_interval, longest)
        self.take_chunk = partial(
            fit,
            setup.model,
            optimizer,
            data=self.data,
            num_steps=self.chunk_steps,
            batch_size=setup.batch_size,
            mesh=mesh,
        )

    def run(self, observer: Observer | None = None) -> TrainResult:
        """Train until the last step, until the observer stops it, or until a loss is not finite."""
        observer, timer = observer or Observer(), StepTimer(self.first_step)
        self.running, interrupted = True, False
        try:
            for state, losses in self._chunks():
                self._record_chunk(state, losses)
                observer.progress(self.step, float(losses.mean()))
                if timer.is_first_chunk:
                    self._compile_evaluation_aside()
                timer.chunk_ended(self.step)
                if self.reason or self.step == self.config.steps:
                    break
                if self._save_if_due(stopping=observer.should_stop()):
                    interrupted = True
                    break
            if not self.reason:
                self.manager.save(self.state, self.step)
        except NotFiniteError as error:
            self.good, self.reason = (error.state, int(error.state.step)), str(error)
        finally:
            self.running = False
        return self._result(timer, interrupted)

    def save_latest(self) -> None:
        """Save the state after the last chunk, unless its next loss is bad or all ended by itself.

        Another thread calls this while a long chunk is in work.
        """
        with self.manager.lock:
            if not self.running or self.manager.latest is None:
                return
            state, step = self.manager.latest
            if step < self.config.steps and self._is_sound(state):
                self.manager.save_latest()

    def _chunks(self) -> Iterator[tuple[TrainState, np.ndarray]]:
        return fit_chunks(
            self.setup.model,
            self.optimizer,
            self.state,
            self.data,
            num_steps=self.config.steps,
            batch_size=self.setup.batch_size,
            chunk_steps=self.chunk_steps,
            every=self.manager.schedule.every,
            mesh=self.mesh,
        )

    def _record_chunk(self, state: TrainState, losses: np.ndarray) -> None:
        """Make ``state`` the current one and write its metrics; only then may it be saved."""
        with self.manager.lock:
            self.manager.latest = None
            self.state, self.step = state, self.step + len(losses)
            lines = self.manager.log.add(losses)
            if self.diagnostics and self.step % self.chunk_steps == 0:
                lines.append(self._diagnostics_line())
            if self.dev_data is not None and should_evaluate(
                self.step, self.evaluation_interval, self.config.steps
            ):
                lines.append(self._evaluate_on_dev(self.dev_data))
            self.manager.append_metrics(lines)
            self.manager.latest = None if self.reason else (state, self.step)

    def _diagnostics_line(self) -> dict[str, Any]:
        model, size = self.setup.model, self.setup.batch_size
        return diagnostics_line(model, self.optimizer, self.state, self.data, size)

    def _evaluate_on_dev(self, dev_data: Examples) -> dict[str, Any]:
        """Return a line with the dev loss; where it is not finite, that is a reason to end."""
        params = self.state.best_params
        dev_loss = float(evaluate(self.setup.model, params, dev_data, mesh=self.mesh))
        if math.isfinite(dev_loss):
            self.manager.update_best(self.state, self.step, dev_loss)
        else:
            self.good = self.manager.best_state(self.state) or self.good
            self.reason = f"the dev loss became {dev_loss} by step {self.step}"
        return {"step": self.step, "dev_loss": dev_loss}

    def _save_if_due(self, *, stopping: bool) -> bool:
        """Save a checkpoint where one is due; return whether training may stop with it."""
        due = stopping or self.manager.schedule(self.step)
        if not (due and self._is_sound(self.state)):
            return False
        self.manager.save(self.state, self.step)
        if stopping:
            self.reason = f"interrupted after step {self.step}"
        return stopping

    def _is_sound(self, state: TrainState) -> bool:
        """Check whether the next loss is finite, so that the run can be resumed from here."""
        if jax.process_count() > 1:
            return True
        _, losses = self.take_chunk(state, limit=np.int32(1))
        return bool(jnp.isfinite(losses[0]))

    def _compile_evaluation_aside(self) -> None:
        """Compile what follows training while that proceeds, on another core."""
        if self.mesh is None and self.step < self.config.steps:
            aside = ThreadPoolExecutor(1)
            params, dataset = self.state.best_params, self.setup.dataset
            if dataset.splits.train.num_predictions <= 16 * dataset.limits[0]:
                aside.submit(evaluate_and_sample, self.setup.model, params, dataset)
            else:  # to evaluate would take a core from training for long
                shape = dataset.sample_shape
                aside.submit(first_samples, self.setup.model, params, dataset.vocab, shape)
            aside.shutdown(wait=False)

    def _result(self, timer: "StepTimer", interrupted: bool) -> TrainResult:
        seconds, speed = timer.seconds_and_speed(self.step)
        taken = self.step - self.first_step
        state, step, reason = self.state, self.step, self.reason
        if reason and not interrupted:
            state, step = self.good
            reason = (
                f"{reason}; the parameters after step {step} are kept; lower --learning-rate "
                f"({self.config.optimizer.rate:g}), or set --clip-norm 1"
            )
            if self.manager.saved_step > 0:
                reason += f"; the last checkpoint is of step {self.manager.saved_step}"
        return TrainResult(state, step, taken, seconds, speed, reason, interrupted)


class StepTimer:
    """Measures steps per second, without the first chunk, in which everything is compiled."""

    def __init__(self, step: int) -> None:
        self.first_step, self.started = step, time.perf_counter()
        self.compiled_step, self.compiled = step, self.started  # at the end of the first chunk

    @property
    def is_first_chunk(self) -> bool:
        """Whether no chunk has ended yet."""
        return self.compiled_step == self.first_step

    def chunk_ended(self, step: int) -> None:
        """Take the step that a chunk has ended with."""
        if self.is_first_chunk:
            self.compiled_step, self.compiled = step, time.perf_counter()

    def seconds_and_speed(self, step: int) -> tuple[float, float]:
        """Return the seconds until now, at the last step, and the steps per second."""
        ended = time.perf_counter()
        seconds = ended - self.started
        if step > self.compiled_step > self.first_step:
            return seconds, (step - self.compiled_step) / (ended - self.compiled)
        return seconds, (step - self.first_step) / seconds


def divisor(number: int, most: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``most``; 1 where none is."""
    return max(each for each in range(1, max(1, min(most, number)) + 1) if number % each == 0)


def should_evaluate(step: int, length: int, num_steps: int) -> bool:
    """Check whether the dev loss is measured after a step: at ends of whole chunks, 20 times.

    It depends on nothing but the step, so that a resumed run measures where it would have anyway.
    """
    if step % length and step != num_steps:
        return False
    before = (step - 1) // length * length
    return step * DEV_EVALUATIONS // num_steps > before * DEV_EVALUATIONS // num_steps
