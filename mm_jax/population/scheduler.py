"""Members of a population -> their training, slice by slice, several slices side by side.

Enters: what is trained, a plan (planning.py) and an observer. Leaves: one job for each slice;
losses and states go to the observer.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from mm_jax import population
from mm_jax.data.examples import Examples, is_on_host
from mm_jax.models.base import Model, Params
from mm_jax.population.planning import SlicePlan, cut_into_slices
from mm_jax.population.vmapped import gather_each
from mm_jax.runs.named_arrays import TreeSpec, from_arrays, named_leaves
from mm_jax.runtime.mesh import place, whole
from mm_jax.training.evaluate import evaluate
from mm_jax.training.minibatches import chunk_length
from mm_jax.training.state import TrainState
from mm_jax.training.step import fit


class PopulationSpec(NamedTuple):
    """What is trained: P members that differ in numbers alone, and so share one program."""

    model: Model
    optimizer: optax.GradientTransformation
    # (shared, row) -> the first state of a member. It should be the same object from call to call:
    # another one is compiled again.
    initialize: Callable[[Any, Any], TrainState]
    shared: Any  # arrays that the first state of every member is made from
    rows: Any  # NumPy arrays with an axis of P in front: what sets each member apart
    data: Examples
    num_steps: int  # of each member, all in all
    batch_size: int | None  # None: all of the data
    plan: SlicePlan


class SliceObserver:
    """Hears what happens to slices; every method may be overridden, none has to.

    Slices are trained side by side, and so these calls come from several threads. ``members`` are
    places in the rows of the PopulationSpec. A state has an axis of members in front or, where
    ``plan.alone``, none; where a slice is not full, copies of its members fill the end of the axis.
    The buffers of a state are donated to the next chunk: copy what is to be kept of it.
    """

    def restore(self, members: np.ndarray) -> tuple[TrainState, int] | None:  # noqa: ARG002
        """Return the state of a slice to resume from and its step; None to begin at step 0."""
        return None

    def chunk_done(
        self,
        members: np.ndarray,
        step: int,
        losses: Float[np.ndarray, "m steps"],
        state: TrainState,
    ) -> None:
        """Take the losses before each step of a chunk, and the state after ``step`` steps."""

    def slice_done(self, members: np.ndarray, step: int, state: TrainState) -> None:
        """Take the state of a slice at the end of its training, or where it was stopped."""

    def should_stop(self) -> bool:
        """Check whether to stop: asked before a slice begins, and after each chunk but the last."""
        return False


def train_slices(
    spec: PopulationSpec, observer: SliceObserver, slices: Sequence[np.ndarray] | None = None
) -> list[Callable[[], None]]:
    """Return jobs for run_jobs, one for each slice, that train its members until ``num_steps``.

    ``slices`` are the members that are trained together, by default all of them in their order.
    """
    if slices is None:
        slices = cut_into_slices(np.arange(len(jax.tree.leaves(spec.rows)[0])), spec.plan)
    trainer = _SliceTrainer(spec, observer)
    return [partial(trainer.train, members) for members in slices]


class _SliceTrainer:
    """Trains the slices of one population, in any thread."""

    def __init__(self, spec: PopulationSpec, observer: SliceObserver) -> None:
        self.spec, self.plan, self.observer = spec, spec.plan, observer
        longest = chunk_length(spec.data, spec.batch_size) // self.plan.members
        self.chunk_steps = max(1, min(spec.num_steps, longest))
        self.data = on_mesh(spec.data, self.plan.mesh)
        self.initialize = _jitted_initializer(spec.initialize, self.plan.alone, self.plan.mesh)
        self.compiling, self.compiled = threading.Lock(), threading.Event()

    def train(self, members: np.ndarray) -> None:
        """Train a slice until its last step, or until the observer asks to stop."""
        if self.observer.should_stop():
            return
        num_steps = self.spec.num_steps
        with self.compiling:  # the first slice compiles, and no other does so at the same time
            state, step = self.begin(members)
            if not self.compiled.is_set() and num_steps and self.plan.workers > 1:
                state, _ = self.advance(state, 0)
                self.compiled.set()
        first_step = step
        while step < num_steps and not (step > first_step and self.observer.should_stop()):
            count = min(self.chunk_steps - step % self.chunk_steps, num_steps - step)
            state, losses = self.advance(state, count)
            by_member = whole(losses).reshape(self.plan.members, -1)
            step += count
            self.observer.chunk_done(members, step, by_member[: len(members), :count], state)
        self.observer.slice_done(members, step, state)

    def begin(self, members: np.ndarray) -> tuple[TrainState, int]:
        """Return the state that a slice resumes from, or its first one, and the step of it."""
        restored = self.observer.restore(members)
        if restored is not None:
            return restored
        # A last slice that is not full is filled with copies, so that one program serves all.
        places = members[0] if self.plan.alone else np.resize(members, self.plan.members)
        rows = jax.tree.map(lambda leaf: leaf[places], self.spec.rows)
        return self.initialize(self.spec.shared, rows), 0

    def advance(self, state: TrainState, limit: int) -> tuple[TrainState, Array]:
        """Take ``limit`` steps in a program of ``chunk_steps``; return the losses as well."""
        model, optimizer = self.spec.model, self.spec.optimizer
        options: dict[str, Any] = {
            "num_steps": self.chunk_steps,
            "batch_size": self.spec.batch_size,
        }
        if self.plan.alone:
            return fit(model, optimizer, state, self.data, limit=jnp.int32(limit), **options)
        data: Any = self.data
        steps, mesh = np.int32(limit), self.plan.mesh
        if is_on_host(data) and self.spec.batch_size is not None:
            data = gather_each(data, state, self.chunk_steps, self.spec.batch_size, limit)
        return _fit_slice(model, optimizer, state, data, steps, mesh=mesh, **options)


@cache
def _jitted_initializer(
    initialize: Callable[[Any, Any], TrainState], alone: bool, mesh: Mesh | None
) -> Any:
    if alone:
        return jax.jit(initialize)
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec("models"))
    return jax.jit(jax.vmap(initialize, in_axes=(None, 0)), out_shardings=sharding)


@partial(
    jax.jit,
    static_argnames=("model", "optimizer", "num_steps", "batch_size", "mesh"),
    donate_argnames="state",
)
def _fit_slice(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    limit: Array,
    **options: Any,
) -> tuple[TrainState, Float[Array, "m steps"]]:
    return population.fit(model, optimizer, state, data, limit=limit, **options)


def run_jobs(jobs: list[Callable[[], None]], workers: int) -> None:
    """Run jobs in their order, ``workers`` of them side by side; the first error ends all."""
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


def slice_losses(
    model: Model, params: Params, data: Examples, plan: SlicePlan
) -> Float[np.ndarray, " m"]:
    """Return the mean nats per symbol of each member of a slice over the whole of ``data``."""
    if plan.alone:
        return np.asarray(evaluate(model, params, data)).reshape(1)
    data = on_mesh(data, plan.mesh)
    return whole(population.evaluate(model, params, data, mesh=plan.mesh))


def on_mesh(data: Examples, mesh: Mesh | None) -> Examples:
    """Return examples on a mesh, where there is one; those of a mapped file stay on the host."""
    return data if mesh is None or is_on_host(data) else place(data, mesh)


def slice_arrays(tree: Any, plan: SlicePlan, count: int) -> dict[str, np.ndarray]:
    """Return the arrays of the ``count`` members of a slice by name, an axis of members first."""
    arrays = whole(named_leaves(tree))
    return {name: leaf[None] if plan.alone else leaf[:count] for name, leaf in arrays.items()}


def slice_state(arrays: dict[str, np.ndarray], spec: TreeSpec, plan: SlicePlan) -> TrainState:
    """Return the state that ``slice_arrays`` was given; ``spec`` is that of one member."""
    if plan.alone:
        return from_arrays({name: array[0] for name, array in arrays.items()}, spec)
    filled = {name: array[np.arange(plan.members) % len(array)] for name, array in arrays.items()}
    state = from_arrays(filled, spec)
    return state if plan.mesh is None else place(state, plan.mesh, "models")
