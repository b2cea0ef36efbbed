"""Figures of losses: over steps, over learning rates, over the choices of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mm_jax.reports.plots.groups import group_names
from mm_jax.reports.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINES,
    ORANGE,
    escaped,
    num_columns,
    stroke,
    styled,
)
from mm_jax.runs.metrics import LossCurve

SMOOTHING_WINDOW = 0.02  # share of a run over which its losses are averaged
TOP = 1.15  # times the highest baseline; losses above are cut off where they are only the start
MIN_SHARE_BELOW_TOP = 0.85  # of the losses, where those above are cut off
DOTS = (0, (1, 2))


@styled
def training(curves: Sequence[LossCurve], baselines: Sequence[tuple[str, float]] = ()) -> Figure:
    """Draw the loss over steps, that of each minibatch faintly; below it the learning rate.

    ``baselines`` are names and losses that are drawn as lines.
    """
    has_rates = any(len(curve.rates) for curve in curves)
    figure = Figure(figsize=(5.3, 4.8 if has_rates else 4))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1)) if has_rates else None
    axes: Axes = figure.subplots() if panels is None else panels[0]
    for i, curve in enumerate(curves):
        _draw_losses(axes, curve, len(curves), is_first=i == 0)
    last_step = max(curve.end for curve in curves)
    last_loss = float(np.mean([smoothed(curve.losses)[-1] for curve in curves]))
    _set_limits(axes, curves, [loss for _, loss in baselines])
    _draw_baselines(axes, baselines, float(np.log10(last_loss)), last_step)
    axes.set_xlim(0, last_step)
    axes.set_ylabel("log10 of the loss")
    _add_nats_axis(axes)
    axes.set_title("Loss over steps")
    if panels is not None:
        _draw_rates(panels[1], max(curves, key=lambda curve: len(curve.rates)))
        figure.align_ylabels([axes, panels[1]])
    _label_steps(axes if panels is None else panels[1])
    legend = figure.legend(loc="outside lower center", ncols=3 if len(curves) == 1 else 2)
    for handle in legend.get_lines():
        handle.set_linewidth(max(handle.get_linewidth(), 1))
        handle.set_alpha(1)
    return figure


def _draw_losses(axes: Axes, curve: LossCurve, num_curves: int, *, is_first: bool) -> None:
    """Draw the losses of one training, raw and smoothed, and on dev; only the first has labels."""
    is_single = num_curves == 1
    interval = f", mean of {curve.interval:,} steps" if curve.interval > 1 else ""
    seeds = "" if is_single else f", each of {num_curves} seeds"
    names = f"train{interval}", f"train, smoothed{seeds}", "dev, exact"
    raw, smooth, dev = names if is_first else (None, None, None)
    faint = 0.6 if is_single else 0.25
    axes.plot(
        curve.steps, np.log10(curve.losses), color=GREY, linewidth=0.6, alpha=faint, label=raw
    )
    alpha = 1 if is_single else 0.5
    losses = np.log10(smoothed(curve.losses))
    axes.plot(curve.steps, losses, color=BLUE, alpha=alpha, label=smooth)
    if len(curve.dev_steps):
        style: dict[str, Any] = {"color": ORANGE, "marker": "o", "markersize": 4, "linewidth": 1.2}
        losses = np.log10(curve.dev_losses)
        axes.plot(curve.dev_steps, losses, "--", **style, alpha=alpha, label=dev)


def _draw_rates(axes: Axes, curve: LossCurve) -> None:
    """Draw the learning rate over steps."""
    axes.plot(curve.steps, curve.rates, color=GREEN)
    if curve.rates.min() > 0 and curve.rates.max() / curve.rates.min() < 1e3:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0)
    axes.set_ylabel("learning rate")
    axes.grid(axis="y")


def _label_steps(axes: Axes) -> None:
    """Label the axis of steps, with few enough ticks that they do not touch."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")


def smoothed(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the moving average of losses over ``SMOOTHING_WINDOW`` of them, centred."""
    half = int(len(losses) * SMOOTHING_WINDOW / 2)
    sums = np.cumsum(np.insert(losses, 0, 0.0))
    places = np.arange(len(losses))
    first = np.maximum(places - half, 0)
    last = np.minimum(places + half + 1, len(losses))
    return (sums[last] - sums[first]) / (last - first)


def _set_limits(axes: Axes, curves: Sequence[LossCurve], baselines: Sequence[float]) -> None:
    """Set the limits of the losses; cut off, with a note, a short start far above all baselines."""
    every = np.concatenate([*(curve.losses for curve in curves), baselines])
    dev = np.concatenate([curve.dev_losses for curve in curves])
    low, high = (
        float(min(every.min(), *dev)) if len(dev) else float(every.min()),
        float(every.max()),
    )
    top = TOP * max(baselines) if baselines else high
    lines = np.concatenate([curve.losses for curve in curves])
    if high > top > np.quantile(lines, MIN_SHARE_BELOW_TOP):
        first_loss = max(curve.losses[0] for curve in curves)
        first_shown = max(curve.steps[int(np.argmax(curve.losses < top))] for curve in curves)
        axes.annotate(
            f"from {first_loss:.3g} nats at the start",
            (first_shown, 1),
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


def _draw_baselines(
    axes: Axes, baselines: Sequence[tuple[str, float]], end: float, last_step: float
) -> None:
    """Draw each baseline as a line; its name is above where the curve ends below it, else below.

    ``end`` is log10 of the loss that the curves end with.
    """
    low, high = axes.get_ylim()
    height = 0.055 * (high - low)  # of a name
    named = [(name, loss, float(np.log10(loss))) for name, loss in baselines]
    named = [each for each in sorted(named, key=lambda each: -each[2]) if low < each[2] < high]
    bottoms = [y + 0.1 * height if y >= end else y - 1.1 * height for _, _, y in named]
    for (name, loss, y), bottom in zip(named, stacked(bottoms, height, low), strict=True):
        axes.axhline(y, color=INK, linewidth=0.9, linestyle=DOTS, zorder=0.9)
        kind: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 8.5}
        axes.annotate(
            f"{name}, {loss:.3f}", (last_step, bottom), (-3, 0), textcoords="offset points", **kind
        )


def stacked(bottoms: Sequence[float], height: float, low: float) -> list[float]:
    """Return places from the top down that are ``height`` apart, each near where it should be.

    >>> stacked([5.0, 4.9, 0.5], height=1.0, low=0.0)
    [5.0, 4.0, 0.5]
    """
    places = list(bottoms)
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - height)
    for i in reversed(range(len(places))):
        places[i] = max(places[i], low if i == len(places) - 1 else places[i + 1] + height)
    return places


def _add_nats_axis(axes: Axes) -> None:
    """Add an axis of nats beside an axis of their log10."""
    right = axes.secondary_yaxis("right", functions=(_power, _log10))
    right.set_ylabel("loss, nats per symbol")
    low, high = (10.0**y for y in axes.get_ylim())
    if high / low > 5:  # evenly spaced ones would overlap at the top
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
    axes.plot(middles, np.log10(means), color=BLUE, label=f"mean of {block:,} steps")
    axes.set_xlim(0, len(nats))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel("log10 of the loss in nats per symbol")
    _add_nats_axis(axes)
    axes.set_title(title)
    for line in axes.legend(loc="upper right").get_lines():
        line.set_linewidth(2)
    return figure


def _power(y: Any) -> Any:
    return 10.0**y


def _log10(nats: Any) -> Any:
    return np.log10(np.maximum(nats, 1e-30))  # matplotlib also asks for 0


@styled
def ratios(
    diagnostics: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """Draw how much a step changes each array over time, and the share of saturated units.

    ``groups`` are the names of arrays that are one line, by its label: their median, in a band from
    the lowest to the highest. About 1e-3 is good, by the third makemore lecture.
    """
    groups = groups or {name: [name] for name in diagnostics[0]["update_to_data"]}
    layers = _layers(diagnostics)
    named = [*groups, *(layers if len(layers) > 1 else ())]
    columns = num_columns(named, 60, 6)
    height = (4.8 if layers else 4) + 0.2 * max(0, -(-len(named) // columns) - 2)
    figure = Figure(figsize=(5.3, height))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1)) if layers else None
    axes: Axes = figure.subplots() if panels is None else panels[0]
    steps = [line["step"] for line in diagnostics]
    for i, (name, arrays) in enumerate(groups.items()):
        each = [[float(line["update_to_data"][array]) for line in diagnostics] for array in arrays]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(np.array(each))
        _draw_group(axes, steps, values, escaped(name), stroke(i) | {"linewidth": 1.4})
    axes.axhline(-3, color=INK, linewidth=0.9, linestyle=DOTS)
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
    if panels is not None:
        _draw_saturated(panels[1], diagnostics)
        figure.align_ylabels(list(panels))
    below = axes if panels is None else panels[1]
    below.set_xlim(0, steps[-1])
    _label_steps(below)
    figure.legend(loc="outside lower center", ncols=columns)
    return figure


def _layers(diagnostics: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[str]]:
    """Return the names of the hidden layers that are one line, by its label."""
    layers = list(diagnostics[0]["saturated"])
    return group_names(layers) if len(layers) > len(LINES) else {name: [name] for name in layers}


def _draw_saturated(axes: Axes, diagnostics: Sequence[Mapping[str, Any]]) -> None:
    """Draw the share of saturated units of each layer; of many layers as one line with a band."""
    layers = _layers(diagnostics)
    steps = [line["step"] for line in diagnostics]
    for i, (name, each) in enumerate(layers.items()):
        shares = [[100 * float(line["saturated"][one]) for line in diagnostics] for one in each]
        text = escaped(name) if len(layers) > 1 else None
        _draw_group(axes, steps, np.array(shares), text, stroke(i) | {"color": INK})
    axes.set_ylim(0, 100)
    axes.set_ylabel("saturated, %")
    axes.grid(axis="y")


def _draw_group(
    axes: Axes,
    steps: Sequence[int],
    values: Float[np.ndarray, "arrays steps"],
    name: str | None,
    style: dict[str, Any],
) -> None:
    """Draw numbers over time that are one line: their median, in a band of all that are finite."""
    finite = np.ma.masked_invalid(values)
    middle = finite[0] if len(values) == 1 else np.ma.median(finite, axis=0)
    axes.plot(steps, middle.filled(np.nan), **style, label=name)
    if len(values) > 1:
        low, high = (each.filled(np.nan) for each in (finite.min(0), finite.max(0)))
        axes.fill_between(steps, low, high, color=style["color"], alpha=0.13, linewidth=0)
