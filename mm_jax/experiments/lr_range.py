"""The learning-rate range test (Smith 2017): a loss for every seed and rate -> the rate to use.

Every seed and rate is a member of one population: the rates stand in the optimizer's state as an
array, so that one compiled program serves all.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float64, Int

from mm_jax.config.base import InputError
from mm_jax.config.training import BaseOptimizerConfig, LRRangeConfig, OptimizerConfig
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Examples, is_on_host
from mm_jax.experiments.lr_suggestion import Suggestion, suggest
from mm_jax.models.base import Model
from mm_jax.population.grid import fit_members
from mm_jax.training.data import read_by
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import TrainState
from mm_jax.training.step import gather_minibatches, minibatch_ids

WIDE_RANGE = 1e-6, 1e4  # rates that are tested where no range is known
NARROW_FACTOR = 32.0  # from what that suggests, down and up: the rates that are tested then


class RangeTest(NamedTuple):
    """What a range test measured, and the rate that it suggests."""

    mode: str
    lrs: Float64[np.ndarray, " rates"]
    losses: Float[np.ndarray, "seeds rates"]  # nats per symbol; not finite where it diverged
    untrained: Float[np.ndarray, " seeds"]  # before any step, on the last minibatches
    suggestion: Suggestion

    @property
    def suggested_lr(self) -> float:
        """The suggested learning rate. Raises InputError with the reason where there is none."""
        if self.suggestion.lr is None:
            raise InputError(f"no learning rate to suggest: {self.suggestion.reason}")
        return self.suggestion.lr


def lr_range_test(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Corpus | Examples,
    config: LRRangeConfig | None = None,
    *,
    batch_size: int | None,
    members_per_slice: int | None = None,
    update: Callable[[int, float], None] | None = None,
) -> RangeTest:
    """Find the learning rate at which training does best (Smith 2017), and how sure that is.

    ``sweep`` is the second makemore lecture's: one training whose rate rises; a loss belongs to the
    rate of the step after it. It passes num / ln(max / min) steps at about each rate, and its
    valley is the best rate for a run of about that length. ``grid`` trains for every rate
    from the same start; its loss is the mean over the last tenth of its steps.

    ``state`` is one of init_state's, and every seed then draws minibatches of its own; or a
    population, S states stacked, each of which is a seed. It is left untouched. ``optimizer`` must
    keep its learning_rate in its state, as make_optimizer's and optax.inject_hyperparams' do; a
    schedule of make_optimizer's multiplies the rates, so let it be "constant". A rate that diverges
    is a result like any other. ``members_per_slice`` and ``update``: see fit_members.

    Raises InputError where the optimizer's state has no learning rate that can be set, or where
    one model, or all losses, do not fit in memory.
    """
    check_rate_is_free(state.opt_state)
    examples = read_by(model, data)
    config = config or LRRangeConfig()
    if state.step.ndim == 0:
        state = copies_for_seeds(state, config.num_seeds)
    lrs = np.geomspace(config.min, config.max, config.num_rates)
    rates = jnp.asarray(lrs, jnp.float32)
    sweep = config.mode == "sweep"
    num_last = max(1, config.num_steps // 10)
    losses = fit_members(
        model,
        with_set_rates(optimizer),
        state,
        set_rates,
        rates[None] if sweep else rates[:, None],
        examples,
        num_steps=config.num_steps,
        batch_size=batch_size,
        members_per_slice=members_per_slice,
        update=update,
    )
    by_rate = losses[:, 0] if sweep else losses[:, :, -num_last:].mean(-1, dtype=np.float64)
    last_steps = config.num_steps - num_last, num_last
    untrained = untrained_losses(model, state, examples, *last_steps, batch_size=batch_size)
    suggestion = suggest(lrs, by_rate, untrained, sweep=sweep)
    return RangeTest(config.mode, lrs, by_rate, untrained, suggestion)


def untrained_losses(
    model: Model,
    state: TrainState,
    data: Examples,
    first: int,
    num_steps: int,
    *,
    batch_size: int | None,
) -> Float[np.ndarray, " S"]:
    """Return the loss of S states as they are, on the minibatches that training draws at steps.

    The steps are ``num_steps`` ones from ``first`` on, counted from those of the states.
    """
    if not is_on_host(data) or batch_size is None:
        steps = first + jnp.arange(num_steps)
        return np.asarray(_untrained_losses(model, state, data, steps, batch_size=batch_size))
    losses = []
    for i in range(len(state.step)):
        seed = jax.tree.map(itemgetter(i), state)
        step = int(seed.step) + first
        drawn = gather_minibatches(data, seed.key, step, num_steps, batch_size, num_steps).batches
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), drawn)
        losses.append(evaluate(model, seed.params, flat))
    return np.asarray(losses, np.float32)


@partial(jax.jit, static_argnames=("model", "batch_size"))
def _untrained_losses(
    model: Model,
    state: TrainState,
    data: Any,
    steps: Int[Array, " steps"],
    *,
    batch_size: int | None,
) -> Float[Array, " S"]:
    def loss_of(seed: TrainState) -> Float[Array, ""]:
        if batch_size is None:
            return evaluate(model, seed.params, data)
        draw = partial(minibatch_ids, num_examples=data.num_examples, batch_size=batch_size)
        ids = jax.vmap(draw, in_axes=(None, 0))(seed.key, seed.step + steps).reshape(-1)
        return evaluate(model, seed.params, data.take(ids))

    return jax.lax.map(loss_of, state)


def find_learning_rate(
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Corpus | Examples,
    *,
    batch_size: int | None,
    update: Callable[[int, float], None] | None = None,
) -> RangeTest:
    """Return the range test of a sweep around the valley that a very wide sweep has.

    No range has to be known. ``update``: see fit_members; it counts the steps of both sweeps.
    Raises InputError, with the reason, where one of them has no valley.
    """

    def sweep(low: float, high: float, steps_before: int) -> RangeTest:
        def update_both(steps: int, loss_nats: float) -> None:
            if update:
                update(steps_before + steps, loss_nats)

        config = LRRangeConfig(min=low, max=high)
        return lr_range_test(
            model, optimizer, state, data, config, batch_size=batch_size, update=update_both
        )

    wide = sweep(*WIDE_RANGE, steps_before=0)
    rate = wide.suggested_lr
    narrow = sweep(rate / NARROW_FACTOR, rate * NARROW_FACTOR, steps_before=wide.losses.size)
    rate = narrow.suggested_lr  # raises where the narrow sweep has none
    return narrow._replace(suggestion=narrow.suggestion._replace(lr=rate))


def copies_for_seeds(state: TrainState, num: int) -> TrainState:
    """Return ``num`` copies of a state, each with a key of its own for its minibatches."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, jnp.arange(num))
    copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num, *leaf.shape)), state)
    return dataclasses.replace(copies, key=keys)


def range_optimizer(config: BaseOptimizerConfig) -> optax.GradientTransformation:
    """Return the optimizer of ``config`` without a schedule, for a range test.

    Raises InputError for lbfgs and rprop, which find the length of each step themselves.
    """
    config.check_has_rate()
    values = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(BaseOptimizerConfig)
    }
    return make_optimizer(OptimizerConfig(**values, learning_rate=1.0, schedule="constant"), 0)


def check_rate_is_free(opt_state: Any) -> None:
    """Raise InputError where an optimizer's state has no learning rate, or a schedule sets it."""

    def count(field: str) -> int:
        tables = optax.tree_utils.tree_get_all_with_path(opt_state, field)
        return sum("learning_rate" in table for _, table in tables)

    num_rates, scheduled = count("hyperparams"), count("hyperparams_states")
    if not scheduled and num_rates == 1:
        return
    if scheduled:
        reason = "a schedule sets its learning_rate"
    else:
        reason = f"it keeps {num_rates} of them" if num_rates else "it keeps no learning_rate"
    raise InputError(
        f"this optimizer's rate cannot be varied: {reason}; use make_optimizer, or "
        "optax.inject_hyperparams with a number"
    )


@cache
def with_set_rates(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return an optimizer that takes the rate of each step from its state: see ``set_rates``."""
    by_value = optax.with_extra_args_support(optimizer)

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        step, rates, inner = state
        rate = rates[jnp.minimum(step, len(rates) - 1)]
        inner = optax.tree_utils.tree_set(inner, learning_rate=rate)
        updates, inner = by_value.update(grads, inner, params, **extra)
        return updates, (step + 1, rates, inner)

    def init(params: Any) -> Any:
        return jnp.int32(0), jnp.zeros(1), optimizer.init(params)

    return optax.GradientTransformationExtraArgs(init, update)


def set_rates(state: TrainState, rates: Float[Array, " steps"]) -> TrainState:
    """Return a state for ``with_set_rates``: its next steps have these rates, the rest the last."""
    return dataclasses.replace(state, opt_state=(jnp.int32(0), rates, state.opt_state))
