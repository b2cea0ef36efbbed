"""How a population of any size is cut into slices that fit in memory.

On a CPU a slice is one member, trained as it would be alone, bit for bit, and as many are trained
side by side as there are cores: no other form was faster. On a GPU, a TPU or a mesh of devices a
slice is one vmapped program, as large as memory allows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from mm_jax.config.base import InputError
from mm_jax.models.base import Model, Params
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import device_bytes, num_cores
from mm_jax.training.loss import loss
from mm_jax.training.memory import intermediates
from mm_jax.training.state import TrainState


class SlicePlan(NamedTuple):
    """How a population is cut into slices."""

    members: int  # of a slice; a single one is trained as it would be alone
    workers: int = 1  # slices that are trained side by side
    mesh: Mesh | None = None

    @property
    def alone(self) -> bool:
        """Whether a slice is a single model, without an axis of members."""
        return self.members == 1 and self.mesh is None


def make_plan(
    num_members: int,
    member_bytes: int,
    *,
    members_per_slice: int | None = None,
    mesh: Mesh | None = None,
) -> SlicePlan:
    """Return how ``num_members`` members of ``member_bytes`` each are cut into slices.

    A slice has ``members_per_slice`` members, by default as many as fit in half of the memory, or
    one on a CPU. Raises InputError where not even one fits, where ``members_per_slice`` do not fit,
    or where there are not so many members.
    """
    device, wanted = jax.local_devices()[0], members_per_slice
    if wanted is not None and not 1 <= wanted <= num_members:
        raise InputError(
            f"--members-per-slice {wanted} must be from 1 to the {num_members:,} members"
        )
    num_groups = 1 if mesh is None else mesh.shape["models"]
    on_cpu = device.platform == "cpu"
    sharing = len(mesh.local_devices) if mesh is not None and on_cpu else 1
    available_bytes = device_bytes(device) // 2 // sharing  # devices of a CPU share its memory
    most = available_bytes // member_bytes * num_groups
    if available_bytes < member_bytes:
        raise InputError(
            f"one model in training takes about {size_text(member_bytes)}, and there are "
            f"{size_text(available_bytes)} for it; a smaller model, context or batch takes less"
        )
    if wanted is not None and wanted > most:
        raise InputError(
            f"--members-per-slice {wanted}: only {most:,} members of about "
            f"{size_text(member_bytes)} each fit in memory at once"
        )
    if mesh is not None:
        members = min(num_members, most) if wanted is None else wanted
        return SlicePlan(-(-members // num_groups) * num_groups, 1, mesh)
    if not on_cpu:
        return SlicePlan(min(num_members, most) if wanted is None else wanted)
    members = wanted or 1
    num_slices = -(-num_members // members)
    return SlicePlan(members, max(1, min(num_cores(), most // members, num_slices)))


def cut_into_slices(members: np.ndarray, plan: SlicePlan) -> list[np.ndarray]:
    """Return the members of each slice; the last slice may have fewer than the others."""
    return [members[first : first + plan.members] for first in range(0, len(members), plan.members)]


def member_bytes(
    model: Model, initialize: Callable[[], TrainState], data: Any, batch_size: int | None
) -> int:
    """Return about how many bytes one member takes: its state three times, and one step.

    Of a step every intermediate array is counted, as if none were freed before its end.
    ``initialize`` makes the first state; it is only traced.
    """
    size = data.num_examples if batch_size is None else batch_size

    def step(params: Params, data: Any) -> Params:
        return jax.grad(partial(loss, model))(params, data.take(jnp.zeros(size, jnp.int32)))

    def arrays() -> tuple[list[Array], Params]:
        state = initialize()
        return jax.tree.leaves(state), state.params

    leaves, params = jax.eval_shape(arrays)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), data)
    jaxpr = jax.make_jaxpr(step)(params, shapes)
    return 3 * _num_bytes(leaves) + _num_bytes(intermediates(jaxpr.jaxpr))


def _num_bytes(arrays: Any) -> int:
    return sum(array.size * array.dtype.itemsize for array in arrays)
