"""Figures of searches: the loss over learning rates, and over the choices of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mm_jax.lr import RangeTest
from mm_jax.plots.style import AMBER, BLUE, GREEN, GREY, ORANGE, label, styled
from mm_jax.suggest import in_blocks, loss_limits


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
    rows: Sequence[tuple[Mapping[str, Any], float]], scales: Mapping[str, str], steps: Sequence[int]
) -> Figure:
    """Draw the loss on dev of each setting of a sweep against each of its choices.

    ``rows`` are choices and mean losses, ``scales`` says of each choice log, linear or names, and
    ``steps`` how far each setting got: those that were dropped on the way are drawn hollow.
    """
    names = list(rows[0][0])
    finite = [i for i, (_, loss) in enumerate(rows) if np.isfinite(loss)]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.5, 2.9 * lines + 0.5))
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    losses = np.array([rows[i][1] for i in finite])
    whole = np.array([steps[i] == max(steps) for i in finite], bool)
    best = int(np.argmin(np.where(whole, losses, np.inf))) if len(finite) else None
    for number, name in enumerate(names):
        axes = panels[number // columns][number % columns]
        values: list[Any] = [rows[i][0][name] for i in finite]
        if scales[name] == "names":
            each = sorted({str(value) for value in values})
            axes.set_xticks(range(len(each)), [label(text) for text in each])
            axes.set_xlim(-0.6, len(each) - 0.4)
            values = [each.index(str(value)) for value in values]
        else:
            axes.set_xscale(scales[name])
            numbers = sorted({float(value) for value in values})
            if len(numbers) <= 6:
                axes.set_xticks(numbers, [f"{value:g}" for value in numbers])
                axes.minorticks_off()
        x = np.array(values, float)
        kind: dict[str, Any] = {"s": 34, "linewidth": 1.1, "edgecolor": BLUE}
        axes.scatter(x[whole], losses[whole], color=BLUE, alpha=0.75, **kind, label="a setting")
        if not whole.all():
            axes.scatter(
                x[~whole], losses[~whole], facecolor="none", **kind, label="dropped on the way"
            )
        if best is not None:
            style: dict[str, Any] = {"marker": "*", "s": 190, "color": ORANGE, "zorder": 3}
            axes.scatter(x[best], losses[best], **style, label=f"the best, {losses[best]:.4f}")
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
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
