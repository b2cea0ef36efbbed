"""Many models trained at once: seeds times values of a hyperparameter, in slices that fit.

Members of a slice are one vmapped program; those of one seed share their minibatches, which are
gathered once. On a CPU slices are small and as many run side by side as there are cores.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mm_jax.choices import InputError
from mm_jax.loss import loss
from mm_jax.memory import device_bytes
from mm_jax.model import Model
from mm_jax.train import TrainState, chunk_length, fit
from mm_jax.windows import Batch

CPU_MEMBERS = 8  # in a slice: more are no faster there, and fewer slices keep fewer cores busy
# Along the axis of values only these differ; minibatches come from step and key.
ALONG_VALUES = TrainState(step=None, params=0, opt_state=0, key=None, regularization=None)  # type: ignore[arg-type]


@partial(jax.jit, static_argnames="vary")
def _begin(vary: Callable[..., TrainState], state: TrainState, values: Array) -> TrainState:
    """Return the members of a slice: states (s,) and values (r, ...) -> states (s, r)."""
    along_values = jax.vmap(vary, in_axes=(None, 0), out_axes=ALONG_VALUES)
    return jax.vmap(along_values, in_axes=(0, None))(state, values)


@partial(
    jax.jit,
    static_argnames=("model", "optimizer", "num_steps", "batch_size"),
    donate_argnames="state",
)
def _advance(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    limit: Int[Array, ""],
    *,
    num_steps: int,
    batch_size: int | None,
) -> tuple[TrainState, Float[Array, "s r steps"]]:
    """Take ``limit`` steps with every member of a slice."""

    def take(state: TrainState) -> tuple[TrainState, Float[Array, " steps"]]:
        return fit(
            model, optimizer, state, data, num_steps=num_steps, batch_size=batch_size, limit=limit
        )

    along_values = jax.vmap(take, in_axes=(ALONG_VALUES,), out_axes=(ALONG_VALUES, 0))
    return jax.vmap(along_values)(state)


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
    returns the state of one member, with other params or opt_state. A member whose loss is not
    finite goes on with that. ``update(steps of all members, mean loss)`` is called as they go.
    """
    num_seeds, num_values = len(state.step), len(values)
    most = members_per_slice or default_members(model, state, data, batch_size)
    r = min(num_values, most)
    s = min(num_seeds, max(1, most // r))
    length = min(num_steps, max(1, chunk_length(data, batch_size) // s))
    losses = np.empty((num_seeds, num_values, num_steps), np.float32)
    done, lock = 0, threading.Lock()

    def begin(i: int, j: int) -> TrainState:
        # A last slice that is not full is filled with copies, so that one program serves all.
        seeds = np.minimum(np.arange(i, i + s), num_seeds - 1)
        members = np.minimum(np.arange(j, j + r), num_values - 1)
        return _begin(vary, jax.tree.map(lambda leaf: leaf[seeds], state), values[members])

    def advance(state: TrainState, limit: int) -> tuple[TrainState, Array]:
        options = {"num_steps": length, "batch_size": batch_size}
        return _advance(model, optimizer, state, data, jnp.int32(limit), **options)

    def train_slice(corner: tuple[int, int]) -> None:
        nonlocal done
        i, j = corner
        members, into = begin(i, j), losses[i : i + s, j : j + r]
        for step in range(0, num_steps, length):
            count = min(length, num_steps - step)
            members, taken = advance(members, count)
            part = np.asarray(taken)[: into.shape[0], : into.shape[1], :count]
            into[:, :, step : step + count] = part
            with lock:
                done += part.size
                if update:
                    update(done, float(part.mean()))

    corners = [(i, j) for i in range(0, num_seeds, s) for j in range(0, num_values, r)]
    on_cpu = jax.devices()[0].platform == "cpu"
    workers = min(len(corners), len(os.sched_getaffinity(0)) if on_cpu else 1)
    if workers > 1:
        advance(begin(0, 0), 0)  # compiled once, before all ask for it at the same time
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(train_slice, corners):
            pass
    return losses


def default_members(model: Model, state: TrainState, data: Batch, batch_size: int | None) -> int:
    """Return how many members a slice may have: what fits in half of the device's memory.

    Raises InputError where not even one fits.
    """
    device = jax.devices()[0]
    there, each = device_bytes(device) // 2, member_bytes(model, state, data, batch_size)
    if device.platform == "cpu":
        there //= len(os.sched_getaffinity(0))
    if each > there:
        raise InputError(
            f"one model in training takes about {each / 1e9:,.1f} GB, and there are "
            f"{there / 1e9:,.1f} GB for it; a smaller model, context or batch takes less"
        )
    return min(there // each, CPU_MEMBERS) if device.platform == "cpu" else there // each


def member_bytes(model: Model, state: TrainState, data: Batch, batch_size: int | None) -> int:
    """Return about how much memory one member takes: its state three times, and one step.

    Of a step every intermediate array is counted, as if none were freed before its end.
    """
    one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), state)
    size = len(data.targets) if batch_size is None else batch_size
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), data)
    step = jax.make_jaxpr(jax.grad(partial(loss, model)))(one.params, batch)
    return 3 * _bytes(jax.tree.leaves(one)) + _bytes(_intermediates(step.jaxpr))


def _intermediates(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield from (var.aval for var in equation.outvars)
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from _intermediates(inner)


def _bytes(arrays: Any) -> int:
    return sum(each.size * each.dtype.itemsize for each in arrays)
