"""Many models at once, as one: a TrainState, or parameters, with an axis of P members in front.

``init``, ``fit``, ``evaluate`` and ``sample`` are those of a single model, vmapped over members; on
a mesh (mesh.py) members and batches are split over devices. Members may differ in their keys and in
every number that is an array.
"""

import dataclasses
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Examples, is_on_host
from mm_jax.models.base import Model, Params
from mm_jax.models.sampling import sample as sample_one
from mm_jax.runtime.keys import as_key
from mm_jax.training.data import read_by
from mm_jax.training.evaluate import block_size
from mm_jax.training.evaluate import evaluate as evaluate_one
from mm_jax.training.minibatches import Minibatches, gather_minibatches
from mm_jax.training.state import TrainState, check_population, init_state
from mm_jax.training.step import fit as fit_one

STATE_NUMBERS = ("init_scale", "regularization", "label_smoothing", "average_decay")
EVALUATION_EXAMPLES = 65536  # of all members together, that are evaluated at once


def init_member(
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    key_data: Key[Array, ""] | None = None,
    **numbers: float | Float[Array, ""],
) -> TrainState:
    """Return the state of one member before its first step.

    ``numbers`` are those of init_state (init_scale, regularization, label_smoothing, average_decay)
    and the hyperparameters that the optimizer keeps in its state (optax.inject_hyperparams);
    make_optimizer's has learning_rate, weight_decay and clip_norm. Raises InputError where it keeps
    none of that name.
    """
    own: dict[str, Any] = {name: numbers.pop(name) for name in STATE_NUMBERS if name in numbers}
    state = init_state(model, optimizer, key, key_data=key_data, **own)
    for name in numbers:
        if not optax.tree_utils.tree_get_all_with_path(state.opt_state, name, _is_hyperparameter):
            raise InputError(
                f"this optimizer has no hyperparameter {name} in its state, and a member can "
                f"differ only in one of these or in {', '.join(STATE_NUMBERS)}"
            )
    varied = {name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()}
    opt_state = optax.tree_utils.tree_set(state.opt_state, _is_hyperparameter, **varied)
    return dataclasses.replace(state, opt_state=opt_state)


def _is_hyperparameter(path: tuple[Any, ...], _: Any) -> bool:
    """Check whether a leaf is one of optax.inject_hyperparams, and not of a parameter's name."""
    return len(path) > 1 and getattr(path[-2], "name", None) == "hyperparams"


@partial(jax.jit, static_argnums=(0, 1))
def init(
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, " P"],
    *,
    key_data: Key[Array, " P"] | None = None,
    **numbers: Float[Array, " P"],
) -> TrainState:
    """Return the states of P members before their first step, each from its key.

    ``key_data`` decides the order of the data in place of ``key``. ``numbers``: see init_member,
    one for each member. Raises InputError where there are no members, or no such hyperparameter.
    """
    key = as_key(key, "key")
    if key.ndim != 1:
        raise InputError(
            f"key has the shape {key.shape}; a population needs one key for each member, as "
            "jax.random.split(key, P) makes them"
        )
    if not len(key):
        raise InputError("a population has at least one member")
    begin = partial(init_member, model, optimizer)
    return jax.vmap(lambda key, other, numbers: begin(key, key_data=other, **numbers))(
        key, key_data, numbers
    )


def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Corpus | Examples | Minibatches,
    *,
    num_steps: int,
    batch_size: int | None,
    limit: Any = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Float[Array, "P steps"]]:
    """Take ``num_steps`` steps with every member: training.step.fit, vmapped.

    All members learn from the same ``data``, or each from its own where a Batch has an axis of P
    members in front of that of the examples (bagging: Breiman 1996).
    A member is what it would be alone, but for rounding: matrices that are multiplied together are
    summed in another order. scheduler.py trains members one by one where that is as fast. On a
    ``mesh`` P has to be a multiple of its axis "models", the batch one of its axis "data". Raises
    InputError where ``state`` is not of a population, or the data are for another number of
    members.
    """
    num_members = check_population(state)
    member = jax.eval_shape(partial(jax.tree.map, itemgetter(0)), state.params)
    examples = read_by(model, data, member)
    if batch_size is not None and is_on_host(examples):
        examples = gather_each(examples, state, num_steps, batch_size, limit)
    own = has_own_data(examples, num_members)
    options = {"num_steps": num_steps, "batch_size": batch_size, "mesh": mesh, "own": own}
    return _fit(model, optimizer, state, examples, limit, **options)


@partial(jax.jit, static_argnames=("model", "optimizer", "num_steps", "batch_size", "mesh", "own"))
def _fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    limit: Any,
    *,
    own: bool,
    mesh: Mesh | None,
    **options: Any,
) -> tuple[TrainState, Float[Array, "P steps"]]:
    def one(state: TrainState, data: Any) -> tuple[TrainState, Float[Array, " steps"]]:
        return fit_one(model, optimizer, state, data, limit=limit, mesh=mesh, **options)

    axis = None if mesh is None else "models"
    return jax.vmap(one, in_axes=(0, 0 if own else None), spmd_axis_name=axis)(state, data)


def has_own_data(data: Any, num_members: int) -> bool:
    """Check whether each of so many members has its own examples, an axis in front of theirs.

    Raise InputError where there are examples for another number of members.
    """
    if isinstance(data, Minibatches):
        return True
    if not (isinstance(data, Batch) and data.num_axes):
        return False
    if data.num_axes > 1 or len(data.tokens) != num_members:
        raise InputError(
            f"the data have {data.num_axes} axes {data.tokens.shape[:-2]} in front of their "
            f"examples; one, of the {num_members} members, gives each its own"
        )
    return True


def gather_each(
    examples: Any, state: TrainState, num_steps: int, batch_size: int, limit: Any
) -> Minibatches:
    """Return the minibatches of each member, which the host gathers from a mapped file."""
    steps = num_steps if limit is None else min(int(limit), num_steps)
    each = [
        gather_minibatches(examples, key, int(step), steps, batch_size, num_steps)
        for key, step in zip(state.key, state.step, strict=True)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def evaluate(
    model: Model, params: Params, data: Corpus | Examples, *, mesh: Mesh | None = None
) -> Float[Array, " P"]:
    """Return the mean nats per symbol of each member over the whole of ``data``, or its own data.

    ``data`` as in ``fit``; raises InputError as that does.
    """
    num_members = len(jax.tree.leaves(params)[0])
    member = jax.eval_shape(partial(jax.tree.map, itemgetter(0)), params)
    examples = read_by(model, data, member, packed=True)
    own = has_own_data(examples, num_members)
    num = num_members // (1 if mesh is None else mesh.shape["models"])
    size = max(1, min(4096, EVALUATION_EXAMPLES // num))
    size = block_size(model, member, examples, size, num)
    if is_on_host(examples):
        members = [jax.tree.map(itemgetter(i), params) for i in range(num_members)]
        return jnp.stack([evaluate_one(model, each, examples) for each in members])
    return _evaluate(model, params, examples, batch_size=size, mesh=mesh, own=own)


@partial(jax.jit, static_argnames=("model", "batch_size", "mesh", "own"))
def _evaluate(
    model: Model, params: Params, data: Any, *, mesh: Mesh | None, own: bool, batch_size: int
) -> Float[Array, " P"]:
    def one(params: Params, data: Any) -> Float[Array, ""]:
        return evaluate_one(model, params, data, batch_size=batch_size, mesh=mesh)

    axis = None if mesh is None else "models"
    return jax.vmap(one, in_axes=(0, 0 if own else None), spmd_axis_name=axis)(params, data)


def sample(
    model: Model, params: Params, key: Key[Array, " P"], **options: Any
) -> tuple[Int[Array, "P num max_len"], Bool[Array, "P num"]]:
    """Draw lines from each member with its key; ``options`` are those of models.sampling.sample."""
    return jax.vmap(lambda params, key: sample_one(model, params, key, **options))(params, key)
