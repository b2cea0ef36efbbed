"""A population of any size, in slices that fit: how many members a slice has, and their training.

On a CPU a slice is one member, trained as it would be alone, bit for bit, and as many run side by
side as there are cores: no other form was faster. On a GPU, a TPU or a mesh of devices a slice is
one vmapped program, as large as memory allows.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from mm_jax import population
from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.models.base import Model, Params
from mm_jax.runs.named_arrays import TreeSpec, from_arrays, named_leaves
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import device_bytes, num_cores
from mm_jax.runtime.mesh import place, whole
from mm_jax.training.evaluate import evaluate
from mm_jax.training.loss import loss
from mm_jax.training.step import TrainState, chunk_length, fit


class SlicePlan(NamedTuple):
    """How a population is cut up."""

    members: int  # of a slice; one is trained as it would be alone
    workers: int = 1  # slices at a time
    mesh: Mesh | None = None

    @property
    def alone(self) -> bool:
        """Whether a slice is a single model, without an axis of members."""
        return self.members == 1 and self.mesh is None


def make_plan(
    num: int, member_bytes: int, *, members_per_slice: int | None = None, mesh: Mesh | None = None
) -> SlicePlan:
    """Return how ``num`` members, each of so many bytes, are cut into slices.

    A slice has ``members_per_slice``, or as many as fit in half of the memory. Raises InputError
    where not even one fits, or not so many, or there are not so many.
    """
    device, wanted = jax.local_devices()[0], members_per_slice
    if wanted is not None and not 1 <= wanted <= num:
        raise InputError(f"--members-per-slice {wanted} must be from 1 to the {num:,} members")
    groups = 1 if mesh is None else mesh.shape["models"]
    on_cpu = device.platform == "cpu"
    local = len(mesh.local_devices) if mesh is not None and on_cpu else 1
    there = device_bytes(device) // 2 // local  # devices of a CPU share its memory
    most = there // member_bytes * groups
    if there < member_bytes:
        raise InputError(
            f"one model in training takes about {size_text(member_bytes)}, and there are "
            f"{size_text(there)} for it; a smaller model, context or batch takes less"
        )
    if wanted is not None and wanted > most:
        raise InputError(
            f"--members-per-slice {wanted}: only {most:,} members of about "
            f"{size_text(member_bytes)} each fit in memory at once"
        )
    if mesh is not None:
        members = min(num, most) if wanted is None else wanted
        return SlicePlan(-(-members // groups) * groups, 1, mesh)
    if not on_cpu:
        return SlicePlan(min(num, most) if wanted is None else wanted)
    members = wanted or 1
    slices = -(-num // members)
    return SlicePlan(members, max(1, min(num_cores(), most // members, slices)))


def train_slices(
    model: Model,
    optimizer: optax.GradientTransformation,
    begin: Callable[[Any, Any], TrainState],
    shared: Any,
    rows: Any,
    data: Batch,
    *,
    num_steps: int,
    batch_size: int | None,
    plan: SlicePlan,
    slices: Sequence[np.ndarray] | None = None,
    restore: Callable[[np.ndarray], tuple[TrainState, int] | None] = lambda _: None,
    note: Callable[[np.ndarray, int, Float[np.ndarray, "m steps"]], None] | None = None,
    keep: Callable[[np.ndarray, int, TrainState], None] | None = None,
    done: Callable[[np.ndarray, int, TrainState], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Callable[[], None]]:
    """Return jobs, a slice each, that train P members until step ``num_steps``: see run_jobs.

    ``begin(shared, row)`` is the first state of a member. ``rows`` are NumPy arrays with an axis of
    P in front, ``shared`` any arrays; ``begin`` should be the same object from call to call, or it
    is compiled again. ``slices`` says which members are trained together, by default all of them in
    their order; of those whose state and steps ``restore(members)`` returns training goes on there.

    After each chunk ``note(members, steps taken, their losses)`` and ``keep(members, steps taken,
    state)`` are called, at the end of a slice ``done`` with what ``keep`` gets: the state has an
    axis of members or, where the plan has slices of one, none. Slices run side by side, and so do
    these calls. After a chunk that ``stop()`` follows, a slice ends, and no other begins.
    """
    num = len(jax.tree.leaves(rows)[0])
    length = max(1, min(num_steps, chunk_length(data, batch_size) // plan.members))
    options = {"num_steps": length, "batch_size": batch_size}
    data = data if plan.mesh is None else place(data, plan.mesh)
    start = _start(begin, plan.alone, plan.mesh)
    compiling, compiled = threading.Lock(), threading.Event()

    def begin_slice(members: np.ndarray) -> tuple[TrainState, int]:
        found = restore(members)
        if found is not None:
            return found
        if plan.alone:
            return start(shared, jax.tree.map(lambda leaf: leaf[members[0]], rows)), 0
        # A last slice that is not full is filled with copies, so that one program serves all.
        filled = np.resize(members, plan.members)
        return start(shared, jax.tree.map(lambda leaf: leaf[filled], rows)), 0

    def advance(state: TrainState, limit: int) -> tuple[TrainState, Array]:
        if plan.alone:
            return fit(model, optimizer, state, data, limit=jnp.int32(limit), **options)
        steps = np.int32(limit)
        return _advance(model, optimizer, state, data, steps, mesh=plan.mesh, **options)

    def train_slice(members: np.ndarray) -> None:
        if stop():
            return
        with compiling:  # the first slice compiles, and no other does so at the same time
            state, taken = begin_slice(members)
            if not compiled.is_set() and num_steps and plan.workers > 1:
                state, _ = advance(state, 0)
                compiled.set()
        begun = taken
        while taken < num_steps and not (taken > begun and stop()):
            count = min(length - taken % length, num_steps - taken)
            state, losses = advance(state, count)
            part = whole(losses).reshape(plan.members, -1)[: len(members), :count]
            taken += count
            if note:
                note(members, taken, part)
            if keep and taken < num_steps:
                keep(members, taken, state)
        if done:
            done(members, taken, state)

    if slices is None:
        slices = cut_into_slices(np.arange(num), plan)
    return [partial(train_slice, members) for members in slices]


def cut_into_slices(members: np.ndarray, plan: SlicePlan) -> list[np.ndarray]:
    """Return which members are trained together."""
    return [members[first : first + plan.members] for first in range(0, len(members), plan.members)]


def run_jobs(jobs: list[Callable[[], None]], workers: int) -> None:
    """Run jobs in their order, so many side by side; the first error ends all."""
    failed = threading.Event()

    def run(job: Callable[[], None]) -> None:
        if failed.is_set():
            return
        try:
            job()
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(run, jobs):
            pass


@cache
def _start(begin: Callable[[Any, Any], TrainState], alone: bool, mesh: Mesh | None) -> Any:
    if alone:
        return jax.jit(begin)
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec("models"))
    return jax.jit(jax.vmap(begin, in_axes=(None, 0)), out_shardings=sharding)


@partial(
    jax.jit,
    static_argnames=("model", "optimizer", "num_steps", "batch_size", "mesh"),
    donate_argnames="state",
)
def _advance(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    limit: Array,
    **options: Any,
) -> tuple[TrainState, Float[Array, "m steps"]]:
    return population.fit(model, optimizer, state, data, limit=limit, **options)


def slice_losses(
    model: Model, params: Params, data: Batch, plan: SlicePlan
) -> Float[np.ndarray, " m"]:
    """Return the mean nats per symbol of each member of a slice over the whole of ``data``."""
    if plan.alone:
        return np.asarray(evaluate(model, params, data)).reshape(1)
    data = data if plan.mesh is None else place(data, plan.mesh)
    return whole(population.evaluate(model, params, data, mesh=plan.mesh))


def slice_arrays(tree: Any, plan: SlicePlan, count: int) -> dict[str, np.ndarray]:
    """Return arrays of the ``count`` members of a slice by name, an axis of members in front."""
    arrays = whole(named_leaves(tree))
    return {name: leaf[None] if plan.alone else leaf[:count] for name, leaf in arrays.items()}


def slice_state(arrays: dict[str, np.ndarray], shape: TreeSpec, plan: SlicePlan) -> TrainState:
    """Return the state of a slice that ``slice_arrays`` was given; shape is that of one member."""
    if plan.alone:
        return from_arrays({name: array[0] for name, array in arrays.items()}, shape)
    filled = {name: array[np.arange(plan.members) % len(array)] for name, array in arrays.items()}
    state = from_arrays(filled, shape)
    return state if plan.mesh is None else place(state, plan.mesh, "models")


def member_bytes(
    model: Model, begin: Callable[[], TrainState], data: Batch, batch_size: int | None
) -> int:
    """Return about how much memory one member takes: its state three times, and one step.

    Of a step every intermediate array is counted, as if none were freed before its end. ``begin``
    makes the first state; it is only traced.
    """
    size = len(data.targets) if batch_size is None else batch_size

    def step(params: Params, data: Batch) -> Params:
        batch = jax.tree.map(lambda leaf: leaf[jnp.zeros(size, int)], data)
        return jax.grad(partial(loss, model))(params, batch)

    def arrays() -> tuple[list[Array], Params]:
        state = begin()
        return jax.tree.leaves(state), state.params

    leaves, params = jax.eval_shape(arrays)
    jaxpr = jax.make_jaxpr(step)(params, data)
    return 3 * _bytes(leaves) + _bytes(_intermediates(jaxpr.jaxpr))


def _intermediates(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield from (var.aval for var in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from _intermediates(inner)


def _bytes(arrays: Any) -> int:
    return sum(each.size * each.dtype.itemsize for each in arrays)
