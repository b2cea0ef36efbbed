"""Groups of members -> trained members, each saved when it ends, so that none is trained twice.

Slices of all groups share the cores. What a checkpoint holds is not trained again.
"""

import math
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Float

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.grouping import Group, member_arrays, state_initializer
from mm_jax.experiments.members import Member, MemberLog
from mm_jax.experiments.observer import Observer
from mm_jax.population.planning import cut_into_slices
from mm_jax.population.scheduler import (
    PopulationSpec,
    SliceObserver,
    run_jobs,
    slice_arrays,
    slice_losses,
    slice_state,
    train_slices,
)
from mm_jax.runs.checkpoint import params_of_state
from mm_jax.runs.checkpoint_schedule import CheckpointSchedule
from mm_jax.runs.named_arrays import check_arrays, spec_of
from mm_jax.runs.population_checkpoints import (
    PopulationCheckpoints,
    SliceCheckpoint,
    population_digest,
)
from mm_jax.runtime.mesh import is_primary
from mm_jax.training.state import TrainState


class Rung(NamedTuple):
    """A stage of successive halving: from which step to which, and for which members."""

    end_step: Callable[[RunConfig], int] = lambda config: config.steps
    start_step: Callable[[RunConfig], int] = lambda _: 0
    ids: Collection[int] | None = None  # the numbers of these members; None: all

    def num_steps(self, config: RunConfig) -> int:
        """Return how many steps a member takes on the rung."""
        return self.end_step(config) - self.start_step(config)


def train_members(
    configs: Sequence[RunConfig],
    groups: Sequence[Group],
    *,
    rung: Rung | None = None,
    checkpoints: PopulationCheckpoints | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    observer: Observer | None = None,
    keep: Callable[[int, Member], Any] = lambda _, member: member,
) -> dict[int, Any]:
    """Train a member for each of ``configs``, as group_members divided them, or through a ``rung``.

    What ``checkpoints`` hold is not trained again; what is trained is saved there, at the end of
    each slice and as often as ``checkpoint_config`` says. The observer's progress counts the steps
    of all members in this rung, those restored as well. Returns what ``keep(number, member)``
    returns of each member that reached the end; it is called in several threads. A member whose
    loss is not finite is trained to the end all the same.
    """
    population = PopulationTraining(
        configs,
        rung or Rung(),
        checkpoints or PopulationCheckpoints(),
        checkpoint_config or CheckpointConfig(),
        observer or Observer(),
        keep,
    )
    jobs = [job for group in groups for job in population.jobs_of(group)]
    try:
        run_jobs(jobs, max(group.plan.workers for group in groups))
    finally:
        population.checkpoints.flush()
    return population.results


class PopulationTraining:
    """What the groups of a population share: the rung, checkpoints, progress and the results."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        rung: Rung,
        checkpoints: PopulationCheckpoints,
        checkpoint_config: CheckpointConfig,
        observer: Observer,
        keep: Callable[[int, Member], Any],
    ) -> None:
        self.configs, self.rung = configs, rung
        self.checkpoints, self.checkpoint_config = checkpoints, checkpoint_config
        self.observer, self.keep = observer, keep
        self.results: dict[int, Any] = {}  # by the number of the member
        self.lock, self.steps_taken = threading.Lock(), 0  # of all members in this rung

    def jobs_of(self, group: Group) -> list[Callable[[], None]]:
        """Return the jobs that train those members of a group that are on the rung."""
        ids = [i for i in group.ids if self.rung.ids is None or i in self.rung.ids]
        return GroupTraining(self, group, ids).jobs() if ids else []

    def count_steps(self, count: int, loss_nats: float | None = None) -> None:
        """Add steps of members; report those that have a loss: they were not just restored."""
        with self.lock:
            self.steps_taken += count
            if loss_nats is not None:
                self.observer.progress(self.steps_taken, loss_nats)


class GroupTraining(SliceObserver):
    """Trains the members of one group through a rung, and makes Members of them.

    ``ids`` are the numbers of its members in the population; everywhere else a member is its place
    in ``ids``. Slices run side by side, and no two of them have a member in common.
    """

    def __init__(self, population: PopulationTraining, group: Group, ids: list[int]) -> None:
        self.population, self.setup, self.plan, self.ids = population, group.setup, group.plan, ids
        self.configs = [population.configs[i] for i in ids]
        self.start_step = population.rung.start_step(self.configs[0])
        self.end_step = population.rung.end_step(self.configs[0])
        self.training = PopulationSpec(
            model=group.setup.model,
            optimizer=group.optimizer,
            initialize=state_initializer(group.setup.model, group.optimizer),
            shared=None,
            rows=member_arrays(self.configs),
            data=group.setup.data,
            num_steps=self.end_step,
            batch_size=group.setup.batch_size,
            plan=group.plan,
        )
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), self.training.rows)
        self.state_spec = spec_of(partial(self.training.initialize, None, row))  # of one member
        self.logs = [MemberLog(config) for config in self.configs]
        every = population.checkpoint_config.checkpoint_every
        # Of many processes all have to make a checkpoint together, and clocks differ.
        seconds = population.checkpoint_config.checkpoint_seconds
        seconds = seconds if jax.process_count() == 1 else math.inf
        self.schedules = [CheckpointSchedule(every, seconds, self.start_step) for _ in ids]

    def jobs(self) -> list[Callable[[], None]]:
        """Return the jobs: one for each member that has ended already, then one for each slice."""
        checkpoints, members = self.population.checkpoints, np.arange(len(self.ids))
        ended = [i for i in members.tolist() if checkpoints.ended(self.end_step, [self.ids[i]])]
        slices = [
            np.setdiff1d(members_of_slice, ended, assume_unique=True)
            for members_of_slice in cut_into_slices(members, self.plan)
        ]
        not_ended = [members_of_slice for members_of_slice in slices if len(members_of_slice)]
        recalls: list[Callable[[], None]] = [partial(self.recall, member) for member in ended]
        return recalls + train_slices(self.training, self, not_ended)

    def recall(self, member: int) -> None:
        """Take a member that has ended already from its checkpoint."""
        saved = self.population.checkpoints.ended_member(self.end_step, self.ids[member])
        self.logs[member].restore(saved.means[0], saved.pending[0])
        params = {name: array[0] for name, array in params_of_state(saved.arrays).items()}
        self.add_result(member, saved.dev_losses[0] if saved.dev_losses else None, params)
        self.population.count_steps(self.end_step - self.start_step)

    def restore(self, members: np.ndarray) -> tuple[TrainState, int] | None:
        """Return the state and step of a slice's checkpoint; None where there is none."""
        ids = [self.ids[member] for member in members.tolist()]
        saved = self.population.checkpoints.find(ids, self.end_step, self.start_step)
        if saved is None:
            return None
        first = {name: array[0, ...] for name, array in saved.arrays.items()}
        check_arrays(first, self.state_spec.leaves, "a checkpoint of the population", "its choices")
        for member, means, pending in zip(
            members.tolist(), saved.means, saved.pending, strict=True
        ):
            self.logs[member].restore(means, pending)
        self.population.count_steps((saved.step - self.start_step) * len(members))
        return slice_state(saved.arrays, self.state_spec, self.plan), saved.step

    def chunk_done(
        self,
        members: np.ndarray,
        step: int,
        losses: Float[np.ndarray, "m steps"],
        state: TrainState,
    ) -> None:
        """Log the losses of a chunk, report them, and save a checkpoint where one is due."""
        for member, member_losses in zip(members.tolist(), losses, strict=True):
            self.logs[member].add(member_losses)
        self.population.count_steps(losses.size, float(losses.mean(dtype=np.float64)))
        schedule = self.schedules[int(members[0])]
        if step < self.end_step and schedule(step):
            with schedule.making(step):
                self.population.checkpoints.save(self.checkpoint(members, step, state))

    def should_stop(self) -> bool:
        """Check whether the observer of the population asks to stop."""
        return self.population.observer.should_stop()

    def slice_done(self, members: np.ndarray, step: int, state: TrainState) -> None:
        """Save a slice; where it has reached the end of the rung, evaluate its members as well."""
        checkpoint = self.checkpoint(members, step, state)
        if step == self.end_step:
            dev_losses = self.dev_losses(members, state)
            checkpoint = checkpoint._replace(dev_losses=dev_losses)
        self.population.checkpoints.save(checkpoint)
        if checkpoint.dev_losses is None:  # it was stopped
            return
        params = params_of_state(checkpoint.arrays)
        for row, member in enumerate(members.tolist()):
            own_params = {name: array[row] for name, array in params.items()}
            self.add_result(member, checkpoint.dev_losses[row], own_params)

    def dev_losses(self, members: np.ndarray, state: TrainState) -> list[float | None]:
        """Return the mean nats per symbol of each member on dev; None without such lines."""
        dev_data = self.setup.dev_data
        if dev_data is None:
            return [None] * len(members)
        losses = slice_losses(self.setup.model, state.best_params, dev_data, self.plan)
        return [float(loss) for loss in losses[: len(members)]]

    def checkpoint(self, members: np.ndarray, step: int, state: TrainState) -> SliceCheckpoint:
        """Return the checkpoint of a slice; its arrays are copies on the host."""
        logs = [self.logs[member] for member in members.tolist()]
        return SliceCheckpoint(
            tuple(self.ids[member] for member in members.tolist()),
            self.end_step,
            step,
            slice_arrays(state, self.plan, len(members)),
            np.array([log.means for log in logs], np.float64),
            np.array([log.pending for log in logs], np.float32),
        )

    def add_result(
        self, member: int, dev_loss: float | None, params: dict[str, np.ndarray]
    ) -> None:
        """Make a Member of one that reached the end, and keep of it what is asked for."""
        copies = {name: array.copy() for name, array in params.items()}  # without their slice
        result = Member(
            config=self.configs[member],
            num_params=self.setup.num_params,
            steps=self.end_step,
            dev_loss=dev_loss,
            lines=self.logs[member].lines(),
            params=unflatten_dict(copies, sep="."),
        )
        number = self.ids[member]
        self.population.results[number] = self.population.keep(number, result)


def open_checkpoints(
    path: Path,
    configs: Sequence[RunConfig],
    dataset: Dataset,
    checkpoint_config: CheckpointConfig,
    observer: Observer,
) -> PopulationCheckpoints:
    """Return the checkpoints of a population in a directory, and report what was found there.

    Raises InputError where they are of another population, or damaged and --strict is given.
    """
    digest = population_digest(configs, dataset.record, dataset.vocab.symbols)
    checkpoints = PopulationCheckpoints(path, digest, writes=is_primary())

    def report_damage(error: InputError) -> None:
        if checkpoint_config.strict:
            raise error
        observer.warning(f"{error}; its members are trained again")

    checkpoints.open(report_damage)
    if not checkpoints.is_empty:
        observer.message(
            f"resumed    {checkpoints.steps_taken:,} steps of members are taken already"
        )
    return checkpoints
