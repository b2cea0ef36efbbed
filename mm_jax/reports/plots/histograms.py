"""Figures of the diagnostics of a net: histograms of its activations and its gradients."""

import numpy as np
from matplotlib.figure import Figure

from mm_jax.reports.plots.style import BLUE, GREY, INK, label, stroke, styled
from mm_jax.training.diagnostics import MAX_STDS, SATURATED, Diagnostics, Histogram

MIN_NUMBERS = 100  # of an array; a histogram of fewer says nothing


def has_enough(histogram: Histogram) -> bool:
    """Return whether a histogram is of enough numbers to say something."""
    return int(np.asarray(histogram.counts).sum()) >= MIN_NUMBERS


@styled
def activations(before: Diagnostics, after: Diagnostics) -> Figure:
    """Draw the histogram of each hidden layer before the first step and after the last one."""
    layers = list(after.activations)
    figure = Figure(figsize=(5.3, 2.7 * len(layers) + 0.8))
    panels = figure.subplots(len(layers), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, layers, strict=True):
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
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    panels[0].set_title(f"tanh activations; saturated beyond ±{SATURATED}")
    return figure


@styled
def gradients(before: Diagnostics, after: Diagnostics) -> Figure:
    """Draw the histogram of the gradients of each array, in units of their standard deviation.

    What lies beyond the ends counts at the ends; an array of few numbers is not drawn.
    """
    names = list(after.gradients)
    figure = Figure(figsize=(5.3, 4.5))
    axes = figure.subplots()
    for i, name in enumerate(names):
        std, first = float(after.gradient_std[name]), float(before.gradient_std[name])
        text = f"{label(name)}: std {std:.1e}, at first {first:.1e}"
        if has_enough(after.gradients[name]):
            counts = np.asarray(after.gradients[name].counts)
            middles = (np.arange(len(counts)) + 0.5) / len(counts) * 2 * MAX_STDS - MAX_STDS
            shares = np.where(counts > 0, 100 * counts / counts.sum(), np.nan)
            axes.plot(middles, shares, **stroke(i), linewidth=1.4, label=text)
    axes.set_yscale("log")
    axes.set_xlim(-MAX_STDS, MAX_STDS)
    axes.set_xlabel("gradient, in standard deviations of its array")
    axes.set_ylabel("share of the array's numbers, %")
    axes.set_title("Gradients after training")
    if axes.lines:
        figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
    return figure
