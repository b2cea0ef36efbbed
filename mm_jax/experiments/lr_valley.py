"""A curve of losses over learning rates -> where its valley is, and how far that can be trusted.

Enters: the curve in blocks. Leaves: the lowest point of the smoothed median over seeds, the rates
between which losses are as low, and those from which training gets worse.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mm_jax.experiments.lr_curve import crossings, despiked, robust_std, smoothing_matrix

FLOOR = 0.001  # of the drop: rates whose loss is within this of the lowest are the valley's floor
TOO_LOW, TOO_HIGH = 0.5, 0.15  # of the drop: what is missing to the left, what is lost to the right
NOISE = 2.0  # standard errors within which losses are as low as the lowest
WALL = 6.0  # standard errors that a valley's sides have to rise above it, or are part of it
CLEAR = 5.0  # standard errors by which the curve has to drop


class SmoothedCurve(NamedTuple):
    """The median over seeds in blocks, and the smooth curve through it; of equal length."""

    lrs: Float[np.ndarray, " blocks"]
    median: Float[np.ndarray, " blocks"]  # inf where at least half of the seeds diverged
    smooth: Float[np.ndarray, " blocks"]  # nan where the median has exploded


class CurveBlocks(NamedTuple):
    """A curve cut into blocks, and the losses that it is measured by."""

    lowest_rate: str  # for reasons
    highest_rate: str
    x: Float[np.ndarray, " blocks"]  # log rates
    losses: Float[np.ndarray, "seeds blocks"]
    median: Float[np.ndarray, " blocks"]  # over seeds, single outliers removed
    exploded: Bool[np.ndarray, " blocks"]
    untrained: float  # the loss before any training
    first: float  # the loss at the lowest rates
    num_first: int  # blocks that ``first`` is the median of
    unlearned: float  # the loss where nothing is learned
    num_calm: int  # blocks far from diverging
    noise: float  # standard deviation of a block


class Valley(NamedTuple):
    """The lowest point of the smooth curve, and how far it and its surroundings can be trusted."""

    curve: SmoothedCurve
    smoother: Float[np.ndarray, "blocks blocks"]
    bottom: int  # the block of the lowest point
    lowest: float  # the loss there
    drop: float  # from the untrained loss
    errors: Float[np.ndarray, " blocks"]  # standard errors of the smooth curve
    unclear_drop: float  # a drop that noise alone may make


class Regions(NamedTuple):
    """Where the smooth curve leaves its valley; log rates are nan where it does not."""

    tolerance: Float[np.ndarray, " blocks"]  # within which losses are as low as the lowest
    left: float  # log rates between which losses are as low as the lowest
    right: float
    left_wall: float  # log rates at which the curve has clearly risen
    right_wall: float
    too_low: float | None
    too_high: float | None
    explodes: float | None


def measure(
    lrs: np.ndarray,
    x: np.ndarray,
    losses: Float[np.ndarray, "seeds blocks"],
    untrained: np.ndarray | None,
) -> CurveBlocks:
    """Return the losses that a curve is measured by, and which blocks have exploded."""
    raw = np.median(losses, 0)
    median = despiked(raw)
    head = median[: max(3, len(median) // 20)]
    first = float(np.median(head))
    start = first if untrained is None else float(np.median(untrained))
    drop = start - float(median.min())
    unlearned = max(start, float(median.min()))
    calm = raw[raw <= unlearned + 2 * abs(drop)] if np.isfinite(unlearned) else raw[:0]
    noise = robust_std(np.diff(calm, 2)) / math.sqrt(6)  # what a line does not explain
    return CurveBlocks(
        lowest_rate=f"{lrs[0]:.3g}",
        highest_rate=f"{lrs[-1]:.3g}",
        x=x,
        losses=losses,
        median=median,
        exploded=~(median <= unlearned + max(drop, 6 * noise)),
        untrained=start,
        first=first,
        num_first=len(head),
        unlearned=unlearned,
        num_calm=len(calm),
        noise=noise,
    )


def find_valley(blocks: CurveBlocks) -> Valley:
    """Return the lowest point of the smooth curve."""
    smoother = smoothing_matrix(blocks.x, ~blocks.exploded)
    filled = np.where(blocks.exploded, 0.0, blocks.median)  # exploded blocks have no weight
    smooth = np.where(blocks.exploded, np.nan, smoother @ filled)
    bottom = int(np.nanargmin(smooth))
    lowest = float(smooth[bottom])
    errors = blocks.noise * np.sqrt((smoother**2).sum(1))  # larger towards the ends
    first_error = 1.25 * blocks.noise / math.sqrt(blocks.num_first)
    unclear_drop = CLEAR * math.hypot(errors[bottom], first_error)
    unclear_drop = max(unclear_drop, 1e-6 * abs(blocks.untrained))
    curve = SmoothedCurve(np.exp(blocks.x), blocks.median, smooth)
    drop = blocks.untrained - lowest
    return Valley(curve, smoother, bottom, lowest, drop, errors, unclear_drop)


def find_regions(blocks: CurveBlocks, valley: Valley) -> Regions:
    """Return where the smooth curve leaves its lowest losses, and where training gets worse."""
    x, smooth = blocks.x, valley.curve.smooth[None]
    tolerance = np.maximum(FLOOR * valley.drop, NOISE * valley.errors)
    walls = np.maximum(FLOOR * valley.drop, WALL * valley.errors)
    (left, right), (left_wall, right_wall) = (
        [float(end[0]) for end in crossings(x, smooth, (valley.lowest + height)[None])]
        for height in (tolerance, walls)
    )
    too_low = crossings(x, smooth, blocks.untrained - TOO_LOW * valley.drop)[0]
    too_high = crossings(x, smooth, valley.lowest + TOO_HIGH * valley.drop)[1]
    after = np.flatnonzero(blocks.exploded[valley.bottom :])
    explodes = None
    if len(after):
        first = valley.bottom + after[0]
        explodes = rounded((x[first - 1] + x[first]) / 2)
    return Regions(
        tolerance,
        left,
        right,
        left_wall,
        right_wall,
        rate_or_none(too_low),
        rate_or_none(too_high),
        explodes,
    )


def rate_or_none(log_rate: Float[np.ndarray, " 1"]) -> float | None:
    """Return one of the log rates that ``crossings`` returns as a rate; None where it is nan."""
    return None if np.isnan(log_rate[0]) else rounded(log_rate[0])


def rounded(log_rate: float) -> float:
    """Return a rate to three digits, which is finer than any curve can tell."""
    return float(f"{np.exp(log_rate):.3g}")
