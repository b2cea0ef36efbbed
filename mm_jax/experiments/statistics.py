"""Losses of several seeds -> their mean and its interval. Imports no jax."""

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """The mean over seeds, and half of its 95% interval."""

    mean: float
    half: float | None  # None for a single seed


def spread_of(losses: Sequence[float]) -> Spread:
    """Return the mean of losses and half of its 95% interval by Student's t.

    Where a loss is not finite the mean is infinite.

    >>> mean, half = spread_of([2.0, 2.2])
    >>> round(mean, 4), round(half, 4)
    (2.1, 1.2706)
    """
    if not all(map(math.isfinite, losses)):
        return Spread(math.inf, None)
    mean = math.fsum(losses) / len(losses)
    if len(losses) == 1:
        return Spread(mean, None)
    from scipy.special import stdtrit  # Student's t

    variance = math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    quantile = float(stdtrit(len(losses) - 1, (1 + CONFIDENCE) / 2))
    return Spread(mean, quantile * math.sqrt(variance / len(losses)))
