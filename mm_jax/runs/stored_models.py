"""The arrays of a run's file -> its model and parameters, whatever kind of run it is."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mm_jax.config.base import InputError
from mm_jax.config.training import AnyConfig, CountConfig, MixConfig, RunConfig
from mm_jax.models.base import Model, Params
from mm_jax.models.context_frequency import unusable_table
from mm_jax.models.ensemble import ensemble
from mm_jax.models.good_turing import good_turing, unusable_tree
from mm_jax.models.mixture import FREQUENCY, mixture, mixture_params
from mm_jax.models.registry import build_model
from mm_jax.runs.layout import CONFIG
from mm_jax.runs.named_arrays import check_arrays


def stored_model(
    config: AnyConfig,
    vocab_size: int,
    arrays: dict[str, np.ndarray],
    file: Path,
    num_members: int,
) -> tuple[Model, Params]:
    """Return the model of a run and its parameters, from the ``arrays`` of ``file``.

    ``num_members`` is how many seeds of it the arrays hold. Raises InputError where they do not
    fit.
    """
    if isinstance(config, MixConfig):
        return _mixed(config, vocab_size, arrays, file)
    return _single(config, vocab_size, arrays, file, num_members)


def num_members_of(arrays: dict[str, np.ndarray]) -> int:
    """Return how many members of an ensemble a file holds: all of them, or those that trained."""
    shapes = [array.shape for array in arrays.values()]
    return shapes[0][0] if shapes and shapes[0] else 0


def _single(
    config: RunConfig | CountConfig,
    vocab_size: int,
    arrays: dict[str, np.ndarray],
    file: Path,
    num_members: int,
) -> tuple[Model, Params]:
    """Return the model of a run, of several seeds their ensemble, and its parameters."""
    model = build_model(config.model, vocab_size)
    if isinstance(config, RunConfig) and config.seeds > 1:
        if not num_members:
            raise InputError(f"{file} holds no members of an ensemble")
        model = ensemble(model, num_members)
    return model, _checked_params(arrays, file, model)


def _mixed(
    config: MixConfig, vocab_size: int, arrays: dict[str, np.ndarray], file: Path
) -> tuple[Model, Params]:
    """Return what a run of several runs is, and its parameters."""
    if not config.model.good_turing:
        return _mixture(config, vocab_size, arrays, file)
    inner, tree = _taken(arrays, "model."), _taken(arrays, "tree.")
    model, params = _mixture(config, vocab_size, inner, file)
    if problem := unusable_tree(tree, vocab_size):
        raise InputError(f"{file} does not fit {CONFIG}: {problem}")
    for name in arrays:
        raise InputError(f"{file} does not fit {CONFIG}: {name} is unknown")
    return good_turing(model), {"model": params, "tree": jax.tree.map(jnp.asarray, tree)}


def _mixture(
    config: MixConfig, vocab_size: int, arrays: dict[str, np.ndarray], file: Path
) -> tuple[Model, Params]:
    """Return the mixture of the models of several runs, and its parameters."""
    weights, table = _mixing(config, vocab_size, arrays, file)
    models, members = [], []
    for i, run in enumerate(config.runs):
        own = _taken(arrays, f"members.{i}.")
        if isinstance(run, MixConfig):
            model, params = _mixed(run, vocab_size, own, file)
        else:
            model, params = _single(run, vocab_size, own, file, num_members_of(own))
        models.append(model)
        members.append(params)
    for name in arrays:
        raise InputError(f"{file} does not fit {CONFIG}: {name} is unknown")
    return mixture(tuple(models), config.model.kind), mixture_params(weights, members, table)


def _mixing(
    config: MixConfig, vocab_size: int, arrays: dict[str, np.ndarray], file: Path
) -> tuple[np.ndarray, dict[str, np.ndarray] | None]:
    """Take the weights of a mixture out of ``arrays``, and by frequency its table of contexts."""
    weights, num = arrays.pop("weights", np.zeros(0)), len(config.runs)
    by_frequency = config.model.kind == FREQUENCY
    fits = weights.ndim == 1 + by_frequency and weights.size and weights.shape[-1] == num
    if not fits or not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError(
            f"{file} does not fit {CONFIG}: weights are not {num} numbers of 0 or more"
            + (" for each bin" if by_frequency else "")
        )
    if not by_frequency:
        return weights, None
    table = _taken(arrays, "frequency.")
    if problem := unusable_table(table, vocab_size, len(weights)):
        raise InputError(f"{file} does not fit {CONFIG}: {problem}")
    return weights, table


def _taken(arrays: dict[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    """Take out of ``arrays`` those whose name begins so; return them by the rest of the name."""
    names = [name for name in arrays if name.startswith(start)]
    return {name.removeprefix(start): arrays.pop(name) for name in names}


def _checked_params(arrays: dict[str, np.ndarray], file: Path, model: Model) -> Params:
    """Return arrays as the parameters of a model. Raises InputError where they cannot be that."""
    names = sorted(arrays)
    if model.unusable is not None:
        problem = model.unusable(arrays)
        if problem:
            raise InputError(f"{file} does not fit {CONFIG}: {problem}")
    else:
        expected = flatten_dict(jax.eval_shape(model.init, jax.random.key(0)), sep=".")
        check_arrays(arrays, _in_its_precision(expected, arrays), str(file), CONFIG)
        names = list(expected)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"{file} holds no usable model: {name} is not finite")
            if array.dtype.kind == "i" and array.min(initial=0) < 0:
                raise InputError(f"{file} holds no usable model: {name} has a negative number")
    return unflatten_dict({name: jnp.asarray(arrays[name]) for name in names}, sep=".")


def _in_its_precision(
    expected: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return what is expected in the precision of a run, which may be another (JAX_ENABLE_X64)."""

    def dtype(name: str, wanted: np.dtype) -> np.dtype:
        found = arrays[name].dtype if name in arrays else wanted
        return found if {found.name, wanted.name} <= {"float32", "float64"} else wanted

    return {
        name: jax.ShapeDtypeStruct(leaf.shape, dtype(name, leaf.dtype))
        for name, leaf in expected.items()
    }
