"""A tree of arrays <-> NumPy arrays by name, as files hold them; a key is its numbers.

A name is the way to a leaf: ``params.W1``, ``opt_state.0.count``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mm_jax.config.base import InputError


class TreeSpec(NamedTuple):
    """What a tree looks like: its structure, and of each leaf its name, shape and dtype."""

    structure: Any
    leaves: dict[str, jax.ShapeDtypeStruct]  # in their order; of a key that of its numbers
    keys: dict[str, Any]  # the implementation of each leaf that is a key


def spec_of(make: Callable[[], Any]) -> TreeSpec:
    """Return what ``make()`` would return looks like; it is traced only."""
    found: list[Any] = []

    def numbers() -> list[jax.Array]:
        tree = make()
        found[:] = jax.tree.structure(tree), _keys(tree), list(_named(tree))
        return list(named_leaves(tree).values())

    specs = jax.eval_shape(numbers)
    structure, keys, names = found
    return TreeSpec(structure, dict(zip(names, specs, strict=True)), keys)


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a tree by name, on the host."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(tree).items()}


def from_arrays(arrays: Mapping[str, Any], shape: TreeSpec) -> Any:
    """Return the tree of such leaves; works under jit and vmap too."""
    leaves = [arrays[name] for name in shape.leaves]
    wrapped = (
        jax.random.wrap_key_data(leaf, impl=shape.keys[name]) if name in shape.keys else leaf
        for name, leaf in zip(shape.leaves, map(jnp.asarray, leaves), strict=True)
    )
    return jax.tree.unflatten(shape.structure, wrapped)


def check_arrays(
    arrays: Mapping[str, np.ndarray], leaves: Mapping[str, Any], where: str, what: str
) -> None:
    """Raise InputError for a missing, an unknown, a wrong array; ``what`` asks for ``leaves``."""
    for name in sorted(leaves.keys() | arrays.keys()):
        want, got = leaves.get(name), arrays.get(name)
        if want is None or got is None or (want.shape, want.dtype) != (got.shape, got.dtype):
            found, due = (a if a is None else f"{a.dtype}{list(a.shape)}" for a in (got, want))
            raise InputError(f"{where} does not fit {what}: {name} is {found}, should be {due}")


def _named(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in flat}


def _keys(tree: Any) -> dict[str, Any]:
    typed = jax.dtypes.prng_key
    return {
        name: jax.random.key_impl(leaf)
        for name, leaf in _named(tree).items()
        if jnp.issubdtype(leaf.dtype, typed)
    }


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, wherever they are; of a key its numbers."""
    keys = _keys(tree)
    return {
        name: jax.random.key_data(leaf) if name in keys else leaf
        for name, leaf in _named(tree).items()
    }
