"""Choices of many runs -> their trained members: one program for all that differ in numbers alone.

Numbers are seeds, rates, decays and whatever else is an array; shapes, optimizers, batch sizes and
lengths make programs of their own, compiled once each. Slices of all programs share the cores.
"""

import dataclasses
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mm_jax.choices import InputError
from mm_jax.config import RunConfig
from mm_jax.lr import decay_of, make_optimizer
from mm_jax.model import Model, Params
from mm_jax.models import build_model
from mm_jax.population import ensemble, init_member
from mm_jax.run import append_metrics, create, save_results
from mm_jax.session import LossLines
from mm_jax.slices import (
    Plan,
    make_plan,
    member_bytes,
    run_jobs,
    slice_arrays,
    slice_losses,
    train_slices,
)
from mm_jax.task import Measured, Source, Task, load_task, measure
from mm_jax.train import TrainState

METRIC_LINES = 200  # of a member
NO_RATE = ("lbfgs",)  # optimizers whose state has no numbers to set


class Member(NamedTuple):
    """One run of a population, after training or at a stop on the way."""

    config: RunConfig
    num_params: int
    steps: int  # taken
    dev_loss: float | None  # nats; None where no lines are held out
    log: LossLines  # what its losses are told by
    lines: list[dict[str, Any]]  # of metrics: step, loss, learning_rate
    params: Params  # to use: averages where they are kept; NumPy
    leaves: list[np.ndarray]  # of its whole state, to go on from

    @property
    def good(self) -> bool:
        """Whether it can be used: its numbers and its loss on dev are finite."""
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params))
        return finite and (self.dev_loss is None or math.isfinite(self.dev_loss))


class Program(NamedTuple):
    """What members have in common that are trained by one program."""

    task: Task
    optimizer: optax.GradientTransformation
    plan: Plan
    ids: list[int]  # of its members


def program_of(config: RunConfig) -> RunConfig:
    """Return the choices with standard values for all that a member can have for itself."""
    descent = config.optimizer
    decay = float(decay_of(descent) != 0)
    standard = dataclasses.replace(
        descent,
        learning_rate=1.0,
        weight_decay=None if descent.optimizer in NO_RATE else decay,
        clip_norm=None if descent.clip_norm is None else 1.0,
    )
    return dataclasses.replace(
        config,
        optimizer=standard,
        seed=0,
        data_seed=None,
        seeds=1,
        init_scale=1.0,
        regularization=float(config.regularization > 0),
        label_smoothing=0.5 * (config.label_smoothing > 0),
        average_decay=0.5 * (config.average_decay > 0),
    )


def numbers_of(config: RunConfig) -> dict[str, float]:
    """Return the numbers of a member for init_member; members of one program have the same ones."""
    descent = config.optimizer
    numbers = {"init_scale": config.init_scale}
    for name in ("regularization", "label_smoothing", "average_decay"):
        if getattr(config, name):
            numbers[name] = getattr(config, name)
    if descent.optimizer not in NO_RATE:
        numbers |= {"learning_rate": descent.rate, "weight_decay": decay_of(descent)}
        if descent.clip_norm is not None:
            numbers["clip_norm"] = descent.clip_norm
    return numbers


def plan_programs(
    configs: Sequence[RunConfig],
    source: Source,
    *,
    members_per_slice: int | None = None,
    mesh: Mesh | None = None,
) -> list[Program]:
    """Return the programs of all runs, each with the members that it trains.

    Raises InputError where a run cannot be made, or does not fit in memory, or a batch is not
    divided by the devices that share it.
    """
    if not configs:
        raise InputError("there are no members to train")
    if members_per_slice is not None and members_per_slice > len(configs):
        raise InputError(
            f"--members-per-slice {members_per_slice} is more than all {len(configs):,} members"
        )
    groups: dict[RunConfig, list[int]] = defaultdict(list)
    for i, config in enumerate(configs):
        groups[program_of(config)].append(i)
    shared = 1 if mesh is None else mesh.shape["data"]
    programs = []
    for common, ids in groups.items():
        optimizer = make_optimizer(common.optimizer, common.steps)
        task = load_task(common, optimizer, source=source)
        if task.batch_size is not None and task.batch_size % shared:
            raise InputError(
                f"--data-parallel {shared} does not divide --batch-size {task.batch_size}"
            )
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), rows_of([configs[ids[0]]]))
        begin = partial(beginning(task.model, optimizer), None, row)
        each = member_bytes(task.model, begin, task.data, task.batch_size)
        wanted = members_per_slice and min(members_per_slice, len(ids))
        plan = make_plan(len(ids), each, members_per_slice=wanted, mesh=mesh)
        programs.append(Program(task, optimizer, plan, ids))
    return programs


def rows_of(configs: Sequence[RunConfig]) -> dict[str, Any]:
    """Return what sets members of one program apart, as arrays with an axis of members."""
    numbers = [numbers_of(config) for config in configs]
    orders = [c.seed if c.data_seed is None else c.data_seed for c in configs]
    return {
        "seed": np.array([config.seed for config in configs], np.uint32),
        "data_seed": np.array(orders, np.uint32),
        "numbers": {
            name: np.array([each[name] for each in numbers], np.float32) for name in numbers[0]
        },
    }


@cache
def beginning(model: Model, optimizer: optax.GradientTransformation) -> Any:
    """Return the function (nothing, row of rows_of) -> first state."""

    def begin(_: None, row: dict[str, Any]) -> TrainState:
        key, key_data = jax.random.key(row["seed"]), jax.random.key(row["data_seed"])
        return init_member(model, optimizer, key, key_data=key_data, **row["numbers"])

    return begin


@cache
def resuming(model: Model, optimizer: optax.GradientTransformation, names: tuple[str, ...]) -> Any:
    """Return the function (nothing, leaves of a state) -> that state."""

    def begin(_: None, leaves: list[Any]) -> TrainState:
        numbers = dict.fromkeys(names, jnp.float32(0))
        state = init_member(model, optimizer, jax.random.key(0), **numbers)
        like, structure = jax.tree.flatten(state)
        typed = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in like]
        wrap = jax.random.wrap_key_data
        keyed = [wrap(leaf) if key else leaf for leaf, key in zip(leaves, typed, strict=True)]
        return jax.tree.unflatten(structure, keyed)

    return begin


def train_members(
    configs: Sequence[RunConfig],
    programs: Sequence[Program],
    *,
    until: Callable[[RunConfig], int] = lambda config: config.steps,
    before: Mapping[int, Member] | None = None,
    keep_state: bool = False,
    update: Callable[[int, float], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[int, Member], Any] = lambda _, member: member,
) -> dict[int, Any]:
    """Train a member for each of ``configs``, as ``plan_programs`` divided them.

    ``until`` says after how many steps, by default all; with ``before``, members that have their
    state, only those go on. ``update(steps of all members, mean loss)`` is called as they go,
    ``stop()`` asked after each chunk. Returns what ``keep(number, member)`` returns of each that
    was begun; it is called in several threads. A member whose loss is not finite goes on with that.
    """
    kept: dict[int, Any] = {}
    lock, total = threading.Lock(), 0

    def said(part: np.ndarray) -> None:
        nonlocal total
        with lock:
            total += part.size
            if update:
                update(total, float(part.mean(dtype=np.float64)))

    def jobs_of(program: Program) -> list[Callable[[], None]]:
        task, optimizer, plan, ids = program
        ids = [i for i in ids if before is None or i in before]
        if not ids:
            return []
        model, steps = task.model, until(configs[ids[0]])
        begin, taken_before = beginning(model, optimizer), 0
        rows: Any = rows_of([configs[i] for i in ids])
        if before is not None:
            names = tuple(sorted(numbers_of(configs[ids[0]])))
            begin, taken_before = resuming(model, optimizer, names), before[ids[0]].steps
            stacked = zip(*(before[i].leaves for i in ids), strict=True)
            rows = [np.stack(leaves) for leaves in stacked]
        logs = [_log(configs[i], before[i] if before else None) for i in ids]

        def note(members: np.ndarray, _: int, part: np.ndarray) -> None:
            for member, losses in zip(members, part, strict=True):
                log, lines = logs[member]
                lines += log.add(losses)
            said(part)

        def done(members: np.ndarray, taken: int, state: TrainState) -> None:
            dev = None
            if task.dev_data is not None:
                dev = slice_losses(model, state.best_params, task.dev_data, plan)
            params = slice_arrays(state.best_params, plan)
            leaves = slice_arrays(jax.tree.leaves(state), plan) if keep_state else []
            for row, member in enumerate(members):
                i, (log, lines) = ids[member], logs[member]
                ended = Member(
                    config=configs[i],
                    num_params=task.num_params,
                    steps=taken_before + taken,
                    dev_loss=None if dev is None else float(dev[row]),
                    log=log,
                    lines=lines,
                    params=jax.tree.map(lambda leaf, row=row: leaf[row].copy(), params),
                    leaves=[leaf[row].copy() for leaf in leaves],
                )
                kept[i] = keep(i, ended)

        return train_slices(
            model,
            optimizer,
            begin,
            None,
            rows,
            task.data,
            num_steps=steps - taken_before,
            batch_size=task.batch_size,
            plan=plan,
            note=note,
            done=done,
            stop=stop,
        )

    jobs = [job for program in programs for job in jobs_of(program)]
    run_jobs(jobs, max(program.plan.workers for program in programs))
    return kept


def _log(config: RunConfig, before: Member | None) -> tuple[LossLines, list[dict[str, Any]]]:
    if before is not None:
        return before.log, before.lines
    return LossLines(config.optimizer, config.steps, METRIC_LINES), []


def save_members(
    path: Path, config: RunConfig, members: Sequence[Member], source: Source
) -> Measured:
    """Write a run of these members: one of them, or where there are more seeds their ensemble."""
    create(path, config, source.vocab, source.record)
    return save_results_of(path, config, members, source)


def save_results_of(
    path: Path, config: RunConfig, members: Sequence[Member], source: Source
) -> Measured:
    """Write the results of a run whose config.json is there; see save_members."""
    model = build_model(config.model, len(source.vocab))
    params = members[0].params
    if config.seeds > 1:  # one may be all that did not diverge
        model = ensemble(model, len(members))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *(m.params for m in members))
    found = measure(model, params, source, config)
    for member in members:
        whose = {"seed": member.config.seed} if config.seeds > 1 else {}
        last = {"step": member.steps, "dev_loss": member.dev_loss}
        append_metrics(path, [whose | line for line in (*member.lines, last)])
    losses = {"train_loss": found.train_loss, "dev_loss": found.dev_loss}
    append_metrics(path, [{"step": members[0].steps, **losses}])
    save_results(path, params, found.samples)
    return found
