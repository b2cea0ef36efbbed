"""Choices of many runs -> programs: one for all that differ in numbers alone.

Numbers are seeds, rates, decays and whatever else is an array; shapes, optimizers, batch sizes and
lengths make programs of their own, compiled once each.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mm_jax.config.base import InputError
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.setup import Setup, load_setup
from mm_jax.models.base import Model
from mm_jax.population.scheduler import SlicePlan, make_plan, member_bytes
from mm_jax.population.vmapped import init_member
from mm_jax.training.optimizers import decay_of, make_optimizer
from mm_jax.training.step import TrainState

NO_RATE = ("lbfgs",)  # optimizers whose state has no numbers to set


class Group(NamedTuple):
    """What members have in common that are trained by one program."""

    setup: Setup
    optimizer: optax.GradientTransformation
    plan: SlicePlan
    ids: list[int]  # of its members


def common_config(config: RunConfig) -> RunConfig:
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


def member_numbers(config: RunConfig) -> dict[str, float]:
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


def group_members(
    configs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    members_per_slice: int | None = None,
    mesh: Mesh | None = None,
) -> list[Group]:
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
        groups[common_config(config)].append(i)
    shared = 1 if mesh is None else mesh.shape["data"]
    programs = []
    for common, ids in groups.items():
        optimizer = make_optimizer(common.optimizer, common.steps)
        setup = load_setup(common, optimizer, dataset=dataset)
        if setup.batch_size is not None and setup.batch_size % shared:
            raise InputError(
                f"--data-parallel {shared} does not divide --batch-size {setup.batch_size}"
            )
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), member_arrays(configs, ids[:1]))
        begin = partial(state_initializer(setup.model, optimizer), None, row)
        each = member_bytes(setup.model, begin, setup.data, setup.batch_size)
        wanted = members_per_slice and min(members_per_slice, len(ids))
        plan = make_plan(len(ids), each, members_per_slice=wanted, mesh=mesh)
        programs.append(Group(setup, optimizer, plan, ids))
    return programs


def member_arrays(configs: Sequence[RunConfig], ids: Sequence[int]) -> dict[str, Any]:
    """Return what sets members of one program apart, as arrays with an axis of members."""
    each = [configs[i] for i in ids]
    numbers = [member_numbers(config) for config in each]
    orders = [c.seed if c.data_seed is None else c.data_seed for c in each]
    return {
        "seed": np.array([config.seed for config in each], np.uint32),
        "data_seed": np.array(orders, np.uint32),
        "numbers": {
            name: np.array([row[name] for row in numbers], np.float32) for name in numbers[0]
        },
    }


@cache
def state_initializer(model: Model, optimizer: optax.GradientTransformation) -> Any:
    """Return the function (nothing, row of rows_of) -> first state."""

    def begin(_: None, row: dict[str, Any]) -> TrainState:
        key, key_data = jax.random.key(row["seed"]), jax.random.key(row["data_seed"])
        return init_member(model, optimizer, key, key_data=key_data, **row["numbers"])

    return begin
