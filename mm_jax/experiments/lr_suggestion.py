"""A curve of losses over learning rates -> the rate to train with, how sure that is, and why.

Enters: rates and, for every seed, the loss at each. Leaves: a Suggestion. The rate is the middle of
the valley's floor in log rate, of the median over seeds, smoothed; its interval comes from drawing
the seeds again (Efron 1979). Where there is no valley there is a reason in place of a rate.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mm_jax.config.base import InputError

BLOCKS = 200  # what the curve is cut into: the steps of a block are averaged first
BANDWIDTH = 0.1  # decades of rate over which the curve is smoothed (one standard deviation)
FLOOR = 0.001  # of the drop: rates whose loss is within this of the lowest are the valley's floor
TOO_LOW, TOO_HIGH = 0.5, 0.15  # of the drop: what is missing to the left, what is lost to the right
NOISE = 2.0  # standard errors within which losses are as low as the lowest
WALL = 6.0  # standard errors that a valley's sides have to rise above it, or are part of it
CLEAR = 5.0  # standard errors by which the curve has to drop
UNSURE = 10.0  # an interval that ends at more than this many times its beginning is no answer
DRAWS = 400  # of the seeds, for the interval
INTERVAL = (0.05, 0.95)


class SmoothedCurve(NamedTuple):
    """The median over seeds in blocks, and the smooth curve through it; of equal length."""

    lrs: Float[np.ndarray, " blocks"]
    median: Float[np.ndarray, " blocks"]  # inf where at least half of the seeds diverged
    smooth: Float[np.ndarray, " blocks"]  # nan where the median has exploded


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
    x, blocks = in_blocks(lrs, losses)
    raw = np.median(blocks, 0)
    median = despiked(raw)
    curve = SmoothedCurve(np.exp(x), median, np.full_like(median, np.nan))
    low, high = f"{lrs[0]:.3g}", f"{lrs[-1]:.3g}"
    rises = f"the loss is lowest at the lowest rate, {low}, and only rises from there; lower --min"
    if not np.isfinite(raw).any():
        why = f"at least half of the seeds diverge at every rate from {low} to {high}; lower --min"
        return _refusal(why, curve)
    head = median[: max(3, len(median) // 20)]
    first = float(np.median(head))
    start = first if untrained is None else float(np.median(untrained))
    drop = start - float(median.min())
    bad = max(start, float(median.min()))  # what the loss is where nothing is learned
    calm = raw[raw <= bad + 2 * abs(drop)] if np.isfinite(bad) else raw[:0]
    noise = spread(np.diff(calm, 2)) / math.sqrt(6)  # what a line does not explain
    exploded = ~(median <= bad + max(drop, 6 * noise))
    if len(calm) < 5 or (~exploded).sum() < 5:
        diverges = f"training diverges at the lowest rate, {low}, or soon after it; lower --min"
        trains = np.isfinite(start) and np.isfinite(median).sum() >= 5
        return _refusal(rises if trains else diverges, curve)
    smoother = smoothing(x, ~exploded)
    filled = np.where(exploded, 0.0, median)  # what is masked has no weight in the smoother
    curve = curve._replace(smooth=np.where(exploded, np.nan, smoother @ filled))
    m = int(np.nanargmin(curve.smooth))
    lowest = float(curve.smooth[m])
    drop = start - lowest
    errors = noise * np.sqrt((smoother**2).sum(1))  # larger towards the ends
    unclear = CLEAR * math.hypot(errors[m], 1.25 * noise / math.sqrt(len(head)))
    unclear = max(unclear, 1e-6 * abs(start))
    if drop <= unclear:
        end = exploded[-max(1, len(exploded) // 10) :].mean()
        if end > 0.5 or curve.smooth[-1] > bad + unclear:
            return _refusal(rises, curve)
        why = (
            f"the curve is flat: no rate from {low} to {high} changes the loss, {start:.4g}, "
            "by more than its noise; widen --min to --max, take more seeds, or train longer"
        )
        return _refusal(why, curve)
    tolerance = np.maximum(FLOOR * drop, NOISE * errors)
    walls = np.maximum(FLOOR * drop, WALL * errors)
    (left, right), (left_wall, right_wall) = (
        [float(end[0]) for end in crossings(x, curve.smooth[None], (lowest + height)[None])]
        for height in (tolerance, walls)
    )
    too_low = rate_or_none(crossings(x, curve.smooth[None], start - TOO_LOW * drop)[0])
    too_high = rate_or_none(crossings(x, curve.smooth[None], lowest + TOO_HIGH * drop)[1])
    after = np.flatnonzero(exploded[m:])
    explodes = rounded((x[m + after[0] - 1] + x[m + after[0]]) / 2) if len(after) else None
    interval = None
    fault: str | None = None
    if math.isnan(right_wall):
        fault = f"the loss has not risen again at the highest rate, {high}; raise --max"
    elif math.isnan(left_wall):
        fault = rises
    elif sweep and abs(start - first) > max(TOO_LOW * drop, unclear):
        fault = (
            f"the loss goes from {start:.4g} to {first:.4g} within the first steps, near the "
            f"lowest rate, {low}; lower --min"
        )
    elif len(blocks) > 1:
        interval = interval_of(x, blocks, exploded, smoother, tolerance)
        if interval[1] > UNSURE * interval[0]:
            fault = (
                f"the seeds do not agree: 90% of their draws give {interval[0]:.2g} to "
                f"{interval[1]:.2g}; take more --seeds, or train longer"
            )
    if fault is not None:
        return Suggestion(None, None, fault, None, curve, too_low, too_high, explodes)
    middle, half = (left + right) / 2, (x[1] - x[0]) / 2  # no curve tells more than its points
    floor = rounded(min(left_wall, middle - half)), rounded(max(right_wall, middle + half))
    reason = (
        f"the loss is lowest there: {lowest:.4g}, down from {start:.4g}, and hardly higher "
        f"from {floor[0]:.2g} to {floor[1]:.2g}"
    )
    if interval is None:
        reason += "; one seed cannot say how sure that is"
    else:
        interval = (
            min(interval[0], rounded(middle - half)),
            max(interval[1], rounded(middle + half)),
        )
        reason += f"; 90% of draws of the {len(blocks)} seeds give"
        reason += f" {interval[0]:.2g} to {interval[1]:.2g}"
    return Suggestion(rounded(middle), interval, reason, floor, curve, too_low, too_high, explodes)


def check_curve(lrs: np.ndarray, losses: np.ndarray, untrained: np.ndarray | None) -> None:
    """Raise InputError where these are no curve."""
    if np.ndim(lrs) != 1 or np.ndim(losses) != 2 or np.shape(losses)[1] != len(lrs):
        shapes = f"{np.shape(lrs)} and {np.shape(losses)}"
        raise InputError(f"rates (N,) and losses (seeds, N) are wanted, not {shapes}")
    if len(lrs) < 10 or not len(losses):
        raise InputError(f"a curve has 10 rates and 1 seed or more, not {np.shape(losses)[::-1]}")
    if not (np.isfinite(lrs).all() and lrs[0] > 0 and (np.diff(lrs) > 0).all()):
        raise InputError("the rates must be finite, above 0, and rise")
    if untrained is not None and np.shape(untrained) != np.shape(losses)[:1]:
        raise InputError(f"untrained is one loss a seed, not {np.shape(untrained)}")


def _refusal(why: str, curve: SmoothedCurve) -> Suggestion:
    return Suggestion(None, None, why, None, curve)


def loss_limits(losses: Float[np.ndarray, "seeds rates"], found: Suggestion) -> tuple[float, float]:
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
    """Return the running median of three: a single block that stands out goes.

    An end is the median of itself, its neighbour and the line through the next two (Tukey 1977).
    """
    inner = np.median(np.stack([curve[..., :-2], curve[..., 1:-1], curve[..., 2:]]), 0)

    def end(value: Any, near: Any, further: Any) -> Any:
        with np.errstate(invalid="ignore"):  # inf - inf where both have diverged
            line = 3 * near - 2 * further
        line = np.where(np.isnan(line), near, line)
        return np.median(np.stack([value, near, line]), 0)[..., None]

    first = end(curve[..., 0], inner[..., 0], inner[..., 1])
    last = end(curve[..., -1], inner[..., -1], inner[..., -2])
    return np.concatenate([first, inner, last], -1)


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


def crossings(
    x: Float[np.ndarray, " blocks"],
    smooth: Float[np.ndarray, "curves blocks"],
    level: float | Float[np.ndarray, "#curves blocks"],
) -> tuple[Float[np.ndarray, " curves"], Float[np.ndarray, " curves"]]:
    """Return the log rates left and right of each lowest point where a curve exceeds a level.

    What has exploded exceeds every level; nan where a curve does not.
    """
    places, lowest = np.arange(len(x)), np.nanargmin(smooth, 1, keepdims=True)
    level = np.broadcast_to(level, smooth.shape)
    above = np.isnan(smooth) | (smooth > level)

    def meet(outer: Any, inner: Any, found: Any) -> Any:
        outer, inner = np.where(found, outer, lowest), np.where(found, inner, lowest)
        here, there = (np.take_along_axis(smooth, place, 1) for place in (inner, outer))
        with np.errstate(invalid="ignore", divide="ignore"):
            bound = np.take_along_axis(level, outer, 1)
            share = np.where(np.isnan(there), 0.5, np.clip((bound - here) / (there - here), 0, 1))
            return np.where(found, x[inner] + share * (x[outer] - x[inner]), np.nan)[:, 0]

    left = np.where(above & (places < lowest), places, -1).max(1, keepdims=True)
    right = np.where(above & (places > lowest), places, len(x)).min(1, keepdims=True)
    return meet(left, left + 1, left >= 0), meet(right, right - 1, right < len(x))


def interval_of(
    x: Float[np.ndarray, " blocks"],
    blocks: Float[np.ndarray, "seeds blocks"],
    exploded: Bool[np.ndarray, " blocks"],
    smoother: Float[np.ndarray, "blocks blocks"],
    tolerance: Float[np.ndarray, " blocks"],
) -> tuple[float, float]:
    """Return the interval of the suggestion over draws of the seeds, with replacement."""
    draws = np.random.default_rng(0).integers(len(blocks), size=(DRAWS, len(blocks)))
    finite = blocks[:, ~exploded]
    highest = finite[np.isfinite(finite)].max()
    curves = despiked(np.median(np.minimum(blocks, highest)[draws], 1))
    smooth = np.where(exploded, np.nan, np.where(exploded, 0.0, curves) @ smoother.T)
    level = np.nanmin(smooth, 1, keepdims=True) + tolerance
    left, right = crossings(x, smooth, level)
    middles = (np.where(np.isnan(left), x[0], left) + np.where(np.isnan(right), x[-1], right)) / 2
    low, high = np.quantile(middles, INTERVAL)
    return rounded(low), rounded(high)


def rate_or_none(log_rate: Float[np.ndarray, " 1"]) -> float | None:
    """Return one of the log rates that ``crossings`` finds as a rate."""
    return None if np.isnan(log_rate[0]) else rounded(log_rate[0])


def rounded(log_rate: float) -> float:
    """Return a rate to three digits, which is more than anyone can tell apart."""
    return float(f"{np.exp(log_rate):.3g}")
