"""All devices, of one process or of many, as one mesh with the axes "models" and "data".

The members of a population are split over the first axis, the examples of a batch over the second.
Arrays go in whole and come out whole, whatever part of them a process holds.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mm_jax.config.base import InputError
from mm_jax.config.runtime import RuntimeConfig

JOIN_SECONDS = 120  # to wait for the other processes


def join(config: RuntimeConfig) -> None:
    """Make this process one of many, if ``config`` names a coordinator; before JAX is used.

    Raises InputError where the others cannot be found.
    """
    if config.coordinator is None:
        return
    options: dict[str, Any] = {}
    if config.coordinator != "auto":
        options["coordinator_address"] = config.coordinator
    if config.num_processes is not None:
        options |= {"num_processes": config.num_processes, "process_id": config.process_id}
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(**options, initialization_timeout=JOIN_SECONDS)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--coordinator {config.coordinator}: {reason}") from None


def is_primary() -> bool:
    """Return whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def make_mesh(num_models: int | None = None, num_data: int = 1) -> Mesh:
    """Return a mesh for ``num_models`` members, ``num_data`` devices of which share each batch.

    Its axis "models" has a group of ``num_data`` devices for each member, or all groups there are;
    its axis "data" has the devices of a group. Raises InputError where the devices cannot be
    divided so.
    """
    devices = jax.devices()
    if num_data > len(devices) or len(devices) % num_data:
        raise InputError(
            f"--data-parallel {num_data} does not divide the {len(devices)} available devices"
        )
    num_groups = len(devices) // num_data
    if num_models is None or num_models > num_groups:
        num_models = num_groups
    if jax.process_count() > 1 and num_models < num_groups:
        raise InputError(
            f"{num_models} of {num_groups} groups of devices would have work, and every process "
            f"needs some; --data-parallel {len(devices) // num_models} shares each batch among more"
        )
    used = np.array(devices[: num_models * num_data]).reshape(num_models, num_data)
    return Mesh(used, ("models", "data"))


def place(tree: Any, mesh: Mesh, *axes: str | None) -> Any:
    """Put arrays on a mesh, their first axes split over ``axes``, or whole on every device.

    A population is placed by ``place(state, mesh, "models")``, data by ``place(data, mesh)``.
    Every process has to have the same arrays.
    """
    sharding = NamedSharding(mesh, P(*axes))

    def put(leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            key_data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def split(tree: Any, mesh: Mesh | None, axis: int) -> Any:
    """Split arrays inside a jitted function, along an axis, over the axis "data" of a mesh."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, P(*[None] * axis, "data"))
    return jax.lax.with_sharding_constraint(tree, sharding)


def whole(tree: Any) -> Any:
    """Return arrays of a mesh as NumPy arrays, whole, in every process."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)
