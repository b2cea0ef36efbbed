"""Figures of the diagnostics of a net: histograms of its activations and its gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from matplotlib.figure import Figure

from mm_jax.reports.plots.groups import in_order, span_text
from mm_jax.reports.plots.style import BLUE, GREY, INK, escaped, label, num_columns, stroke, styled
from mm_jax.training.diagnostics import MAX_STDS, SATURATED, Diagnostics

MIN_NUMBERS = 100  # of an array; a histogram of fewer says nothing
MAX_TALL = 4  # layers whose histograms are drawn as tall as one
MAX_LAYERS = 6  # that are drawn of more


def has_enough(counts: Integer[Any, " bins"]) -> bool:
    """Return whether a histogram is of enough numbers to say something."""
    return int(np.asarray(counts).sum()) >= MIN_NUMBERS


@styled
def activations(before: Diagnostics, after: Diagnostics, what: str = "tanh activations") -> Figure:
    """Draw the histogram of each hidden layer before the first step and after the last one.

    Of more than ``MAX_TALL`` layers, ``MAX_LAYERS`` are drawn, evenly spread; ``what`` is what
    their numbers are.
    """
    layers = list(after.activations)
    drawn = drawn_layers(layers)
    height, room = (2.7, 1.3) if len(layers) <= MAX_TALL else (1.7, 1.7)  # room: for a legend
    figure = Figure(figsize=(5.3, height * len(drawn) + 0.8))
    panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, drawn, strict=True):
        for diagnostics, when, color, style in (
            (before, "before training", GREY, "--"),
            (after, "after training", BLUE, "-"),
        ):
            share = float(diagnostics.saturated[name])
            stuck = float(diagnostics.stuck[name])
            text = f"{when}: {share:.0%} saturated"
            if stuck:
                text += f", {stuck:.1%} of the units always"
            counts = np.asarray(diagnostics.activations[name].counts)
            edges = np.linspace(-1, 1, len(counts) + 1)
            shares = 100 * counts / max(counts.sum(), 1)
            axes.stairs(shares, edges, color=color, linestyle=style, linewidth=1.5, label=text)
        for edge in (-SATURATED, SATURATED):
            axes.axvline(edge, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_xlim(-1, 1)
        axes.set_xlabel(f"activation {label(name)}, all units and examples")
        axes.set_ylabel("share, %")
        axes.legend(loc="upper center")
        axes.set_ylim(0, room * axes.get_ylim()[1])
    panels[0].set_title(f"{what}; saturated beyond ±{SATURATED}")
    return figure


def drawn_layers(layers: Sequence[str]) -> list[str]:
    """Return the layers whose activations are drawn: all, or some of many, evenly spread."""
    if len(layers) <= MAX_TALL:
        return list(layers)
    layers, count = in_order(layers), min(len(layers), MAX_LAYERS)
    return [layers[round(i * (len(layers) - 1) / (count - 1))] for i in range(count)]


@styled
def gradients(
    before: Diagnostics,
    after: Diagnostics,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Draw the histogram of the gradients of each array, in units of their standard deviation.

    ``groups`` are the names of arrays that are one line, by its label. What lies beyond the ends
    counts at the ends; an array of few numbers is not drawn.
    """
    groups = groups or {name: [name] for name in after.gradients}
    lines: dict[str, tuple[Integer[np.ndarray, " bins"], dict[str, Any]]] = {}
    for i, (name, arrays) in enumerate(groups.items()):
        counts = np.sum([np.asarray(after.gradients[array].counts) for array in arrays], 0)
        std, first = (
            span_text(float(each.gradient_std[array]) for array in arrays)
            for each in (after, before)
        )
        if has_enough(counts):
            lines[f"{escaped(name)}: std {std}, at first {first}"] = counts, stroke(i)
    columns = num_columns(lines, 80, 2)
    figure = Figure(figsize=(5.3, 4.5 + 0.19 * max(0, -(-len(lines) // columns) - 3)))
    axes = figure.subplots()
    for text, (counts, style) in lines.items():
        middles = (np.arange(len(counts)) + 0.5) / len(counts) * 2 * MAX_STDS - MAX_STDS
        shares = np.where(counts > 0, 100 * counts / counts.sum(), np.nan)
        axes.plot(middles, shares, **style, linewidth=1.4, label=text)
    axes.set_yscale("log")
    axes.set_xlim(-MAX_STDS, MAX_STDS)
    axes.set_xlabel("gradient, in standard deviations of its array")
    axes.set_ylabel("share of the array's numbers, %")
    axes.set_title("Gradients after training")
    if axes.lines:
        figure.legend(loc="outside lower center", ncols=columns, fontsize=8.5)
    return figure
