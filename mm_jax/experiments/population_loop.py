"""Programs -> trained members, each kept as soon as it is there, so that none is trained twice.

Slices of all programs share the cores. What a part on disk has brought is not trained again.
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

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.grouping import Group, member_arrays, state_initializer
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import EvalResult, evaluate_and_sample
from mm_jax.models.base import Params
from mm_jax.models.ensemble import ensemble
from mm_jax.models.registry import build_model
from mm_jax.population.scheduler import (
    cut_into_slices,
    run_jobs,
    slice_arrays,
    slice_losses,
    slice_state,
    train_slices,
)
from mm_jax.runs.checkpoint import params_of_state
from mm_jax.runs.checkpoint_manager import CheckpointSchedule
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.runs.named_arrays import check_arrays, spec_of
from mm_jax.runs.population_checkpoints import (
    PopulationCheckpoints,
    SliceCheckpoint,
    population_digest,
)
from mm_jax.runs.writer import append_metrics, drop_results, save_results, write_metadata
from mm_jax.runtime.environment import fingerprint
from mm_jax.runtime.mesh import is_primary
from mm_jax.training.step import TrainState

MAX_LINES = 200  # of a member


class Member(NamedTuple):
    """One run of a population, at the end of its training or of a rung of it."""

    config: RunConfig
    num_params: int
    steps: int  # taken
    dev_loss: float | None  # nats; None where no lines are held out
    lines: list[dict[str, Any]]  # of metrics: step, loss, learning_rate
    params: Params  # to use: averages where they are kept; NumPy

    @property
    def good(self) -> bool:
        """Whether it can be used: its numbers and its loss on dev are finite."""
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params))
        return finite and (self.dev_loss is None or math.isfinite(self.dev_loss))


class MemberLog:
    """What metrics say of a member."""

    def __init__(self, config: RunConfig) -> None:
        self.lines = LossLog(config.optimizer, config.steps, MAX_LINES)
        self.means: list[float] = []

    def add(self, losses: np.ndarray) -> None:
        """Take the losses of steps."""
        self.means += [line["loss"] for line in self.lines.add(losses)]

    def go_on(self, means: np.ndarray, pending: np.ndarray) -> None:
        """Take what a part says of it."""
        self.means, self.lines.pending = means.tolist(), pending.tolist()
        self.lines.num_lines = len(self.means)

    def told(self) -> list[dict[str, Any]]:
        """Return the lines."""
        return [self.lines.line(number, mean) for number, mean in enumerate(self.means)]


class Rung(NamedTuple):
    """A part of the training of some members: from which step on, and until which."""

    until: Callable[[RunConfig], int] = lambda config: config.steps
    before: Callable[[RunConfig], int] = lambda _: 0
    only: Collection[int] | None = None  # the numbers of these members; None: all


def train_members(
    configs: Sequence[RunConfig],
    programs: Sequence[Group],
    *,
    rung: Rung | None = None,
    parts: PopulationCheckpoints | None = None,
    pace: CheckpointConfig | None = None,
    update: Callable[[int, float], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[int, Member], Any] = lambda _, member: member,
) -> dict[int, Any]:
    """Train a member for each of ``configs``, as ``plan_programs`` divided them, or a ``rung``.

    What stands in ``parts`` is not trained again; what is trained is kept there, at the end of each
    slice and as often as ``pace`` says. ``update(steps of all members in this rung, mean loss)`` is
    called as they go, ``stop()`` asked after each chunk. Returns what ``keep(number, member)``
    returns of each that came to the end; it is called in several threads. A member whose loss is
    not finite goes on with that.
    """
    rung, parts, pace = rung or Rung(), parts or PopulationCheckpoints(), pace or CheckpointConfig()
    kept: dict[int, Any] = {}
    lock, total = threading.Lock(), 0

    def count(steps: int, loss_nats: float | None = None) -> None:
        nonlocal total
        with lock:
            total += steps
            if update and loss_nats is not None:
                update(total, loss_nats)

    def jobs_of(program: Group) -> list[Callable[[], None]]:
        setup, optimizer, plan, of_program = program
        ids = [i for i in of_program if rung.only is None or i in rung.only]
        if not ids:
            return []
        model, begin, rows = (
            setup.model,
            state_initializer(setup.model, optimizer),
            member_arrays(configs, ids),
        )
        first, last = rung.before(configs[ids[0]]), rung.until(configs[ids[0]])
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), rows)
        shape = spec_of(partial(begin, None, row))
        logs = [MemberLog(configs[i]) for i in ids]
        # Of many processes all have to make a checkpoint together, and clocks differ.
        seconds = pace.checkpoint_seconds if jax.process_count() == 1 else math.inf
        dues = {
            row: CheckpointSchedule(pace.checkpoint_every, seconds, first)
            for row in range(len(ids))
        }

        def ended(row: int, dev_loss: float | None, params: dict[str, np.ndarray]) -> None:
            copies = {name: array.copy() for name, array in params.items()}
            member = Member(
                config=configs[ids[row]],
                num_params=setup.num_params,
                steps=last,
                dev_loss=dev_loss,
                lines=logs[row].told(),
                params=unflatten_dict(copies, sep="."),
            )
            kept[ids[row]] = keep(ids[row], member)

        def restore(members: np.ndarray) -> tuple[TrainState, int] | None:
            found = parts.find([ids[row] for row in members.tolist()], last, first)
            if found is None:
                return None
            each = {name: array[0] for name, array in found.arrays.items()}
            check_arrays(each, shape.leaves, "a part of the population", "its choices")
            for row, means, pending in zip(
                members.tolist(), found.means, found.pending, strict=True
            ):
                logs[row].go_on(means, pending)
            count((found.step - first) * len(members))
            return slice_state(found.arrays, shape, plan), found.step

        def part_of(members: np.ndarray, taken: int, state: TrainState) -> SliceCheckpoint:
            return SliceCheckpoint(
                tuple(ids[row] for row in members.tolist()),
                last,
                taken,
                slice_arrays(state, plan, len(members)),
                np.array([logs[row].means for row in members.tolist()], np.float64),
                np.array([logs[row].lines.pending for row in members.tolist()], np.float32),
            )

        def note(members: np.ndarray, _: int, part: np.ndarray) -> None:
            for row, losses in zip(members.tolist(), part, strict=True):
                logs[row].add(losses)
            count(part.size, float(part.mean(dtype=np.float64)))

        def take(members: np.ndarray, taken: int, state: TrainState) -> None:
            due = dues[int(members[0])]
            if due(taken):
                with due.making(taken):
                    parts.save(part_of(members, taken, state))

        def done(members: np.ndarray, taken: int, state: TrainState) -> None:
            part = part_of(members, taken, state)
            if taken == last:
                dev: list[float | None] = [None] * len(members)
                if setup.dev_data is not None:
                    dev = [
                        *map(float, slice_losses(model, state.best_params, setup.dev_data, plan))
                    ]
                part = part._replace(dev_losses=dev[: len(members)])
            parts.save(part)
            if part.dev_losses is not None:
                params = params_of_state(part.arrays)
                for at, (row, loss) in enumerate(
                    zip(members.tolist(), part.dev_losses, strict=True)
                ):
                    ended(row, loss, {name: array[at] for name, array in params.items()})

        def recall(row: int) -> None:
            part = parts.member(last, ids[row])
            logs[row].go_on(part.means[0], part.pending[0])
            params = {name: array[0] for name, array in params_of_state(part.arrays).items()}
            ended(row, part.dev_losses[0] if part.dev_losses else None, params)
            count(last - first)

        before = [row for row in range(len(ids)) if parts.ended(last, [ids[row]])]
        slices = [
            np.setdiff1d(members, before, assume_unique=True)
            for members in cut_into_slices(np.arange(len(ids)), plan)
        ]
        jobs = [partial(recall, row) for row in before]
        return jobs + train_slices(
            model,
            optimizer,
            begin,
            None,
            rows,
            setup.data,
            num_steps=last,
            batch_size=setup.batch_size,
            plan=plan,
            slices=[members for members in slices if len(members)],
            restore=restore,
            note=note,
            keep=take,
            done=done,
            stop=stop,
        )

    jobs = [job for program in programs for job in jobs_of(program)]
    try:
        run_jobs(jobs, max(program.plan.workers for program in programs))
    finally:
        parts.flush()
    return kept


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
    if checkpoints.held:
        observer.message(f"resumed    {checkpoints.taken:,} steps of members are taken already")
    return checkpoints


def save_members(
    path: Path, config: RunConfig, members: Sequence[Member], dataset: Dataset, *, alone: bool
) -> EvalResult:
    """Write a run of these members: one of them, or where there are more seeds their ensemble.

    ``alone`` says whether each was trained by itself, so that its bits are those of a single run.
    """
    drop_results(path)
    machine = fingerprint() | {"alone": alone}
    write_metadata(path, RunMetadata(config, dataset.vocab.symbols, dataset.record, None, machine))
    return save_results_of(path, config, members, dataset)


def save_results_of(
    path: Path, config: RunConfig, members: Sequence[Member], dataset: Dataset
) -> EvalResult:
    """Write the results of a run whose config.json is there; see save_members."""
    drop_results(path)
    model = build_model(config.model, len(dataset.vocab))
    params = members[0].params
    if config.seeds > 1:  # one may be all that did not diverge
        model = ensemble(model, len(members))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *(m.params for m in members))
    found = evaluate_and_sample(model, params, dataset, config)
    for member in members:
        whose = {"seed": member.config.seed} if config.seeds > 1 else {}
        last = {"step": member.steps, "dev_loss": member.dev_loss}
        append_metrics(path, [whose | line for line in (*member.lines, last)])
    losses = {"train_loss": found.train_loss, "dev_loss": found.dev_loss}
    append_metrics(path, [{"step": members[0].steps, **losses}])
    save_results(path, params, found.samples)
    return found
