"""A tree of arrays <-> NumPy arrays by name, as files hold them; a random key is its numbers.

A name is the path of a leaf in its tree: ``params.W1``, ``opt_state.0.count``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mm_jax.config.base import InputError


class TreeSpec(NamedTuple):
    """The structure of a tree, and of each leaf its name, shape and dtype."""

    structure: Any
    leaves: dict[str, jax.ShapeDtypeStruct]  # in the order of the tree; of a key that of its data
    keys: dict[str, Any]  # the implementation of each leaf that is a random key


def spec_of(make: Callable[[], Any]) -> TreeSpec:
    """Return the TreeSpec of what ``make()`` returns; it is traced only."""
    traced: list[Any] = []

    def key_data() -> list[jax.Array]:
        tree = make()
        traced[:] = jax.tree.structure(tree), _key_impls(tree), list(_leaves_by_name(tree))
        return list(named_leaves(tree).values())

    specs = jax.eval_shape(key_data)
    structure, keys, names = traced
    return TreeSpec(structure, dict(zip(names, specs, strict=True)), keys)


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a tree by name, on the host."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(tree).items()}


def from_arrays(arrays: Mapping[str, Any], spec: TreeSpec) -> Any:
    """Return the tree with such leaves; works under jit and vmap too."""
    leaves = (jnp.asarray(arrays[name]) for name in spec.leaves)
    wrapped = (
        jax.random.wrap_key_data(leaf, impl=spec.keys[name]) if name in spec.keys else leaf
        for name, leaf in zip(spec.leaves, leaves, strict=True)
    )
    return jax.tree.unflatten(spec.structure, wrapped)


def check_arrays(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[str, Any], file: str, owner: str
) -> None:
    """Raise InputError for an array that is missing, unknown, or of a wrong shape or dtype.

    ``leaves`` are the shapes and dtypes that ``owner``, which the error names, asks of ``file``.
    """
    for name in sorted(leaves.keys() | arrays.keys()):
        expected, actual = _describe(leaves.get(name)), _describe(arrays.get(name))
        if _other_precision(leaves.get(name), arrays.get(name)):
            used, here = ("with", "on") if arrays[name].dtype.itemsize == 8 else ("without", "off")
            raise InputError(
                f"{file} was made {used} JAX_ENABLE_X64, and its steps go on or repeat only where "
                f"that is {here}"
            )
        if expected is None or actual is None or expected != actual:
            raise InputError(
                f"{file} does not fit {owner}: {name} is {actual}, should be {expected}"
            )


def _other_precision(leaf: Any, array: np.ndarray | None) -> bool:
    if leaf is None or array is None:
        return False
    dtypes = {np.dtype(leaf.dtype).name, array.dtype.name}
    return leaf.shape == array.shape and dtypes == {"float32", "float64"}


def _describe(array: Any) -> str | None:
    return None if array is None else f"{array.dtype}{list(array.shape)}"


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, on any device or traced; of a random key its data."""
    keys = _key_impls(tree)
    return {
        name: jax.random.key_data(leaf) if name in keys else leaf
        for name, leaf in _leaves_by_name(tree).items()
    }


def _leaves_by_name(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in flat}


def _key_impls(tree: Any) -> dict[str, Any]:
    return {
        name: jax.random.key_impl(leaf)
        for name, leaf in _leaves_by_name(tree).items()
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }
