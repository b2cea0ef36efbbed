"""A curve of losses over learning rates -> the rate to train with, how sure that is, and why.

Enters: rates and, for every seed, the loss at each. Leaves: a Suggestion. The rate is the middle of
the valley's floor in log rate, of the smoothed median over seeds; its interval comes from drawing
the seeds again (Efron 1979). Where there is no valley there is a reason in place of a rate.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mm_jax.experiments.lr_curve import check_curve, crossings, despiked, in_blocks
from mm_jax.experiments.lr_valley import (
    TOO_LOW,
    CurveBlocks,
    Regions,
    SmoothedCurve,
    Valley,
    find_regions,
    find_valley,
    measure,
    rounded,
)

UNSURE = 10.0  # an interval whose end is more than this many times its beginning is no answer
DRAWS = 400  # of the seeds, for the interval
INTERVAL = (0.05, 0.95)


class Suggestion(NamedTuple):
    """A learning rate or none, the reason in words, and what a figure of the curve shows."""

    lr: float | None  # None where the curve supports none; ``reason`` then says why
    interval: tuple[float, float] | None  # 5% to 95% over draws of the seeds; None for one seed
    reason: str
    floor: tuple[float, float] | None  # rates whose losses the noise cannot tell from the lowest
    curve: SmoothedCurve
    too_low: float | None = None  # below this rate less than half of the drop is reached
    too_high: float | None = None  # above this rate 15% of the drop is lost again
    explodes: float | None = None  # from here on it is not finite, or far worse than untrained


def suggest(
    lrs: Float[np.ndarray, " rates"],
    losses: Float[np.ndarray, "seeds rates"],
    untrained: Float[np.ndarray, " seeds"] | None = None,
    *,
    sweep: bool = True,
) -> Suggestion:
    """Return the learning rate that a curve supports.

    ``lrs`` rise; ``losses`` are in any unit, not finite where training diverged. ``untrained`` are
    the losses before any training; without them those of the lowest rates are taken for it. A
    ``sweep`` has to begin there, other curves may begin with rates that have learned already.
    Raises InputError where the arrays do not belong together or the rates do not rise.
    """
    check_curve(lrs, losses, untrained)
    x, block_losses = in_blocks(lrs, losses)
    median = np.median(block_losses, 0)
    unsmoothed = SmoothedCurve(np.exp(x), despiked(median), np.full_like(median, np.nan))
    if not np.isfinite(median).any():
        return Suggestion(None, None, _why_all_diverging(lrs), None, unsmoothed)
    blocks = measure(lrs, x, block_losses, untrained)
    if blocks.num_calm < 5 or (~blocks.exploded).sum() < 5:
        return Suggestion(None, None, _why_diverging(blocks), None, unsmoothed)
    valley = find_valley(blocks)
    if valley.drop <= valley.unclear_drop:
        return Suggestion(None, None, _why_no_drop(blocks, valley), None, valley.curve)
    regions = find_regions(blocks, valley)
    interval, reason = None, _why_no_valley(blocks, valley, regions, sweep=sweep)
    if reason is None and len(losses) > 1:
        interval = _interval(blocks, valley, regions)
        if interval[1] > UNSURE * interval[0]:
            reason = (
                f"the seeds do not agree: 90% of their draws give {interval[0]:.2g} to "
                f"{interval[1]:.2g}; take more --seeds, or train longer"
            )
    if reason is not None:
        return Suggestion(None, None, reason, None, valley.curve, *regions[-3:])
    return _answer(blocks, valley, regions, interval)


def _why_all_diverging(lrs: np.ndarray) -> str:
    return (
        f"at least half of the seeds diverge at every rate from {lrs[0]:.3g} to {lrs[-1]:.3g}; "
        "lower --min"
    )


def _why_rising(blocks: CurveBlocks) -> str:
    return (
        f"the loss is lowest at the lowest rate, {blocks.lowest_rate}, and only rises from there; "
        "lower --min"
    )


def _why_diverging(blocks: CurveBlocks) -> str:
    """Say why there are too few blocks that have not exploded."""
    if np.isfinite(blocks.untrained) and np.isfinite(blocks.median).sum() >= 5:
        return _why_rising(blocks)
    return (
        f"training diverges at the lowest rate, {blocks.lowest_rate}, or soon after it; lower --min"
    )


def _why_no_drop(blocks: CurveBlocks, valley: Valley) -> str:
    """Say why the loss is nowhere clearly below the untrained one."""
    last_tenth = blocks.exploded[-max(1, len(blocks.exploded) // 10) :]
    risen = valley.curve.smooth[-1] > blocks.unlearned + valley.unclear_drop
    if last_tenth.mean() > 0.5 or risen:
        return _why_rising(blocks)
    return (
        f"the curve is flat: no rate from {blocks.lowest_rate} to {blocks.highest_rate} changes "
        f"the loss, {blocks.untrained:.4g}, by more than its noise; widen --min to --max, take "
        "more seeds, or train longer"
    )


def _why_no_valley(
    blocks: CurveBlocks, valley: Valley, regions: Regions, *, sweep: bool
) -> str | None:
    """Say which side of the valley is missing; None where it has both."""
    if math.isnan(regions.right_wall):
        return (
            f"the loss has not risen again at the highest rate, {blocks.highest_rate}; raise --max"
        )
    if math.isnan(regions.left_wall):
        return _why_rising(blocks)
    learned = abs(blocks.untrained - blocks.first)
    if sweep and learned > max(TOO_LOW * valley.drop, valley.unclear_drop):
        return (
            f"the loss goes from {blocks.untrained:.4g} to {blocks.first:.4g} within the first "
            f"steps, near the lowest rate, {blocks.lowest_rate}; lower --min"
        )
    return None


def _interval(blocks: CurveBlocks, valley: Valley, regions: Regions) -> tuple[float, float]:
    """Return the interval of the suggestion over draws of the seeds, with replacement."""
    x, num_seeds = blocks.x, len(blocks.losses)
    draws = np.random.default_rng(0).integers(num_seeds, size=(DRAWS, num_seeds))
    finite = blocks.losses[:, ~blocks.exploded]
    highest = finite[np.isfinite(finite)].max()
    curves = despiked(np.median(np.minimum(blocks.losses, highest)[draws], 1))
    filled = np.where(blocks.exploded, 0.0, curves)
    smooth = np.where(blocks.exploded, np.nan, filled @ valley.smoother.T)
    level = np.nanmin(smooth, 1, keepdims=True) + regions.tolerance
    left, right = crossings(x, smooth, level)
    middles = (np.where(np.isnan(left), x[0], left) + np.where(np.isnan(right), x[-1], right)) / 2
    low, high = np.quantile(middles, INTERVAL)
    return rounded(low), rounded(high)


def _answer(
    blocks: CurveBlocks, valley: Valley, regions: Regions, interval: tuple[float, float] | None
) -> Suggestion:
    """Return the middle of the valley's floor, no more exact than the rates that were tested."""
    middle = (regions.left + regions.right) / 2
    half = (blocks.x[1] - blocks.x[0]) / 2
    floor = (
        rounded(min(regions.left_wall, middle - half)),
        rounded(max(regions.right_wall, middle + half)),
    )
    reason = (
        f"the loss is lowest there: {valley.lowest:.4g}, down from {blocks.untrained:.4g}, and "
        f"hardly higher from {floor[0]:.2g} to {floor[1]:.2g}"
    )
    if interval is None:
        reason += "; one seed cannot say how sure that is"
    else:
        low, high = rounded(middle - half), rounded(middle + half)
        interval = min(interval[0], low), max(interval[1], high)
        reason += (
            f"; 90% of draws of the {len(blocks.losses)} seeds give {interval[0]:.2g} to "
            f"{interval[1]:.2g}"
        )
    ends = regions.too_low, regions.too_high, regions.explodes
    return Suggestion(rounded(middle), interval, reason, floor, valley.curve, *ends)


def loss_limits(
    losses: Float[np.ndarray, "seeds rates"], suggestion: Suggestion
) -> tuple[float, float]:
    """Return the lowest and the highest loss that a figure of the curve should show."""
    median = suggestion.curve.median
    finite = median[np.isfinite(median)]
    if not len(finite):
        return 0.0, 1.0
    start = float(np.median(finite[: max(3, len(finite) // 20)]))
    lowest = float(finite.min())
    drop = max(start - lowest, 1e-3 * abs(start), 1e-9)
    within = losses[np.isfinite(losses) & (losses <= start + drop)]
    return min(lowest, float(within.min())), min(start + drop / 2, max(float(within.max()), start))
