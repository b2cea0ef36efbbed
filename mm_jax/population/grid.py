"""Many seeds times many values of one number -> the losses of all these members.

The range test is made of it: its values are learning rates. Members are trained in slices that fit.
"""

import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from mm_jax.config.base import InputError
from mm_jax.data.examples import Examples
from mm_jax.models.base import Model
from mm_jax.population.planning import make_plan, member_bytes
from mm_jax.population.scheduler import PopulationSpec, SliceObserver, run_jobs, train_slices
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes
from mm_jax.training.state import TrainState


def fit_members(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    vary: Callable[[TrainState, Array], TrainState],
    values: Float[Array, "R ..."],
    data: Examples,
    *,
    num_steps: int,
    batch_size: int | None,
    members_per_slice: int | None = None,
    update: Callable[[int, float], None] | None = None,
) -> Float[np.ndarray, "S R steps"]:
    """Train a member for every seed and value; return the loss before each of its steps.

    ``state`` holds S seeds along its first axis and is left untouched; ``vary(state, value)``
    returns the state of one member. A member whose loss is not finite is trained to the end all the
    same. ``update(steps of all members, mean loss)`` is called after each chunk.

    Raises InputError as make_plan does, and where the losses of all members do not fit in memory.
    """
    num_seeds, num_values = len(state.step), len(values)
    check_losses_fit(num_seeds, num_values, num_steps)
    num_members = num_seeds * num_values
    initialize, shared = _varied(vary), (state, values)
    first_state = partial(initialize, shared, jnp.int32(0))
    each_bytes = member_bytes(model, first_state, data, batch_size)
    plan = make_plan(num_members, each_bytes, members_per_slice=members_per_slice)
    rows = np.arange(num_members, dtype=np.int32)
    recorder = _LossRecorder(num_members, num_steps, update)
    spec = PopulationSpec(
        model, optimizer, initialize, shared, rows, data, num_steps, batch_size, plan
    )
    run_jobs(train_slices(spec, recorder), plan.workers)
    return recorder.losses.reshape(num_seeds, num_values, num_steps)


def check_losses_fit(num_seeds: int, num_values: int, num_steps: int) -> None:
    """Raise InputError where the losses of all steps take more than an eighth of the memory."""
    needed_bytes = 4 * num_seeds * num_values * num_steps
    available_bytes = memory_bytes() // 8
    if needed_bytes > available_bytes:
        raise InputError(
            f"{num_seeds:,} seeds x {num_values:,} values x {num_steps:,} steps have losses of "
            f"{size_text(needed_bytes)}, and there are {size_text(available_bytes)} for them; "
            "take fewer"
        )


class _LossRecorder(SliceObserver):
    """Keeps the losses of all members: (P, num_steps) float32."""

    def __init__(
        self, num_members: int, num_steps: int, update: Callable[[int, float], None] | None
    ) -> None:
        self.losses = np.empty((num_members, num_steps), np.float32)
        self.update = update
        self.lock, self.steps_taken = threading.Lock(), 0

    def chunk_done(
        self,
        members: np.ndarray,
        step: int,
        losses: Float[np.ndarray, "m steps"],
        state: TrainState,  # noqa: ARG002
    ) -> None:
        """Keep the losses of a chunk, and report the steps that all members have taken."""
        self.losses[members, step - losses.shape[1] : step] = losses
        with self.lock:
            self.steps_taken += losses.size
            if self.update:
                self.update(self.steps_taken, float(losses.mean(dtype=np.float64)))


@cache
def _varied(vary: Callable[[TrainState, Array], TrainState]) -> Any:
    """Return the function ((S states, R values), member) -> first state; the same for each call."""

    def initialize(shared: tuple[TrainState, Array], member: Array) -> TrainState:
        state, values = shared
        seed, value = member // len(values), member % len(values)
        return vary(jax.tree.map(lambda leaf: leaf[seed], state), values[value])

    return initialize
