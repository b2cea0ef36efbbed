"""The choices of a training -> a plan that nothing forbids any more: data, memory, disk, rate.

Imports no jax before the functions are called.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mm_jax.cli.common import check_runtime, choose_mesh, describe_setup, range_record
from mm_jax.cli.describe_data import note_data
from mm_jax.config.base import InputError
from mm_jax.config.runtime import RuntimeConfig
from mm_jax.config.training import LRRangeConfig, RunConfig
from mm_jax.experiments.search_space import seed_range, seeds_of
from mm_jax.runs.layout import RunMetadata, check_same_data
from mm_jax.runtime.console import Console

if TYPE_CHECKING:
    from mm_jax.experiments.grouping import Group
    from mm_jax.experiments.setup import Setup


class Plan(NamedTuple):
    """A run that nothing forbids any more: what it trains, and where."""

    config: RunConfig  # its learning rate is a number
    setup: "Setup"
    lr_range: dict[str, Any] | None  # of the range test that found the learning rate
    groups: "list[Group]"  # of the seeds; none for a single run
    mesh: Any


def make_plan(
    path: Path,
    config: RunConfig,
    metadata: RunMetadata | None,
    runtime: RuntimeConfig,
    console: Console,
) -> Plan:
    """Read the data, refuse what cannot be trained, and find the learning rate if it is auto."""
    from mm_jax.experiments.grouping import group_members
    from mm_jax.experiments.lr_range import range_optimizer
    from mm_jax.experiments.setup import load_setup
    from mm_jax.runs.checkpoint_manager import check_disk_space
    from mm_jax.training.optimizers import make_optimizer

    num_members = len(seed_range(config))
    check_runtime(config, runtime)
    mesh = choose_mesh(runtime, num_members)
    auto = config.optimizer.learning_rate == "auto"
    if auto:
        optimizer = range_optimizer(config.optimizer)
    else:
        optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer)
    config = dataclasses.replace(config, model=setup.config.model)
    if metadata is not None:
        check_same_data(path, metadata, setup.dataset.record, setup.vocab.symbols)
    check_disk_space(path, setup.state_bytes, 4 * setup.num_params, num_members)
    note_data(setup.dataset.info, console)
    if (note := setup.dataset.note_on_losses()) is not None:
        console.note(note)
    for line in describe_setup(setup):
        console.say(line)
    lr_range = metadata.lr_range if metadata else None
    if auto:
        config, lr_range = find_rate(config, setup, optimizer, console)
    groups: list[Group] = []
    if config.seeds > 1:
        groups = group_members(
            seeds_of(config),
            setup.dataset,
            members_per_slice=runtime.members_per_slice,
            mesh=mesh,
        )
    return Plan(config, setup, lr_range, groups, mesh)


def find_rate(
    config: RunConfig, setup: "Setup", optimizer: Any, console: Console
) -> tuple[RunConfig, dict[str, Any]]:
    """Return the choices with the learning rate that a range test suggests, and its record."""
    from mm_jax.experiments.lr_range import find_learning_rate

    defaults = LRRangeConfig()
    num_seeds = min(defaults.num_seeds, setup.max_seeds)
    states = setup.initial_states(optimizer, num_seeds)
    total = 2 * num_seeds * defaults.num_steps  # a wide sweep, then a narrow one
    try:
        with console.progress(total, lines=False) as update:
            test = find_learning_rate(
                setup.model,
                optimizer,
                states,
                setup.data,
                batch_size=setup.batch_size,
                update=update,
            )
    except InputError as error:
        reason = str(error).partition(";")[0]  # what follows is advice for lr-range
        raise InputError(f"--learning-rate auto: {reason}; give a number") from None
    rate = test.suggested_lr
    console.say(f"rate       {rate:.3g}: {test.suggestion.reason}")
    with_rate = dataclasses.replace(config.optimizer, learning_rate=rate)
    return dataclasses.replace(config, optimizer=with_rate), range_record(test)


def start_metadata(path: Path, plan: Plan, runtime: RuntimeConfig) -> RunMetadata:
    """Write the config.json of a new run, and return what it says."""
    from mm_jax.runs.writer import write_metadata
    from mm_jax.runtime.environment import fingerprint

    machine = fingerprint(deterministic=runtime.deterministic)
    machine["alone"] = all(group.plan.alone for group in plan.groups)
    dataset = plan.setup.dataset
    metadata = RunMetadata(
        plan.config, dataset.vocab.symbols, dataset.record, plan.lr_range, machine
    )
    write_metadata(path, metadata)
    return metadata
