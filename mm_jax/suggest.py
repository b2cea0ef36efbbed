"""A curve of losses over learning rates -> the rate to train with, how sure that is, and why.

Enters: rates and, for every seed, the loss at each. Leaves: a Suggestion. The rate is the middle of
the valley's floor in log rate, of the median over seeds, smoothed; its interval comes from drawing
the seeds again (Efron 1979). Where there is no valley there is a reason in place of a rate.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

BLOCKS = 200  # what the curve is cut into: the steps of a block are averaged first
BANDWIDTH = 0.1  # decades of rate over which the curve is smoothed (one standard deviation)
FLOOR = 0.001  # of the drop: rates whose loss is within this of the lowest are the valley's floor
TOO_LOW, TOO_HIGH = 0.5, 0.15  # of the drop: what is missing to the left, what is lost to the right
CLEAR = 5.0  # standard errors by which the curve has to drop
DRAWS = 400  # of the seeds, for the interval
INTERVAL = (0.05, 0.95)


class Curve(NamedTuple):
    """The median over seeds in blocks, and the smooth curve through it; of equal length."""

    lrs: Float[np.ndarray, " blocks"]
    median: Float[np.ndarray, " blocks"]  # inf where at least half of the seeds diverged
    smooth: Float[np.ndarray, " blocks"]  # nan where the median has exploded


class Suggestion(NamedTuple):
    """A learning rate or none, the reason in words, and what a figure of the curve shows."""

    lr: float | None  # None where the curve supports none; ``reason`` then says why
    interval: tuple[float, float] | None  # 5% to 95% over draws of the seeds; None for one seed
    reason: str
    floor: tuple[float, float] | None  # rates with a loss near the lowest
    too_low: float | None  # below this rate less than half of the drop is reached
    too_high: float | None  # above this rate 15% of the drop is lost again
    explodes: bool  # above too_high the loss is not finite, or far above that of no training
    curve: Curve

    @property
    def called_high(self) -> str:
        """What the rates above too_high are called."""
        return "explodes" if self.explodes else "too high"


def suggest(
    lrs: Float[np.ndarray, " rates"],
    losses: Float[np.ndarray, "seeds rates"],
    untrained: float | None = None,
) -> Suggestion:
    """Return the learning rate that a curve supports.

    ``lrs`` rise; ``losses`` are in any unit, not finite where training diverged. ``untrained`` is
    the loss before any training; by default that of the lowest rates, as in a sweep.
    """
    x, blocks = in_blocks(lrs, losses)
    raw = np.median(blocks, 0)
    median = despiked(raw)
    curve = Curve(np.exp(x), median, np.full_like(median, np.nan))
    low, high = f"{lrs[0]:.3g}", f"{lrs[-1]:.3g}"
    if not np.isfinite(median).any():
        why = f"the loss is not finite at any rate from {low} to {high}; lower --min"
        return _refusal(why, curve)
    head = median[: max(3, len(median) // 20)]
    start = untrained if untrained is not None else float(np.median(head))
    noise = spread(np.diff(raw[np.isfinite(raw)], 2)) / np.sqrt(6)  # what a line does not explain
    if not np.isfinite(start):
        return _refusal(f"training diverges from the lowest rate on, {low}; lower --min", curve)
    drop = start - median.min()
    exploded = ~(median <= start + max(drop, 6 * noise))
    if (~exploded).sum() < 5:
        why = f"training diverges at all but {(~exploded).sum()} rates or so; lower --min"
        return _refusal(why, curve)
    smoother = smoothing(x, ~exploded)
    filled = np.where(exploded, 0.0, median)  # what is masked has no weight in the smoother
    curve = curve._replace(smooth=np.where(exploded, np.nan, smoother @ filled))
    m = int(np.nanargmin(curve.smooth))
    lowest = float(curve.smooth[m])
    drop = start - lowest
    error = noise * float(np.sqrt((smoother[m] ** 2).sum()))
    unclear = CLEAR * math.hypot(error, 1.25 * noise / math.sqrt(len(head)))
    if drop <= max(unclear, 1e-6 * abs(start)):
        if exploded[-1] or curve.smooth[-1] > start + unclear:
            why = f"the loss only rises from {low} on; every rate is too high: lower --min"
        else:
            why = (
                f"the curve is flat: no rate from {low} to {high} changes the loss, {start:.4g}, "
                "by more than its noise; widen --min to --max, or train longer"
            )
        return _refusal(why, curve)
    tolerance = max(FLOOR * drop, 2 * error)
    left, right, walls = floor_of(x, curve.smooth, tolerance)
    too_low = crossing(x, curve.smooth, m, start - TOO_LOW * drop, -1)
    too_high = crossing(x, curve.smooth, m, lowest + TOO_HIGH * drop, 1)
    if walls != (True, True):
        if not walls[1]:
            why = f"the loss has not risen again at the highest rate, {high}; raise --max"
        else:
            why = f"the loss is lowest at the lowest rate, {low}, or near it; lower --min"
        return _refusal(why, curve)._replace(
            too_low=too_low, too_high=too_high, explodes=bool(exploded[m:].any())
        )
    lr = rounded((left + right) / 2)
    floor = rounded(left), rounded(right)
    reason = (
        f"the loss is lowest there: {lowest:.4g}, down from {start:.4g}, and hardly above that "
        f"from {floor[0]:.2g} to {floor[1]:.2g}"
    )
    interval = None
    if len(blocks) > 1:
        interval = interval_of(x, blocks, exploded, smoother, tolerance)
        reason += f"; 90% of draws of the {len(blocks)} seeds give"
        reason += f" {interval[0]:.2g} to {interval[1]:.2g}"
    else:
        reason += "; one seed cannot say how sure that is"
    return Suggestion(lr, interval, reason, floor, too_low, too_high, bool(exploded[m:].any()), curve)


def _refusal(why: str, curve: Curve) -> Suggestion:
    return Suggestion(None, None, why, None, None, None, False, curve)


def loss_limits(
    losses: Float[np.ndarray, "seeds rates"], found: Suggestion
) -> tuple[float, float]:
    """Return the lowest and the highest loss that a picture of the curve should show."""
    median = found.curve.median
    shown = median[np.isfinite(median)]
    if not len(shown):
        return 0.0, 1.0
    start = float(np.median(shown[: max(3, len(shown) // 20)]))
    lowest = float(shown.min())
    drop = max(start - lowest, 1e-3 * abs(start), 1e-9)
    within = losses[np.isfinite(losses) & (losses <= start + drop)]
    return min(lowest, float(within.min())), min(start + drop / 2, max(float(within.max()), start))


def in_blocks(
    lrs: Float[np.ndarray, " rates"], losses: Float[np.ndarray, "seeds rates"]
) -> tuple[Float[np.ndarray, " blocks"], Float[np.ndarray, "seeds blocks"]]:
    """Return log rates and losses, averaged over the steps of each block; what diverged is inf."""
    edges = np.linspace(0, len(lrs), min(len(lrs), BLOCKS) + 1).astype(int)
    sizes = np.diff(edges)
    x = np.add.reduceat(np.log(np.asarray(lrs, np.float64)), edges[:-1]) / sizes
    losses = np.asarray(losses, np.float64)
    bad = ~np.isfinite(losses)
    means = np.add.reduceat(np.where(bad, 0.0, losses), edges[:-1], axis=1) / sizes
    return x, np.where(np.logical_or.reduceat(bad, edges[:-1], axis=1), np.inf, means)


def despiked(curve: Float[np.ndarray, "... blocks"]) -> Float[np.ndarray, "... blocks"]:
    """Return the running median of three: a single block that stands out goes."""
    ends = curve[..., :1], curve, curve[..., -1:]
    padded = np.concatenate(ends, -1)
    return np.median(np.stack([padded[..., :-2], curve, padded[..., 2:]]), 0)


def spread(values: Float[np.ndarray, " n"]) -> float:
    """Return the standard deviation, estimated by the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def smoothing(
    x: Float[np.ndarray, " blocks"], used: Bool[np.ndarray, " blocks"]
) -> Float[np.ndarray, "blocks blocks"]:
    """Return the matrix of local linear regression with a Gaussian kernel (Cleveland 1979)."""
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    width = max(min(BANDWIDTH * np.log(10), (x[-1] - x[0]) / 10), spacing)
    away = x[None, :] - x[:, None]
    weights = np.exp(-0.5 * (away / width) ** 2) * used
    s0, s1, s2 = (np.sum(weights * away**power, 1, keepdims=True) for power in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(used[:, None], weights * (s2 - s1 * away) / (s0 * s2 - s1**2), 0.0)


def floor_of(
    x: Float[np.ndarray, " blocks"], smooth: Float[np.ndarray, " blocks"], tolerance: float
) -> tuple[float, float, tuple[bool, bool]]:
    """Return the log rates where the valley's floor begins and ends, and which walls there are."""
    m = int(np.nanargmin(smooth))
    level = smooth[m] + tolerance
    ends = [crossing(x, smooth, m, level, side) for side in (-1, 1)]
    left, right = (
        (np.log(end) if end is not None else x[bound])
        for end, bound in zip(ends, (0, -1), strict=True)
    )
    return float(left), float(right), (ends[0] is not None, ends[1] is not None)


def crossing(
    x: Float[np.ndarray, " blocks"],
    smooth: Float[np.ndarray, " blocks"],
    m: int,
    level: float,
    side: int,
) -> float | None:
    """Return the rate nearest to block ``m`` on a side where the curve rises above a level."""
    i = m
    while 0 <= i + side < len(x):
        here, there = smooth[i], smooth[i + side]
        if np.isnan(there):  # exploded
            return float(np.exp((x[i] + x[i + side]) / 2))
        if there > level:
            share = (level - here) / (there - here) if there > here else 0.0
            return float(np.exp(x[i] + share * (x[i + side] - x[i])))
        i += side
    return None


def interval_of(
    x: Float[np.ndarray, " blocks"],
    blocks: Float[np.ndarray, "seeds blocks"],
    exploded: Bool[np.ndarray, " blocks"],
    smoother: Float[np.ndarray, "blocks blocks"],
    tolerance: float,
) -> tuple[float, float]:
    """Return the interval of the suggestion over draws of the seeds, with replacement."""
    draws = np.random.default_rng(0).integers(len(blocks), size=(DRAWS, len(blocks)))
    highest = blocks[:, ~exploded]
    highest = highest[np.isfinite(highest)].max()
    curves = despiked(np.median(np.minimum(blocks, highest)[draws], 1))
    smooth = np.where(exploded, np.nan, np.where(exploded, 0.0, curves) @ smoother.T)
    middles = [sum(floor_of(x, each, tolerance)[:2]) / 2 for each in smooth]
    low, high = np.quantile(middles, INTERVAL)
    return rounded(low), rounded(high)


def rounded(log_rate: float) -> float:
    """Return a rate to three digits, which is more than anyone can tell apart."""
    return float(f"{np.exp(log_rate):.3g}")
