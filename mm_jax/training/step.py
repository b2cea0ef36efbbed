"""Training: one step, many steps in one program, and a run in chunks.

Enters: a Model, an optax optimizer, a corpus or a Batch. Leaves: a TrainState and the loss of every
step in nats per symbol. The minibatch of step i is drawn from fold_in(key, i) alone.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch, pad_batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Examples, is_on_host
from mm_jax.models.base import Model, Params
from mm_jax.runtime.mesh import split
from mm_jax.training.data import all_of, check_shared, read_by
from mm_jax.training.loss import mean_square, training_loss
from mm_jax.training.minibatches import (
    Minibatches,
    Prefetcher,
    chunk_length,
    gather_minibatches,
    minibatch_ids,
)
from mm_jax.training.state import TrainState, check_single, check_state

CHANCE_FOLD = 2**32 - 1  # folded into a run's key for what a step drops or draws; no step has it


class NotFiniteError(ArithmeticError):
    """The loss of a minibatch was NaN or infinite; ``state`` is the last one with a finite loss."""

    def __init__(self, step: int, loss_nats: float, state: TrainState) -> None:
        super().__init__(f"the loss became {loss_nats} at step {step}")
        self.step, self.loss_nats, self.state = step, loss_nats, state


class StepUpdate(NamedTuple):
    """What one step computes before it changes the state."""

    loss_nats: Float[Array, ""]
    grads: Params
    updates: Params  # to be added to the parameters
    opt_state: Any


def compute_update(
    model: Model, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> StepUpdate:
    """Return the loss of a batch, its gradients, and the optimizer's updates."""
    key = None
    if model.apply_train is not None or model.draw_symbols is not None:
        key = jax.random.fold_in(jax.random.fold_in(state.key, CHANCE_FOLD), state.step)

    def objective(params: Params) -> tuple[Float[Array, ""], Float[Array, ""]]:
        smoothing = state.label_smoothing
        value, loss_nats = training_loss(model, params, batch, key=key, label_smoothing=smoothing)
        if state.regularization is not None:
            value += state.regularization * mean_square(params)
        return value, loss_nats

    (value, loss_nats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    with jax.named_scope("update"):
        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            grads,
            state.opt_state,
            state.params,
            value=value,  # these three are for a line search; other optimizers ignore them
            grad=grads,
            value_fn=lambda params: objective(params)[0],
        )
    return StepUpdate(loss_nats, grads, updates, opt_state)


def _train_step(
    model: Model, optimizer: optax.GradientTransformation, state: TrainState, batch: Batch
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Take one gradient step: (state, batch) -> (state, {"loss_nats": before the step}).

    Jitted. The state passed in is donated, so use the returned one. Raises InputError for a state
    that is not of one model and this optimizer.
    """
    check_state(optimizer, state)
    loss_nats, _, updates, opt_state = compute_update(model, optimizer, state, batch)
    with jax.named_scope("update"):
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None and state.average_decay is not None:
            new_share = jnp.maximum(1 - state.average_decay, 9 / (state.step + 10))
            mixed = optax.incremental_update(params, average, new_share)
            average = jax.tree.map(lambda new, old: new.astype(old.dtype), mixed, average)
    step = state.step + 1
    after = dataclasses.replace(
        state, step=step, params=params, opt_state=opt_state, average=average
    )
    return after, {"loss_nats": loss_nats}


train_step = jax.jit(_train_step, static_argnums=(0, 1), donate_argnums=2)


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
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Take ``num_steps`` steps in one program; return the state and the loss before each step.

    Each step reads a minibatch of ``data``, a corpus or a Batch, or all of it where ``batch_size``
    is None; the model decides whether it reads windows or rows. A pure function: vmap it over
    states for a population. Memory grows with num_steps * batch_size; ``fit_chunks`` is for long
    runs. With an integer as ``limit`` only that many steps are taken and the other losses are 0,
    so that one program serves all lengths. On a ``mesh`` each batch is split over its axis "data".

    Raises InputError where the data are of a kind that the model does not read, ``batch_size`` is
    below 1, or not a multiple of the devices of that axis, or ``state`` is a population or that of
    another optimizer.
    """
    check_single(state)
    examples = read_by(model, data, state.params)
    check_shared(examples)
    if batch_size is None:
        examples = all_of(examples)
    elif is_on_host(examples):
        steps = num_steps if limit is None else min(int(limit), num_steps)
        drawn = state.key, int(state.step), steps, batch_size, num_steps
        examples = gather_minibatches(examples, *drawn)
    sizes = {"num_steps": num_steps, "batch_size": batch_size, "limit": limit}
    return _fit(model, optimizer, state, examples, **sizes, mesh=mesh)


@partial(jax.jit, static_argnames=("model", "optimizer", "num_steps", "batch_size", "mesh"))
def _fit(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    *,
    num_steps: int,
    batch_size: int | None,
    limit: int | Int[Array, ""] | None,
    mesh: Mesh | None,
) -> tuple[TrainState, Float[Array, " steps"]]:
    check_state(optimizer, state)
    devices = 1 if mesh is None else mesh.shape["data"]
    if batch_size is not None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        if batch_size % devices:
            raise InputError(f"{devices} devices do not divide a batch of {batch_size} examples")
        with jax.named_scope("minibatches"):
            if isinstance(data, Minibatches):
                batches = data.batches
            else:
                steps = state.step + jnp.arange(num_steps)
                num_examples = data.num_examples
                draw = partial(minibatch_ids, num_examples=num_examples, batch_size=batch_size)
                numbers = jax.vmap(draw, in_axes=(None, 0))(state.key, steps)
                batches = data.take(numbers)  # (steps, B, ...)
        batches = split(batches, mesh, 1)
    elif devices > 1:
        data = split(pad_batch(data, devices), mesh, 0)

    def body(i: Int[Array, ""], carry: tuple) -> tuple:
        state, losses = carry
        with jax.named_scope("minibatches"):
            batch = data if batch_size is None else jax.tree.map(lambda array: array[i], batches)
        state, metrics = _train_step(model, optimizer, state, batch)
        return state, losses.at[i].set(metrics["loss_nats"])

    # A fori_loop that writes its losses is up to a quarter faster on the CPU than scan's stacking.
    count = num_steps if limit is None else jnp.minimum(limit, num_steps)
    return jax.lax.fori_loop(0, count, body, (state, jnp.zeros(num_steps)))


def fit_chunks(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Corpus | Examples,
    *,
    num_steps: int,
    batch_size: int | None,
    chunk_steps: int | None = None,
    every: int | None = None,
    mesh: Mesh | None = None,
) -> Iterator[tuple[TrainState, Float[np.ndarray, " steps"]]]:
    """Train until ``state.step`` is ``num_steps``, yielding (state, losses) after every chunk.

    ``data`` as in ``fit``; of a mapped corpus the minibatches of the next chunk are gathered while
    the device computes. A chunk ends at each multiple of ``chunk_steps`` and of ``every``; the
    length of a chunk changes no bit of the result. Raises NotFiniteError at the first loss that is
    NaN or infinite, with the state of the last step whose loss was finite.
    """
    check_state(optimizer, state)
    examples = read_by(model, data, state.params)
    check_shared(examples)
    if batch_size is None:
        examples = all_of(examples)
    length = chunk_steps or chunk_length(examples, batch_size)
    options: dict[str, Any] = {"num_steps": length, "batch_size": batch_size, "mesh": mesh}
    take_steps: Any = partial(fit, model, optimizer, data=examples, **options)

    def end_of(step: int) -> int:
        return min(num_steps, *(step + each - step % each for each in (length, every or length)))

    before, step = state, int(state.step)
    with Prefetcher(examples, state.key, batch_size, length) as prefetcher:
        while step < num_steps:
            count = end_of(step) - step
            following = step + count, end_of(step + count) - step - count
            chunk = prefetcher.get(step, count, following)
            after, losses = take_steps(state, data=chunk, limit=np.int32(count))
            losses = np.asarray(losses)[:count]
            finite = np.isfinite(losses)
            if not finite.all():
                bad = int(np.argmin(finite))
                # Steps repeat bit for bit: taking them once more gives the last good state.
                if bad > 0:
                    good = take_steps(state, limit=np.int32(bad - 1))[0]
                else:
                    good = take_steps(before, limit=np.int32(step - 1 - int(before.step)))[0]
                raise NotFiniteError(step + bad, float(losses[bad]), good)
            before, state, step = state, after, step + count
            yield state, losses
