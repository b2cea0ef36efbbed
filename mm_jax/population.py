"""Many models trained at once: seeds times values of a hyperparameter, in slices that fit.

Members of a slice are one vmapped program; those of one seed share their minibatches, which are
gathered once. On a CPU slices are small and as many run side by side as there are cores.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import jaxprs_in_params
from jaxtyping import Array, Float, Int

from mm_jax.choices import InputError
from mm_jax.loss import loss
from mm_jax.memory import device_bytes, memory_bytes, num_cores
from mm_jax.model import Model, Params
from mm_jax.train import TrainState, chunk_length, fit
from mm_jax.windows import Batch

CPU_MEMBERS = 8  # in a slice: more are no faster there, and fewer slices keep fewer cores busy


@partial(jax.jit, static_argnames="vary")
def _begin(
    vary: Callable[..., TrainState],
    state: TrainState,
    values: Float[Array, "R ..."],
    seeds: Int[Array, " s"],
    members: Int[Array, " r"],
) -> TrainState:
    """Return the members of a slice, of some seeds and some values.

    Their params and opt_state are (s, r, ...); step and key, which decide the minibatches, (s,).
    """

    def of_seed(one: TrainState) -> TrainState:
        def member(value: Float[Array, "..."]) -> tuple[Any, Any]:
            varied = vary(one, value)
            return varied.params, varied.opt_state

        params, opt_state = jax.vmap(member)(values[members])
        return dataclasses.replace(one, params=params, opt_state=opt_state)

    return jax.vmap(of_seed)(jax.tree.map(lambda leaf: leaf[seeds], state))


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

    def of_seed(one: TrainState) -> tuple[TrainState, Float[Array, "r steps"]]:
        def member(params: Params, opt_state: Any) -> tuple[Any, ...]:
            before = dataclasses.replace(one, params=params, opt_state=opt_state)
            options = {"num_steps": num_steps, "batch_size": batch_size, "limit": limit}
            after, losses = fit(model, optimizer, before, data, **options)
            return after.params, after.opt_state, after.step, losses

        trained = jax.vmap(member, out_axes=(0, 0, None, 0))(one.params, one.opt_state)
        params, opt_state, step, losses = trained
        return TrainState(step, params, opt_state, one.key, one.regularization), losses

    return jax.vmap(of_seed)(state)


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

    A slice has ``members_per_slice``, or as many as fit in half of the device's memory. Raises
    InputError where not even one fits, or the losses of all members do not.
    """
    num_seeds, num_values = len(state.step), len(values)
    if members_per_slice is not None and members_per_slice < 1:
        raise InputError(f"members_per_slice must be at least 1, not {members_per_slice}")
    needed, there = 4 * num_seeds * num_values * num_steps, memory_bytes() // 8
    if needed > there:
        raise InputError(
            f"{num_seeds:,} seeds x {num_values:,} values x {num_steps:,} steps have losses of "
            f"{needed / 1e9:,.0f} GB, and there is {there / 1e9:,.0f} GB for them; take fewer"
        )
    most, workers = members_per_slice, num_cores()
    if most is None:
        most, workers = default_slices(model, state, data, batch_size)
    r = min(num_values, most)
    s = min(num_seeds, max(1, most // r))
    length = min(num_steps, max(1, chunk_length(data, batch_size) // s))
    losses = np.empty((num_seeds, num_values, num_steps), np.float32)
    done, lock = 0, threading.Lock()

    def begin(i: int, j: int) -> TrainState:
        # A last slice that is not full is filled with copies, so that one program serves all.
        seeds = np.minimum(np.arange(i, i + s), num_seeds - 1)
        members = np.minimum(np.arange(j, j + r), num_values - 1)
        return _begin(vary, state, values, seeds, members)

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
                    update(done, float(part.mean(dtype=np.float64)))

    corners = [(i, j) for i in range(0, num_seeds, s) for j in range(0, num_values, r)]
    on_cpu = jax.devices()[0].platform == "cpu"
    workers = min(len(corners), workers if on_cpu else 1)
    if workers > 1:
        advance(begin(0, 0), 0)  # compiled once, before all ask for it at the same time
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(train_slice, corners):
            pass
    return losses


def default_slices(
    model: Model, state: TrainState, data: Batch, batch_size: int | None
) -> tuple[int, int]:
    """Return how many members a slice may have to fit in half of the memory, and slices at a time.

    Raises InputError where not even one member fits.
    """
    device = jax.devices()[0]
    there, each = device_bytes(device) // 2, member_bytes(model, state, data, batch_size)
    most = there // each
    if not most:
        raise InputError(
            f"one model in training takes about {each / 1e9:,.1f} GB, and there are "
            f"{there / 1e9:,.1f} GB for it; a smaller model, context or batch takes less"
        )
    if device.platform != "cpu":
        return most, 1
    workers = min(num_cores(), most)
    return min(most // workers, CPU_MEMBERS), workers


def member_bytes(model: Model, state: TrainState, data: Batch, batch_size: int | None) -> int:
    """Return about how much memory one member takes: its state three times, and one step.

    Of a step every intermediate array is counted, as if none were freed before its end.
    """
    size = len(data.targets) if batch_size is None else batch_size

    def step(state: TrainState, data: Batch) -> tuple[list[Array], Params]:
        one = jax.tree.map(lambda leaf: leaf[0], state)
        batch = jax.tree.map(lambda leaf: leaf[jnp.zeros(size, int)], data)
        return jax.tree.leaves(one), jax.grad(partial(loss, model))(one.params, batch)

    jaxpr, (leaves, _) = jax.make_jaxpr(step, return_shape=True)(state, data)
    return 3 * _bytes(leaves) + _bytes(_intermediates(jaxpr.jaxpr))


def _intermediates(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield from (var.aval for var in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from _intermediates(inner)


def _bytes(arrays: Any) -> int:
    return sum(each.size * each.dtype.itemsize for each in arrays)
