"""One training session: chunks of steps, their metrics, progress, and when to stop.

Enters: choices, a model, a state and data on the device. Leaves: lines of metrics and checkpoints,
and where and why training ended. train.py has the mathematics, keeper.py the files; this is what
joins them.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mm_jax.config.training import RunConfig
from mm_jax.data.batches import Batch
from mm_jax.models.base import Model
from mm_jax.runs.checkpoint_manager import CheckpointManager
from mm_jax.runtime.signals import Stop
from mm_jax.training.diagnostics import look_inside
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import (
    NotFiniteError,
    TrainState,
    chunk_length,
    fit,
    fit_chunks,
    minibatch_ids,
)

DEV_EVALUATIONS = 20  # times that the dev loss is measured during a run
DIAGNOSTICS_LINES = 100  # times at least that the net is looked into, where that is asked for


class TrainResult(NamedTuple):
    """Where training ended, and why if that was before its last step."""

    state: TrainState  # the one to keep
    steps: int  # after how many steps that is
    taken: int  # steps that this process took
    seconds: float
    speed: float  # steps a second, without the first chunk, in which all is compiled
    complaint: str | None
    exit_code: int  # 1 where the loss is not finite, 128 + the signal where one came


def train_loop(
    config: RunConfig,
    model: Model,
    state: TrainState,
    data: Batch,
    dev_data: Batch | None,
    manager: CheckpointManager,
    update: Callable[[int, float], None],
    stop: Stop,
    mesh: Mesh | None = None,
    *,
    inside: bool = False,
) -> TrainResult:
    """Train in chunks; after each write its metrics, keep what is due, and see whether to stop.

    It goes on from where ``state`` is. Where no lines were held out for dev, losses of the steps
    alone tell whether all is well. With ``inside`` metrics say what the net looks like inside, too.
    """
    complaint, exit_code = None, 0
    first = done = int(state.step)
    compiled_at = 0
    optimizer = make_optimizer(config.optimizer, config.steps)
    size = None if config.full_batch else config.batch_size
    length = whole = chunk_length(data, size)
    if inside:  # more often than a chunk ends; dev is looked at when it would be without
        most = max(1, config.steps // DIAGNOSTICS_LINES)
        length = max(each for each in range(1, min(most, whole) + 1) if whole % each == 0)
    chunks = fit_chunks(
        model,
        optimizer,
        state,
        data,
        num_steps=config.steps,
        batch_size=size,
        chunk_steps=length,
        every=manager.due.every,
        mesh=mesh,
    )
    take = partial(fit, model, optimizer, data=data, num_steps=length, batch_size=size, mesh=mesh)
    good = state, done  # what to keep where it diverges, and after how many steps that was

    def sound(state: TrainState) -> bool:
        """Tell whether the next loss is finite, so that the run can go on from here."""
        return jax.process_count() > 1 or bool(jnp.isfinite(take(state, limit=np.int32(1))[1][0]))

    def keep_latest() -> None:
        with manager.lock:
            if manager.latest and manager.latest[1] < config.steps and sound(manager.latest[0]):
                manager.save_latest()

    begun = compiled = time.perf_counter()
    stop.hurry = keep_latest
    try:
        for after, losses in chunks:
            with manager.lock:
                manager.latest = None  # until its lines are written
                state, done = after, done + len(losses)
                lines = manager.log.add(losses)
                if inside and done % length == 0:
                    lines.append(diagnostics_line(model, optimizer, state, data, size))
                if dev_data is not None and should_evaluate(done, whole, config.steps):
                    dev_loss = float(evaluate(model, state.best_params, dev_data, mesh=mesh))
                    lines.append({"step": done, "dev_loss": dev_loss})
                    if math.isfinite(dev_loss):
                        manager.look(state, done, dev_loss)
                    else:
                        good = manager.best_state(state) or good
                        complaint, exit_code = f"the dev loss became {dev_loss} by step {done}", 1
                manager.write(lines)
                manager.latest = None if complaint else (state, done)
            update(done, float(losses.mean()))
            if not compiled_at:
                compiled, compiled_at = time.perf_counter(), done
            if complaint:
                break
            if done == config.steps:
                break
            stopping = stop()
            if (stopping or manager.due(done)) and sound(state):
                manager.save(state, done)
                if stopping:
                    complaint, exit_code = f"interrupted after step {done}", stop.exit_code
                    break
        if not complaint:
            manager.save(state, done)
    except NotFiniteError as error:
        good = error.state, int(error.state.step)
        complaint, exit_code = str(error), 1
    finally:
        stop.hurry = lambda: None
    ended = time.perf_counter()
    seconds, taken = ended - begun, done - first
    speed = taken / seconds
    if done > compiled_at > 0:
        speed = (done - compiled_at) / (ended - compiled)
    if exit_code == 1:
        state, done = good
        complaint = (
            f"{complaint}; the parameters after step {done} are kept; lower --learning-rate "
            f"({config.optimizer.rate:g}), or set --clip-norm 1"
        )
        if manager.saved > 0:
            complaint += f"; the last checkpoint is of step {manager.saved}"
    return TrainResult(state, done, taken, seconds, speed, complaint, exit_code)


@partial(jax.jit, static_argnames=("model", "optimizer", "size"))
def _inside(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    size: int | None,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    batch = data
    if size is not None:
        ids = minibatch_ids(state.key, state.step, len(data.targets), size)
        batch = jax.tree.map(lambda array: array[ids], data)
    found = look_inside(model, optimizer, state, batch)
    return found.saturated, found.update_to_data


def diagnostics_line(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    size: int | None,
) -> dict[str, Any]:
    """Return a line of metrics with what the net looks like inside as it takes its next step."""
    found = jax.device_get(_inside(model, optimizer, state, data, size))
    saturated, ratios = ({name: float(x) for name, x in each.items()} for each in found)
    return {"step": int(state.step), "saturated": saturated, "update_to_data": ratios}


def should_evaluate(step: int, length: int, num_steps: int) -> bool:
    """Tell whether the loss on dev is measured after a step: at ends of whole chunks, 20 times.

    It depends on nothing but the step, so that a run which goes on looks where it would have.
    """
    if step % length and step != num_steps:
        return False
    before = (step - 1) // length * length
    return step * DEV_EVALUATIONS // num_steps > before * DEV_EVALUATIONS // num_steps
