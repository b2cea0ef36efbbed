"""Softmax cross-entropy on a sample of the symbols, drawn anew for each step.

Enters: a Model and how often each symbol occurs. Leaves: the Model, trained on K of its V symbols
at a time, and the target. Sources: Bengio and Senecal (2003), who weight the symbols of a sample by
what their chances were; Jean et al. (2015), who draw one sample for a whole minibatch; Madow (1949)
for samples of a fixed size in which each symbol is once, with a chance that is known.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from mm_jax.config.base import InputError
from mm_jax.models.base import Model, at_least_float32
from mm_jax.models.layers import Head
from mm_jax.training.large_softmax import NO_LOGIT

FLATTENING = 0.75  # the power of the counts (Mikolov et al. 2013)
TOTAL = 2**31 - 1  # of all chances, in whole numbers: none is lost to rounding


class Drawn(NamedTuple):
    """The symbols of a sample, each one once, by their ids."""

    symbols: Int[Array, " K"]
    log_chances: Float[Array, " K"]  # of being drawn, at most 0


def with_sampled_symbols(model: Model, counts: Num[np.ndarray, " V"], num: int) -> Model:
    """Return ``model``, whose training loss reads ``num`` symbols drawn at each step.

    A symbol's chance to be drawn grows with its count, up to 1. The loss of a prediction is
    log(exp(own) + sum of exp(logit) / chance over the others drawn) - own, own the logit of the
    target: the sum's expected value is that of all symbols. Evaluation and sampling read all.
    Where there are no more than ``num`` symbols, that is ``model`` itself. Raises InputError where
    it has no ``head``, or ``num`` is below 1.
    """
    if model.head is None:
        raise InputError(
            "--sampled-symbols draws columns of a model's last layer, and this one has none"
        )
    if num < 1:
        raise InputError(f"--sampled-symbols must be at least 1 to draw any, not {num}")
    if num >= len(counts):
        return model
    return _sampling(model, cumulative_chances(counts, num).tobytes(), num)


@cache
def _sampling(model: Model, cumulative: bytes, num: int) -> Model:
    """Return the same Model for the same chances: another one would be compiled again."""
    ends = np.frombuffer(cumulative, np.int32)

    def draw(key: Key[Array, ""]) -> Drawn:
        return draw_symbols(key, ends, num)

    return model._replace(draw_symbols=draw)


def cumulative_chances(counts: Num[np.ndarray, " V"], num: int) -> Int[np.ndarray, " V"]:
    """Return the sums of the symbols' chances up to each, in whole numbers: 1 is TOTAL // num.

    Chances grow with counts ** FLATTENING, those of symbols that never occurred as if once; what
    would be more than 1 is 1, and the others share the rest. Their sum is ``num``.
    """
    weights = np.maximum(counts, 1) ** FLATTENING
    certain = np.zeros(len(weights), bool)
    while True:
        left = num - certain.sum()
        shares = np.where(certain, 1.0, weights * (left / weights[~certain].sum()))
        above = (shares >= 1) & ~certain
        if not above.any():
            break
        certain |= above
    one, others = TOTAL // num, ~certain
    ends = np.rint(np.cumsum(weights[others] / weights[others].sum()) * (left * one))
    parts = np.full(len(weights), one)
    parts[others] = np.diff(ends, prepend=0)
    return np.cumsum(parts).astype(np.int32)


def draw_symbols(key: Key[Array, ""], ends: Int[np.ndarray, " V"], num: int) -> Drawn:
    """Draw ``num`` different symbols: those on which points fall that are evenly spaced."""
    one = TOTAL // num  # a chance of 1
    first = jax.random.randint(key, (), 0, one)
    points = first + one * jnp.arange(num)
    symbols = jnp.searchsorted(jnp.asarray(ends), points, side="right")
    parts = np.diff(ends, prepend=0)
    log_chances = np.log(np.maximum(parts, 1) / one).astype(np.float32)
    return Drawn(symbols, jnp.asarray(log_chances)[symbols])


def sampled_cross_entropy(
    head: Head, targets: Int[Array, "..."], drawn: Drawn
) -> Float[Array, "..."]:
    """Return the loss of each prediction in nats, in the shape of ``targets``.

    log(exp(own) + sum of exp(logit) / chance over the drawn symbols but the target) - own, with own
    the target's logit (Jean et al. 2015).
    """
    features, weight = head.features.reshape(-1, head.features.shape[-1]), head.weight
    wanted = targets.reshape(-1)
    bias = jnp.zeros(weight.shape[1]) if head.bias is None else head.bias
    logits = at_least_float32(features @ weight[:, drawn.symbols])
    logits += (bias[drawn.symbols] - drawn.log_chances)[None]
    # A target has a logit of its own, so it does not count among the drawn symbols.
    logits = jnp.where(drawn.symbols[None] == wanted[:, None], NO_LOGIT, logits)
    own = at_least_float32(jnp.sum(features * weight[:, wanted].T, -1) + bias[wanted])
    each = jnp.logaddexp(own, jax.nn.logsumexp(logits, -1)) - own
    return each.reshape(targets.shape)
