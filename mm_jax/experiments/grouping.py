"""Choices of many runs -> groups of members: one for all that differ in numbers alone.

Numbers are seeds, rates, decays and whatever else is an array. Members with other shapes,
optimizers, batch sizes or lengths are in other groups; each group is compiled once.
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
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.setup import Setup, load_setup
from mm_jax.models.base import Model
from mm_jax.population.planning import SlicePlan, make_plan, member_bytes
from mm_jax.population.vmapped import init_member
from mm_jax.training.optimizers import make_optimizer, resolve_weight_decay
from mm_jax.training.state import TrainState

NO_RATE = ("lbfgs",)  # optimizers whose state has no numbers to set


class Group(NamedTuple):
    """Members that share one compiled program."""

    setup: Setup
    optimizer: optax.GradientTransformation
    plan: SlicePlan
    ids: list[int]  # the numbers of its members in the population


def common_config(config: RunConfig) -> RunConfig:
    """Return the choices with standard values for all that may differ within a group."""
    standard = dataclasses.replace(
        config.optimizer,
        learning_rate=1.0,
        weight_decay=_standard_decay(config.optimizer),
        clip_norm=None if config.optimizer.clip_norm is None else 1.0,
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


def _standard_decay(config: OptimizerConfig) -> float | None:
    return None if config.optimizer in NO_RATE else float(resolve_weight_decay(config) != 0)


def member_numbers(config: RunConfig) -> dict[str, float]:
    """Return the numbers of a member for init_member; all members of a group have the same ones."""
    optimizer = config.optimizer
    numbers = {"init_scale": config.init_scale}
    for name in ("regularization", "label_smoothing", "average_decay"):
        if getattr(config, name):
            numbers[name] = getattr(config, name)
    if optimizer.optimizer not in NO_RATE:
        numbers |= {
            "learning_rate": optimizer.rate,
            "weight_decay": resolve_weight_decay(optimizer),
        }
        if optimizer.clip_norm is not None:
            numbers["clip_norm"] = optimizer.clip_norm
    return numbers


def group_members(
    configs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    members_per_slice: int | None = None,
    mesh: Mesh | None = None,
) -> list[Group]:
    """Return the groups of all runs, in the order of their first members.

    Raises InputError where a run cannot be set up, or does not fit in memory, or a batch is not
    divisible by the devices that share it.
    """
    if not configs:
        raise InputError("there are no members to train")
    if members_per_slice is not None and members_per_slice > len(configs):
        raise InputError(
            f"--members-per-slice {members_per_slice} is more than all {len(configs):,} members"
        )
    ids_of: dict[RunConfig, list[int]] = defaultdict(list)
    for i, config in enumerate(configs):
        ids_of[common_config(config)].append(i)
    num_sharing = 1 if mesh is None else mesh.shape["data"]
    groups = []
    for common, ids in ids_of.items():
        optimizer = make_optimizer(common.optimizer, common.steps)
        setup = load_setup(common, optimizer, dataset=dataset)
        if setup.batch_size is not None and setup.batch_size % num_sharing:
            raise InputError(
                f"--data-parallel {num_sharing} does not divide --batch-size {setup.batch_size}"
            )
        arrays = member_arrays([configs[ids[0]]])
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), arrays)
        first_state = partial(state_initializer(setup.model, optimizer), None, row)
        each_bytes = member_bytes(setup.model, first_state, setup.data, setup.batch_size)
        wanted = members_per_slice and min(members_per_slice, len(ids))
        plan = make_plan(len(ids), each_bytes, members_per_slice=wanted, mesh=mesh)
        groups.append(Group(setup, optimizer, plan, ids))
    return groups


def member_arrays(configs: Sequence[RunConfig]) -> dict[str, Any]:
    """Return what sets members of one group apart, as arrays with an axis of members in front."""
    numbers = [member_numbers(config) for config in configs]
    orders = [config.seed if config.data_seed is None else config.data_seed for config in configs]
    return {
        "seed": np.array([config.seed for config in configs], np.uint32),
        "data_seed": np.array(orders, np.uint32),
        "numbers": {
            name: np.array([row[name] for row in numbers], np.float32) for name in numbers[0]
        },
    }


@cache
def state_initializer(model: Model, optimizer: optax.GradientTransformation) -> Any:
    """Return the function (None, a row of member_arrays) -> first state."""

    def initialize(_: None, row: dict[str, Any]) -> TrainState:
        key, key_data = jax.random.key(row["seed"]), jax.random.key(row["data_seed"])
        return init_member(model, optimizer, key, key_data=key_data, **row["numbers"])

    return initialize
