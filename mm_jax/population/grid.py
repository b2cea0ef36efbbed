"""Many seeds times many values of one number -> the losses of all these members.

The range test is made of it: values are learning rates. Members are trained in slices that fit.
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
from mm_jax.data.batches import Batch
from mm_jax.models.base import Model
from mm_jax.population.scheduler import make_plan, member_bytes, run_jobs, train_slices
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes
from mm_jax.training.step import TrainState


def fit_members(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    vary: Callable[[TrainState, Array], TrainState],
    values: Float[Array, "R ..."],
    data: Batch,
    *,
    num_steps: int,
    batch_size: int | None,
    members_per_slice: int | None = None,
    update: Callable[[int, float], None] | None = None,
) -> Float[np.ndarray, "S R steps"]:
    """Train a member for every seed and value; return the loss before each of its steps.

    ``state`` holds S seeds along its first axis and is left untouched; ``vary(state, value)``
    returns the state of one member. A member whose loss is not finite goes on with that.
    ``update(steps of all members, mean loss)`` is called as they go.

    Raises InputError as make_plan does, and where the losses of all members do not fit in memory.
    """
    num_seeds, num_values = len(state.step), len(values)
    needed, there = 4 * num_seeds * num_values * num_steps, memory_bytes() // 8
    if needed > there:
        raise InputError(
            f"{num_seeds:,} seeds x {num_values:,} values x {num_steps:,} steps have losses of "
            f"{size_text(needed)}, and there are {size_text(there)} for them; take fewer"
        )
    num = num_seeds * num_values
    losses, lock, total = np.empty((num, num_steps), np.float32), threading.Lock(), 0

    def note(members: np.ndarray, steps: int, part: Float[np.ndarray, "m steps"]) -> None:
        nonlocal total
        losses[members, steps - part.shape[1] : steps] = part
        with lock:
            total += part.size
            if update:
                update(total, float(part.mean(dtype=np.float64)))

    begin, shared = _varied(vary), (state, values)
    first = partial(begin, shared, jnp.int32(0))
    each = member_bytes(model, first, data, batch_size)
    plan = make_plan(num, each, members_per_slice=members_per_slice)
    jobs = train_slices(
        model,
        optimizer,
        begin,
        shared,
        np.arange(num, dtype=np.int32),
        data,
        num_steps=num_steps,
        batch_size=batch_size,
        plan=plan,
        note=note,
    )
    run_jobs(jobs, plan.workers)
    return losses.reshape(num_seeds, num_values, num_steps)


@cache
def _varied(vary: Callable[[TrainState, Array], TrainState]) -> Any:
    def begin(shared: tuple[TrainState, Array], member: Array) -> TrainState:
        state, values = shared
        seed, value = member // len(values), member % len(values)
        return vary(jax.tree.map(lambda leaf: leaf[seed], state), values[value])

    return begin
