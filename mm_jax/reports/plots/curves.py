"""Figures of losses: over steps, over learning rates, over the choices of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mm_jax.reports.plots.style import BLUE, GREEN, GREY, INK, ORANGE, label, stroke, styled
from mm_jax.runs.metrics import LossCurve

WINDOW = 0.02  # of a run over which its losses are smoothed
ABOVE = 1.15  # times the highest floor: what lies above is the beginning, and is left out
SHORT = 0.85  # of the losses lie below that, where it is left out


@styled
def training(curves: Sequence[LossCurve], floors: Sequence[tuple[str, float]] = ()) -> Figure:
    """Draw the loss over steps, of each member faintly; below it the learning rate.

    ``floors`` are names and losses that the curve is held against.
    """
    rated = any(len(curve.rates) for curve in curves)
    figure = Figure(figsize=(5.3, 4.8 if rated else 4))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1)) if rated else None
    axes: Axes = figure.subplots() if panels is None else panels[0]
    last = max(curve.end for curve in curves)
    smooth = [smoothed(curve.losses) for curve in curves]
    for i, (curve, line) in enumerate(zip(curves, smooth, strict=True)):
        faint: dict[str, Any] = {
            "color": GREY,
            "linewidth": 0.6,
            "alpha": 0.6 if len(curves) == 1 else 0.25,
        }
        name = f"train, mean of {curve.interval:,} steps" if curve.interval > 1 else "train"
        axes.plot(curve.steps, np.log10(curve.losses), **faint, label=None if i else name)
        many = 1 if len(curves) == 1 else 0.5
        name = "train, smoothed" + (f", each of {len(curves)} seeds" if len(curves) > 1 else "")
        axes.plot(curve.steps, np.log10(line), color=BLUE, alpha=many, label=None if i else name)
        if len(curve.dev_steps):
            style: dict[str, Any] = {
                "color": ORANGE,
                "marker": "o",
                "markersize": 4,
                "linewidth": 1.2,
            }
            dev = np.log10(curve.dev_losses)
            axes.plot(
                curve.dev_steps, dev, "--", **style, alpha=many, label=None if i else "dev, exact"
            )
    _limit(axes, curves, [loss for _, loss in floors])
    _draw_floors(axes, floors, float(np.log10(np.mean([line[-1] for line in smooth]))), last)
    axes.set_xlim(0, last)
    axes.set_ylabel("log10 of the loss")
    _add_nats(axes)
    axes.set_title("Loss over steps")
    below = axes if panels is None else panels[1]
    if panels is not None:
        rates = max(curves, key=lambda curve: len(curve.rates))
        below.plot(rates.steps, rates.rates, color=GREEN)
        if rates.rates.min() > 0 and rates.rates.max() / rates.rates.min() < 1e3:
            below.set_yscale("log")
        else:
            below.set_ylim(0)
        below.set_ylabel("learning rate")
        below.grid(axis="y")
        figure.align_ylabels([axes, below])
    _steps(below)
    legend = figure.legend(loc="outside lower center", ncols=3 if len(curves) == 1 else 2)
    for handle in legend.get_lines():
        handle.set_linewidth(max(handle.get_linewidth(), 1))
        handle.set_alpha(1)
    return figure


def _steps(axes: Axes) -> None:
    """Write steps below an axis, few enough that they stand apart."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")


def smoothed(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the mean of what lies around each point, over ``WINDOW`` of them all."""
    half = int(len(losses) * WINDOW / 2)
    sums = np.cumsum(np.insert(losses, 0, 0.0))
    places = np.arange(len(losses))
    first = np.maximum(places - half, 0)
    last = np.minimum(places + half + 1, len(losses))
    return (sums[last] - sums[first]) / (last - first)


def _limit(axes: Axes, curves: Sequence[LossCurve], floors: Sequence[float]) -> None:
    """Leave out of the picture the short beginning that lies far above all floors, and say so."""
    every = np.concatenate([*(curve.losses for curve in curves), floors])
    dev = np.concatenate([curve.dev_losses for curve in curves])
    low, high = (
        float(min(every.min(), *dev)) if len(dev) else float(every.min()),
        float(every.max()),
    )
    top = ABOVE * max(floors) if floors else high
    lines = np.concatenate([curve.losses for curve in curves])
    if high > top > np.quantile(lines, SHORT):
        begin = max(curve.losses[0] for curve in curves)
        after = max(curve.steps[int(np.argmax(curve.losses < top))] for curve in curves)
        axes.annotate(
            f"from {begin:.3g} nats at the beginning",
            (after, 1),
            (18, -3),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            va="top",
            fontsize=8.5,
            arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0},
        )
        high = top
    span = np.log10(high) - np.log10(low)
    axes.set_ylim(np.log10(low) - 0.05 * span - 1e-3, np.log10(high) + 0.08 * span + 1e-3)


def _draw_floors(axes: Axes, floors: Sequence[tuple[str, float]], end: float, last: float) -> None:
    """Draw each floor as a line with its name: above it where the curve ends below, else under."""
    low, high = axes.get_ylim()
    height = 0.055 * (high - low)  # of a name
    named = [(name, loss, float(np.log10(loss))) for name, loss in floors]
    named = [each for each in sorted(named, key=lambda each: -each[2]) if low < each[2] < high]
    bottoms = [y + 0.1 * height if y >= end else y - 1.1 * height for _, _, y in named]
    for (name, loss, y), bottom in zip(named, stacked(bottoms, height, low), strict=True):
        axes.axhline(y, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0.9)
        kind: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 8.5}
        axes.annotate(
            f"{name}, {loss:.3f}", (last, bottom), (-3, 0), textcoords="offset points", **kind
        )


def stacked(bottoms: Sequence[float], height: float, low: float) -> list[float]:
    """Return places from the top down that are ``height`` apart, each near where it was to be.

    >>> stacked([5.0, 4.9, 0.5], height=1.0, low=0.0)
    [5.0, 4.0, 0.5]
    """
    places = list(bottoms)
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - height)
    for i in reversed(range(len(places))):
        places[i] = max(places[i], low if i == len(places) - 1 else places[i + 1] + height)
    return places


def _add_nats(axes: Axes) -> None:
    """Write nats beside an axis that is log10 of them."""
    right = axes.secondary_yaxis("right", functions=(_power, _log10))
    right.set_ylabel("loss, nats a symbol")
    low, high = (10.0**y for y in axes.get_ylim())
    if high / low > 5:  # evenly spaced ones would lie upon each other at the top
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
        steps = (1, 2, 5) if high / low < 300 else (1,)
        ticks = [m * 10.0**power for power in powers[:: 1 + len(powers) // 8] for m in steps]
        right.set_yticks(
            [tick for tick in ticks if low <= tick <= high],
            [f"{tick:,g}" for tick in ticks if low <= tick <= high],
        )


@styled
def losses(nats: Float[np.ndarray, " steps"], title: str, block: int = 1000) -> Figure:
    """Draw the losses of minibatches as log10, as the lecture does, and the mean of each block."""
    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    steps = np.arange(len(nats))
    axes.plot(steps, np.log10(nats), color=GREY, linewidth=0.3, alpha=0.6, label="each minibatch")
    block = max(1, min(block, len(nats) // 10))
    means = nats[: len(nats) // block * block].reshape(-1, block).mean(1)
    middles = (np.arange(len(means)) + 0.5) * block
    name = f"mean of {block:,} steps"
    axes.plot(middles, np.log10(means), color=BLUE, label=name)
    axes.set_xlim(0, len(nats))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel("log10 of the loss in nats a symbol")
    _add_nats(axes)
    axes.set_title(title)
    for line in axes.legend(loc="upper right").get_lines():
        line.set_linewidth(2)
    return figure


def _power(y: Any) -> Any:
    return 10.0**y


def _log10(nats: Any) -> Any:
    return np.log10(np.maximum(nats, 1e-30))  # matplotlib asks for 0, too


@styled
def ratios(looks: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how much a step changes each array over time, and the share of saturated units.

    About 1e-3 is good, by the third makemore lecture.
    """
    names = list(looks[0]["update_to_data"])
    layers = list(looks[0]["saturated"])
    figure = Figure(figsize=(5.3, 4.8 if layers else 4))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1)) if layers else None
    axes: Axes = figure.subplots() if panels is None else panels[0]
    steps = [look["step"] for look in looks]
    for i, name in enumerate(names):
        with np.errstate(divide="ignore", invalid="ignore"):
            y = np.log10(np.array([float(look["update_to_data"][name]) for look in looks]))
        y = np.where(np.isfinite(y), y, np.nan)
        axes.plot(steps, y, **stroke(i), linewidth=1.4, label=label(name))
    axes.axhline(-3, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        "about -3 is good",
        (1, -3),
        (-3, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
    )
    axes.set_ylabel("log10 of std(update) / std(array)")
    axes.set_title("How much a step changes each array")
    below = axes
    if panels is not None:
        below = panels[1]
        for i, name in enumerate(layers):
            share = [100 * float(look["saturated"][name]) for look in looks]
            below.plot(steps, share, **stroke(i) | {"color": INK})
        below.set_ylim(0, 100)
        below.set_ylabel("saturated, %")
        below.grid(axis="y")
        figure.align_ylabels([axes, below])
    below.set_xlim(0, steps[-1])
    _steps(below)
    figure.legend(loc="outside lower center", ncols=6)
    return figure
