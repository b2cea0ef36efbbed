"""A curve of losses over learning rates: cut into blocks, smoothed, and where it crosses a level.

Rates rise and are handled as log rates x; the median over seeds is smoothed by local linear
regression (Cleveland 1979) after single outliers are removed by a running median (Tukey 1977).
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mm_jax.config.base import InputError

BLOCKS = 200  # what the curve is cut into: the steps of a block are averaged first
BANDWIDTH = 0.1  # decades of rate over which the curve is smoothed (one standard deviation)


def check_curve(lrs: np.ndarray, losses: np.ndarray, untrained: np.ndarray | None) -> None:
    """Raise InputError where the arrays do not belong together, or the rates do not rise."""
    if np.ndim(lrs) != 1 or np.ndim(losses) != 2 or np.shape(losses)[1] != len(lrs):
        shapes = f"{np.shape(lrs)} and {np.shape(losses)}"
        raise InputError(f"rates (N,) and losses (seeds, N) are needed, not {shapes}")
    if len(lrs) < 10 or not len(losses):
        raise InputError(f"a curve has 10 rates and 1 seed or more, not {np.shape(losses)[::-1]}")
    if not (np.isfinite(lrs).all() and lrs[0] > 0 and (np.diff(lrs) > 0).all()):
        raise InputError("the rates must be finite, above 0, and rise")
    if untrained is not None and np.shape(untrained) != np.shape(losses)[:1]:
        raise InputError(f"untrained is one loss per seed, not {np.shape(untrained)}")


def in_blocks(
    lrs: Float[np.ndarray, " rates"], losses: Float[np.ndarray, "seeds rates"]
) -> tuple[Float[np.ndarray, " blocks"], Float[np.ndarray, "seeds blocks"]]:
    """Return log rates and losses, averaged over the rates of each block.

    A block in which any loss is not finite is inf.
    """
    edges = np.linspace(0, len(lrs), min(len(lrs), BLOCKS) + 1).astype(int)
    sizes = np.diff(edges)
    x = np.add.reduceat(np.log(np.asarray(lrs, np.float64)), edges[:-1]) / sizes
    losses = np.asarray(losses, np.float64)
    diverged = ~np.isfinite(losses)
    means = np.add.reduceat(np.where(diverged, 0.0, losses), edges[:-1], axis=1) / sizes
    return x, np.where(np.logical_or.reduceat(diverged, edges[:-1], axis=1), np.inf, means)


def despiked(curve: Float[np.ndarray, "... blocks"]) -> Float[np.ndarray, "... blocks"]:
    """Return the running median of three, which removes a single outlier.

    An end is the median of itself, its neighbour and the line through the next two (Tukey 1977).
    """
    inner = np.median(np.stack([curve[..., :-2], curve[..., 1:-1], curve[..., 2:]]), 0)

    def end(value: Any, near: Any, far: Any) -> Any:
        with np.errstate(invalid="ignore"):  # inf - inf where both have diverged
            line = 3 * near - 2 * far
        line = np.where(np.isnan(line), near, line)
        return np.median(np.stack([value, near, line]), 0)[..., None]

    first = end(curve[..., 0], inner[..., 0], inner[..., 1])
    last = end(curve[..., -1], inner[..., -1], inner[..., -2])
    return np.concatenate([first, inner, last], -1)


def robust_std(values: Float[np.ndarray, " n"]) -> float:
    """Return the standard deviation, estimated by the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def smoothing_matrix(
    x: Float[np.ndarray, " blocks"], used: Bool[np.ndarray, " blocks"]
) -> Float[np.ndarray, "blocks blocks"]:
    """Return the matrix of local linear regression with a Gaussian kernel.

    Only blocks that are ``used`` have weight; the rows of the others are 0.
    """
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    width = max(min(BANDWIDTH * np.log(10), (x[-1] - x[0]) / 10), spacing)
    distance = x[None, :] - x[:, None]
    weights = np.exp(-0.5 * (distance / width) ** 2) * used
    s0, s1, s2 = (np.sum(weights * distance**power, 1, keepdims=True) for power in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(used[:, None], weights * (s2 - s1 * distance) / (s0 * s2 - s1**2), 0.0)


def crossings(
    x: Float[np.ndarray, " blocks"],
    smooth: Float[np.ndarray, "curves blocks"],
    level: float | Float[np.ndarray, "#curves blocks"],
) -> tuple[Float[np.ndarray, " curves"], Float[np.ndarray, " curves"]]:
    """Return the log rates left and right of each lowest point where a curve exceeds a level.

    What is nan has exploded, and exceeds every level. A side on which no block exceeds it is nan.
    """
    places, lowest = np.arange(len(x)), np.nanargmin(smooth, 1, keepdims=True)
    level = np.broadcast_to(level, smooth.shape)
    above = np.isnan(smooth) | (smooth > level)

    def interpolate(outer: Any, inner: Any, exists: Any) -> Any:
        outer, inner = np.where(exists, outer, lowest), np.where(exists, inner, lowest)
        below, beyond = (np.take_along_axis(smooth, place, 1) for place in (inner, outer))
        with np.errstate(invalid="ignore", divide="ignore"):
            bound = np.take_along_axis(level, outer, 1)
            share = np.clip((bound - below) / (beyond - below), 0, 1)
            share = np.where(np.isnan(beyond), 0.5, share)
            return np.where(exists, x[inner] + share * (x[outer] - x[inner]), np.nan)[:, 0]

    left = np.where(above & (places < lowest), places, -1).max(1, keepdims=True)
    right = np.where(above & (places > lowest), places, len(x)).min(1, keepdims=True)
    left_rates = interpolate(left, left + 1, left >= 0)
    return left_rates, interpolate(right, right - 1, right < len(x))
