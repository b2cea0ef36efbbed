"""Figures of searches: the loss over learning rates, and over the choices of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import in_blocks, loss_limits
from mm_jax.reports.plots.style import AMBER, BLUE, GREEN, GREY, ORANGE, label, styled


@styled
def lr_range(test: RangeTest) -> Figure:
    """Draw a range test: every seed, the median, the suggestion, and where rates are no good."""
    found = test.suggestion
    low, high = loss_limits(test.losses, found)
    pad = 0.06 * (high - low)
    x, blocks = in_blocks(test.lrs, test.losses)
    rates, num_seeds = np.exp(x), len(blocks)
    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(test.lrs[0], test.lrs[-1])
    axes.set_ylim(low - pad, high + 3 * pad)
    axes.set_xlabel("learning rate")
    losses = np.where(np.isfinite(test.losses), test.losses, np.nan)
    for i, each in enumerate(losses):
        name = f"each of {num_seeds} seeds" if i == 0 and num_seeds > 1 else None
        faint = min(0.5, 2 / num_seeds)
        axes.plot(test.lrs, each, color=GREY, linewidth=0.5, alpha=faint, label=name)
    if num_seeds > 1:
        inner = np.where(np.isfinite(blocks), blocks, 1e3 * max(abs(high), 1))
        band = np.quantile(inner, (0.25, 0.75), axis=0)
        axes.fill_between(
            rates, *band, color=BLUE, alpha=0.25, linewidth=0, label="middle half of the seeds"
        )
    name = "median of the seeds" if num_seeds > 1 else "the one seed"
    finite = np.isfinite(found.curve.median)
    axes.plot(rates[finite], found.curve.median[finite], color=BLUE, label=name)

    def region(left: float, right: float, text: str, color: str) -> None:
        axes.axvspan(left, right, color=color, alpha=0.1, linewidth=0)
        narrow = np.log(right / left) < 0.12 * np.log(test.lrs[-1] / test.lrs[0])
        axes.text(
            np.sqrt(left * right),
            high + 2.4 * pad if not narrow else (low + high) / 2,
            text,
            ha="center",
            va="top" if not narrow else "center",
            rotation=90 if narrow else 0,
        )

    if found.too_low is not None:
        region(test.lrs[0], found.too_low, "too low", GREY)
    above = found.explodes or test.lrs[-1]
    if found.too_high is not None and found.too_high < above:
        region(found.too_high, above, "too high", AMBER)
    if found.explodes is not None:
        region(found.explodes, test.lrs[-1], "explodes", ORANGE)
    if found.lr is not None:
        if found.interval is not None:
            axes.axvspan(*found.interval, color=GREEN, alpha=0.25, linewidth=0)
        sure = ""
        if found.interval is not None:
            sure = f" (90%: {found.interval[0]:g} to {found.interval[1]:g})"
        axes.axvline(found.lr, color=GREEN, linestyle="--", label=f"suggested: {found.lr:g}{sure}")
        title = f"Range test, {test.mode}: train at about {found.lr:g}"
    else:
        title = f"Range test, {test.mode}: no suggestion. {found.reason}"
    what = "loss of the step" if test.mode == "sweep" else "loss of the last tenth of the steps"
    axes.set_ylabel(f"{what}, nats a symbol")
    axes.set_title(title, wrap=True)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


@styled
def choices(
    rows: Sequence[tuple[Mapping[str, Any], float]],
    scales: Mapping[str, str],
    dropped: Sequence[bool],
) -> Figure:
    """Draw the loss on dev of each setting of a sweep against each of its choices.

    ``rows`` are choices and mean losses, the best first; ``scales`` says of each choice log, linear
    or names, and ``dropped`` which settings were dropped on the way: those are drawn hollow. What
    diverged is left out.
    """
    names = list(rows[0][0])
    finite = [i for i, (_, loss) in enumerate(rows) if np.isfinite(loss)]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.5, 2.9 * lines + 0.5 + 0.4 * (columns == 1)))
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    losses = np.array([rows[i][1] for i in finite])
    hollow = np.array([dropped[i] for i in finite], bool)
    for number, name in enumerate(names):
        axes = panels[number // columns][number % columns]
        x = _places(axes, [rows[i][0][name] for i in finite], scales[name])
        kind: dict[str, Any] = {"s": 34, "linewidth": 1.1, "edgecolor": BLUE}
        axes.scatter(x[~hollow], losses[~hollow], color=BLUE, alpha=0.75, **kind, label="a setting")
        if hollow.any():
            axes.scatter(
                x[hollow], losses[hollow], facecolor="none", **kind, label="dropped on the way"
            )
        style: dict[str, Any] = {"marker": "*", "s": 190, "color": ORANGE, "zorder": 3}
        axes.scatter(x[:1], losses[:1], **style, label=f"the best, {losses[0]:.4f}")
        axes.set_xlabel(name.replace("_", " "))
        axes.grid(axis="y")
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("mean loss on dev, nats")
    left_out = len(rows) - len(finite)
    figure.suptitle(
        f"{len(rows):,} settings" + (f", {left_out} of them diverged" if left_out else ""), size=11
    )
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if columns == 1 else 3)
    return figure


def _places(axes: Axes, values: Sequence[Any], scale: str) -> Float[np.ndarray, " n"]:
    """Return where values of a choice stand on the axis, and write ticks that stand apart."""
    if scale == "names":
        each = sorted({*values}, key=lambda value: (isinstance(value, str), value))
        texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in each]
        axes.set_xticks(range(len(each)), [label(text) for text in texts])
        axes.set_xlim(-0.6, len(each) - 0.4)
        return np.array([each.index(value) for value in values], float)
    numbers = np.array(values, float)
    if scale == "log":
        axes.set_xscale("log")
        wide = len(numbers) and numbers.max() / numbers.min() > 30
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        whole = all(isinstance(value, int) for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
    return numbers
