"""Training: one step, many steps in one program, and a run in chunks.

Enters: a Model, an optax optimizer, a Batch that holds the whole data set. Leaves: a TrainState and
the loss of every step in nats. The minibatch of step i is drawn from fold_in(key, i) alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from mm_jax.choices import InputError
from mm_jax.loss import loss, mean_square
from mm_jax.model import Model, Params
from mm_jax.windows import Batch

CHUNK_TOKENS = 2**22  # a chunk's minibatches are gathered before its first step; this bounds them


@flax.struct.dataclass
class TrainState:
    """All that training changes, and the key that decides its minibatches.

    A population is a TrainState whose arrays have one more axis in front.
    """

    step: Int[Array, "..."]  # () steps taken
    params: Params
    opt_state: Any
    key: Key[Array, "..."]  # ()
    regularization: Float[Array, "..."] | None = None  # () times mean_square(params) is minimised


class NotFiniteError(ArithmeticError):
    """The loss of a minibatch was NaN or infinite; ``state`` is the last one with a finite loss."""

    def __init__(self, step: int, loss_nats: float, state: TrainState) -> None:
        super().__init__(f"the loss became {loss_nats} at step {step}")
        self.step, self.loss_nats, self.state = step, loss_nats, state


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    params: Params | None = None,
    regularization: float | Float[Array, ""] | None = None,
) -> TrainState:
    """Return the state before the first step: parameters and minibatches both come from ``key``.

    With ``params`` training goes on from them. With ``regularization`` the loss plus that times
    mean_square(params) is minimised; the losses that come back are without it.
    """
    key_init, key_batch = jax.random.split(key)
    params = model.init(key_init) if params is None else params
    strength = None if regularization is None else jnp.asarray(regularization, jnp.float32)
    return TrainState(jnp.int32(0), params, optimizer.init(params), key_batch, strength)


def _train_step(
    model: Model, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Take one gradient step: (state, batch) -> (state, {"loss_nats": before the step}).

    Jitted; the state that is handed in is donated, so use the returned one.
    """

    def objective(params: Params) -> tuple[Float[Array, ""], Float[Array, ""]]:
        loss_nats = loss(model, params, batch)
        if state.regularization is None:
            return loss_nats, loss_nats
        return loss_nats + state.regularization * mean_square(params), loss_nats

    (value, loss_nats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        grads,
        state.opt_state,
        state.params,
        value=value,  # these three are for a line search; other optimizers do not look at them
        grad=grads,
        value_fn=lambda params: objective(params)[0],
    )
    params = optax.apply_updates(state.params, updates)
    after = TrainState(state.step + 1, params, opt_state, state.key, state.regularization)
    return after, {"loss_nats": loss_nats}


train_step = jax.jit(_train_step, static_argnums=(0, 1), donate_argnums=2)


def minibatch_ids(
    key: Key[Array, ""], step: Int[Array, ""], num_examples: int, batch_size: int
) -> Int[Array, " B"]:
    """Return the examples of step ``step``: drawn with replacement, as the lecture does."""
    key_step = jax.random.fold_in(key, step)
    return jax.random.randint(key_step, (batch_size,), 0, num_examples)


@partial(jax.jit, static_argnames=("model", "optimizer", "num_steps", "batch_size"))
def fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    *,
    num_steps: int,
    batch_size: int | None,
    limit: Int[Array, ""] | None = None,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Take ``num_steps`` steps in one program; return the state and the loss before each step.

    A step takes a minibatch, or the whole of ``data`` where ``batch_size`` is None. A pure
    function: vmap it over states for a population. All minibatches are gathered first, so memory
    grows with num_steps * batch_size; ``fit_chunks`` is for long runs. With ``limit`` only the
    first ``limit`` steps are taken and the other losses are NaN: one program serves them all.
    Raises InputError where ``batch_size`` is below 1.
    """
    if batch_size is not None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        steps = state.step + jnp.arange(num_steps)
        draw = partial(minibatch_ids, num_examples=len(data.targets), batch_size=batch_size)
        ids = jax.vmap(draw, in_axes=(None, 0))(state.key, steps)
        batches = jax.tree.map(lambda array: array[ids], data)  # (steps, B, ...)

    def body(i: Int[Array, ""], carry: tuple) -> tuple:
        state, losses = carry
        batch = data if batch_size is None else jax.tree.map(lambda array: array[i], batches)
        state, metrics = _train_step(model, optimizer, state, batch)
        return state, losses.at[i].set(metrics["loss_nats"])

    # A fori_loop that writes its losses is up to a quarter faster on the CPU than scan's stacking.
    count = num_steps if limit is None else jnp.minimum(limit, num_steps)
    return jax.lax.fori_loop(0, count, body, (state, jnp.full(num_steps, jnp.nan)))


def chunk_length(data: Batch, batch_size: int | None, most: int = 1000) -> int:
    """Return how many steps a chunk may have for what its steps read to fit CHUNK_TOKENS."""
    examples = len(data.targets) if batch_size is None else max(1, batch_size)
    return max(1, min(most, CHUNK_TOKENS // (examples * (data.tokens.shape[-1] + 1))))


def fit_chunks(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    *,
    num_steps: int,
    batch_size: int | None,
    chunk_steps: int | None = None,
) -> Iterator[tuple[TrainState, Float[np.ndarray, " steps"]]]:
    """Train until ``state.step`` is ``num_steps``, yielding (state, losses) after every chunk.

    The length of a chunk changes no bit of the result. Raises NotFiniteError at the first loss
    that is NaN or infinite, with the state of the last step whose loss was finite.
    """
    length = chunk_steps or chunk_length(data, batch_size)
    take = partial(fit, model, optimizer, data=data, num_steps=length, batch_size=batch_size)
    before, step = state, int(state.step)
    while step < num_steps:
        count = min(length, num_steps - step)
        after, losses = take(state, limit=jnp.int32(count))
        losses = np.asarray(losses)[:count]
        finite = np.isfinite(losses)
        if not finite.all():
            bad = int(np.argmin(finite))
            # Steps repeat bit for bit, so the last good state is found by taking them once more.
            if bad > 0:
                good = take(state, limit=jnp.int32(bad - 1))[0]
            else:
                good = take(before, limit=jnp.int32(step - 1 - int(before.step)))[0]
            raise NotFiniteError(step + bad, float(losses[bad]), good)
        before, state, step = state, after, step + count
        yield state, losses
