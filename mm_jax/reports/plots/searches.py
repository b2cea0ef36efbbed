"""Figures of searches: the loss over learning rates, and over the choices of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from mm_jax.experiments.lr_curve import in_blocks
from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import loss_limits
from mm_jax.reports.plots.style import AMBER, BLUE, GREEN, GREY, ORANGE, label, styled


@styled
def lr_range(test: RangeTest) -> Figure:
    """Draw a range test: every seed, the median, the suggestion, and regions of unusable rates."""
    suggestion, (low, high) = test.suggestion, loss_limits(test.losses, test.suggestion)
    pad = 0.06 * (high - low)
    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(test.lrs[0], test.lrs[-1])
    axes.set_ylim(low - pad, high + 3 * pad)
    axes.set_xlabel("learning rate")
    _draw_seeds(axes, test, high)
    _draw_regions(axes, test, (low, high), pad)
    if suggestion.lr is None:
        title = f"Range test, {test.mode}: no suggestion. {suggestion.reason}"
    else:
        title = f"Range test, {test.mode}: train at about {suggestion.lr:g}"
        interval = ""
        if suggestion.interval is not None:
            axes.axvspan(*suggestion.interval, color=GREEN, alpha=0.25, linewidth=0)
            interval = f" (90%: {suggestion.interval[0]:g} to {suggestion.interval[1]:g})"
        name = f"suggested: {suggestion.lr:g}{interval}"
        axes.axvline(suggestion.lr, color=GREEN, linestyle="--", label=name)
    which = "loss of the step" if test.mode == "sweep" else "loss of the last tenth of the steps"
    axes.set_ylabel(f"{which}, nats per symbol")
    axes.set_title(title, wrap=True)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _draw_seeds(axes: Axes, test: RangeTest, high: float) -> None:
    """Draw the losses of each seed, the middle half of them, and their median."""
    log_rates, blocks = in_blocks(test.lrs, test.losses)
    rates, num_seeds = np.exp(log_rates), len(blocks)
    losses = np.where(np.isfinite(test.losses), test.losses, np.nan)
    for i, each in enumerate(losses):
        name = f"each of {num_seeds} seeds" if i == 0 and num_seeds > 1 else None
        alpha = min(0.5, 2 / num_seeds)
        axes.plot(test.lrs, each, color=GREY, linewidth=0.5, alpha=alpha, label=name)
    if num_seeds > 1:
        finite = np.where(np.isfinite(blocks), blocks, 1e3 * max(abs(high), 1))
        band = np.quantile(finite, (0.25, 0.75), axis=0)
        name = "middle half of the seeds"
        axes.fill_between(rates, *band, color=BLUE, alpha=0.25, linewidth=0, label=name)
    median = test.suggestion.curve.median
    is_finite = np.isfinite(median)
    name = "median of the seeds" if num_seeds > 1 else "the one seed"
    axes.plot(rates[is_finite], median[is_finite], color=BLUE, label=name)


def _draw_regions(axes: Axes, test: RangeTest, limits: tuple[float, float], pad: float) -> None:
    """Shade and name the rates that are too low, too high, or at which training explodes."""
    first, last = test.lrs[0], test.lrs[-1]
    low, high = limits

    def draw(left: float, right: float, name: str, color: str) -> None:
        axes.axvspan(left, right, color=color, alpha=0.1, linewidth=0)
        is_narrow = np.log(right / left) < 0.12 * np.log(last / first)
        axes.text(
            np.sqrt(left * right),
            (low + high) / 2 if is_narrow else high + 2.4 * pad,
            name,
            ha="center",
            va="center" if is_narrow else "top",
            rotation=90 if is_narrow else 0,
        )

    suggestion = test.suggestion
    if suggestion.too_low is not None:
        draw(first, suggestion.too_low, "too low", GREY)
    explodes = suggestion.explodes or last
    if suggestion.too_high is not None and suggestion.too_high < explodes:
        draw(suggestion.too_high, explodes, "too high", AMBER)
    if suggestion.explodes is not None:
        draw(suggestion.explodes, last, "explodes", ORANGE)


@styled
def choices(
    rows: Sequence[tuple[Mapping[str, Any], float]],
    scales: Mapping[str, str],
    dropped: Sequence[bool],
) -> Figure:
    """Draw the loss on dev of each setting of a sweep against each of its choices.

    ``rows`` are choices and mean losses, the best first; ``scales`` has for each choice log, linear
    or names; ``dropped`` has the settings that halving dropped, which are drawn hollow. Settings
    that diverged are left out.
    """
    names, finite = list(rows[0][0]), [i for i, (_, loss) in enumerate(rows) if np.isfinite(loss)]
    losses = np.array([rows[i][1] for i in finite])
    is_dropped = np.array([dropped[i] for i in finite], bool)
    num_columns = min(3, len(names))
    num_rows = -(-len(names) // num_columns)
    size = 3.1 * num_columns + 0.5, 2.9 * num_rows + 0.5 + 0.4 * (num_columns == 1)
    figure = Figure(figsize=size)
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        x = _place_values(axes, [rows[i][0][name] for i in finite], scales[name])
        _draw_settings(axes, x, losses, is_dropped)
        axes.set_xlabel(name.replace("_", " "))
        axes.grid(axis="y")
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("mean loss on dev, nats")
    num_diverged = len(rows) - len(finite)
    diverged = f", {num_diverged} of them diverged" if num_diverged else ""
    figure.suptitle(f"{len(rows):,} settings{diverged}", size=11)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if num_columns == 1 else 3)
    return figure


def _draw_settings(
    axes: Axes,
    x: Float[np.ndarray, " n"],
    losses: Float[np.ndarray, " n"],
    is_dropped: Bool[np.ndarray, " n"],
) -> None:
    """Draw a mark for each setting; those dropped are hollow, the best, the first, is a star."""
    style: dict[str, Any] = {"s": 34, "linewidth": 1.1, "edgecolor": BLUE}
    kept = ~is_dropped
    axes.scatter(x[kept], losses[kept], color=BLUE, alpha=0.75, **style, label="a setting")
    if is_dropped.any():
        name = "dropped by halving"
        axes.scatter(x[is_dropped], losses[is_dropped], facecolor="none", **style, label=name)
    star: dict[str, Any] = {"marker": "*", "s": 190, "color": ORANGE, "zorder": 3}
    axes.scatter(x[:1], losses[:1], **star, label=f"the best, {losses[0]:.4f}")


def _place_values(axes: Axes, values: Sequence[Any], scale: str) -> Float[np.ndarray, " n"]:
    """Return the places of the values of a choice on the axis, and set its ticks."""
    if scale == "names":
        distinct = sorted({*values}, key=lambda value: (isinstance(value, str), value))
        texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in distinct]
        axes.set_xticks(range(len(distinct)), [label(text) for text in texts])
        axes.set_xlim(-0.6, len(distinct) - 0.4)
        return np.array([distinct.index(value) for value in values], float)
    numbers = np.array(values, float)
    if scale == "log":
        axes.set_xscale("log")
        is_wide = len(numbers) and numbers.max() / numbers.min() > 30
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if is_wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        are_integers = all(isinstance(value, int) for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=are_integers))
    return numbers
