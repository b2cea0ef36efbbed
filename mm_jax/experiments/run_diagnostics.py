"""A state in training -> a line of metrics with what its next step would do inside the net."""

from functools import partial
from operator import itemgetter
from typing import Any

import jax
import optax

from mm_jax.data.examples import is_on_host
from mm_jax.models.base import Model
from mm_jax.training.diagnostics import look_inside
from mm_jax.training.state import TrainState
from mm_jax.training.step import gather_minibatches, minibatch_ids


def diagnostics_line(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    batch_size: int | None,
) -> dict[str, Any]:
    """Return a line with the share of saturated units, and updates relative to parameters.

    They are those of the step that ``state`` takes next, with its minibatch of ``data``.
    """
    if is_on_host(data) and batch_size is not None:
        minibatches = gather_minibatches(data, state.key, int(state.step), 1, batch_size, 1)
        data, batch_size = jax.tree.map(itemgetter(0), minibatches.batches), None
    saturated, ratios = jax.device_get(_diagnostics(model, optimizer, state, data, batch_size))
    return {
        "step": int(state.step),
        "saturated": {name: float(share) for name, share in saturated.items()},
        "update_to_data": {name: float(ratio) for name, ratio in ratios.items()},
    }


@partial(jax.jit, static_argnames=("model", "optimizer", "batch_size"))
def _diagnostics(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    batch_size: int | None,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    batch = data
    if batch_size is not None:
        batch = data.take(minibatch_ids(state.key, state.step, data.num_examples, batch_size))
    diagnostics = look_inside(model, optimizer, state, batch)
    return diagnostics.saturated, diagnostics.update_to_data
