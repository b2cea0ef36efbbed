"""Optimizers and learning-rate schedules, built with optax."""

import dataclasses
import inspect
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mm_jax.config.base import InputError
from mm_jax.config.training import BaseOptimizerConfig, OptimizerConfig


def step_decay(learning_rate: float, num_steps: int) -> optax.Schedule:
    """Return the lecture's schedule: the rate, then a tenth of it in the second half."""
    return optax.piecewise_constant_schedule(learning_rate, {(num_steps + 1) // 2: 0.1})


def warmup_cosine(learning_rate: float, num_steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """Return linear warm-up from zero, then half a cosine to zero (Loshchilov and Hutter 2017)."""
    rest = optax.cosine_decay_schedule(learning_rate, max(1, num_steps - warmup_steps))
    return _after_warmup(rest, learning_rate, warmup_steps)


def warmup_linear(learning_rate: float, num_steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """Return linear warm-up from zero, then a line down to zero at the end."""
    rest = optax.linear_schedule(learning_rate, 0.0, max(1, num_steps - warmup_steps))
    return _after_warmup(rest, learning_rate, warmup_steps)


def inverse_decay(learning_rate: float, rate_decay: float) -> optax.Schedule:
    """Return rate / (1 + rate_decay * step), the schedule of Bengio et al. (2003), section 4.1."""
    return lambda step: learning_rate / (1 + rate_decay * step)


def _after_warmup(rest: optax.Schedule, learning_rate: float, warmup_steps: int) -> optax.Schedule:
    if not warmup_steps:
        return rest
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, rest], [warmup_steps])


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Return the schedule of ``config`` over a run of ``num_steps``: step -> learning rate."""
    if config.schedule == "step":
        return step_decay(config.rate, num_steps)
    if config.schedule in ("cosine", "linear"):
        make = warmup_cosine if config.schedule == "cosine" else warmup_linear
        return make(config.rate, num_steps, config.warmup_steps)
    if config.schedule == "inverse":
        return inverse_decay(config.rate, config.rate_decay)
    return optax.constant_schedule(config.rate)


@cache
def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Return the optax optimizer of ``config`` for a run of ``num_steps``.

    All have the same form: clip to a global norm, the optimizer by its name in optax, then
    decoupled weight decay (Loshchilov and Hutter 2019), which adamw and its like would do
    themselves: params -= learning_rate * weight_decay * params. lbfgs (Liu and Nocedal 1989) finds
    the length of each step by a line search and takes neither rate, decay nor clipping. For all
    others ``state.opt_state.hyperparams`` holds learning_rate, weight_decay and clip_norm as arrays
    that may be changed, and the schedule as a factor.
    """
    if num_steps < 0:
        raise InputError(f"steps must be at least 0, not {num_steps}")
    make, decay = getattr(optax, config.optimizer), resolve_weight_decay(config)
    # Decay is added below, so optax's own is turned off.
    options = {} if _default_weight_decay(config) is None else {"weight_decay": 0.0}
    options |= _momenta(config)
    if config.optimizer == "lbfgs":
        if config.weight_decay is not None or config.clip_norm is not None:
            raise InputError("lbfgs takes no --weight-decay and no --clip-norm")
        return optax.lbfgs()

    def chain(
        learning_rate: jax.Array,
        schedule: jax.Array,
        weight_decay: jax.Array,
        clip_norm: jax.Array | None,
    ) -> optax.GradientTransformation:
        rate = learning_rate * schedule
        transformations = [make(learning_rate=rate, **options)]
        if clip_norm is not None:
            transformations.insert(0, _clip(clip_norm))
        if decay:
            decayed = None if config.decay_biases == "yes" else _without_biases
            transformations.append(optax.add_decayed_weights(-rate * weight_decay, decayed))
        return optax.chain(*transformations)

    # In float32 also where the parameters are bfloat16, in which 0.999 would be 1.
    return optax.inject_hyperparams(chain, hyperparam_dtype=jnp.float32)(
        learning_rate=config.rate,
        schedule=make_schedule(dataclasses.replace(config, learning_rate=1.0), num_steps),
        weight_decay=decay,
        clip_norm=config.clip_norm,
    )


def _without_biases(params: optax.Params) -> Any:
    """Return which arrays are neither biases nor scales of a norm."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def _clip(norm: jax.Array) -> optax.GradientTransformation:
    """Return optax.clip_by_global_norm, computed in float32 at least; each leaf keeps its dtype."""

    def clip(updates: optax.Updates, _: optax.Params | None) -> optax.Updates:
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf, jnp.float32)), updates)
        clipped, _ = optax.clip_by_global_norm(norm).update(wide, optax.EmptyState())
        return jax.tree.map(lambda new, leaf: new.astype(leaf.dtype), clipped, updates)

    return optax.stateless(clip)


def _momenta(config: BaseOptimizerConfig) -> dict[str, float]:
    """Return b1 and b2 where they are given. Raise InputError where the optimizer has none."""
    given = {name: value for name in ("b1", "b2") if (value := getattr(config, name)) is not None}
    known = inspect.signature(getattr(optax, config.optimizer)).parameters
    for name in given:
        if name not in known:
            raise InputError(f"{config.optimizer} has no --{name}; adam, adamw and others have it")
    return given


def _default_weight_decay(config: BaseOptimizerConfig) -> float | None:
    """Return optax's default weight decay of an optimizer, or None where it takes none."""
    parameter = inspect.signature(getattr(optax, config.optimizer)).parameters.get("weight_decay")
    return None if parameter is None else parameter.default


def resolve_weight_decay(config: BaseOptimizerConfig) -> float:
    """Return the weight decay of ``config``, or the optimizer's default where it has none."""
    if config.weight_decay is None:
        return _default_weight_decay(config) or 0.0
    return config.weight_decay


def learning_rates(config: OptimizerConfig, num_steps: int, steps: Any) -> jax.Array:
    """Return the learning rate at each of ``steps``, of the same shape."""
    if not isinstance(steps, jax.Array):
        steps = np.asarray(steps, np.int32)  # jnp.asarray would compile a program
    rates = jax.jit(make_schedule(config, num_steps))(steps)  # one program, not one per operation
    return jnp.broadcast_to(rates, steps.shape)
