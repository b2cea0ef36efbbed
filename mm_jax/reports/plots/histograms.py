"""Figures of the inside of a net: where its activations and its gradients lie."""

import numpy as np
from matplotlib.figure import Figure

from mm_jax.reports.plots.style import BLUE, GREY, INK, label, stroke, styled
from mm_jax.training.diagnostics import MAX_STDS, SATURATED, Diagnostics, Histogram

FEW = 100  # numbers of an array, below which a histogram of them says nothing


def counts_enough(found: Histogram) -> bool:
    """Tell whether there are numbers enough for a histogram to say something."""
    return int(np.asarray(found.counts).sum()) >= FEW


@styled
def activations(before: Diagnostics, after: Diagnostics) -> Figure:
    """Draw the histogram of each hidden layer before the first step and after the last one."""
    layers = list(after.activations)
    figure = Figure(figsize=(5.3, 2.7 * len(layers) + 0.8))
    panels = figure.subplots(len(layers), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, layers, strict=True):
        for inside, when, color, style in (
            (before, "before training", GREY, "--"),
            (after, "after training", BLUE, "-"),
        ):
            share = float(inside.saturated[name])
            stuck = float(inside.stuck[name])
            text = f"{when}: {share:.0%} saturated"
            if stuck:
                text += f", {stuck:.1%} of the units always"
            counts = np.asarray(inside.activations[name].counts)
            edges = np.linspace(-1, 1, len(counts) + 1)
            shares = 100 * counts / max(counts.sum(), 1)
            axes.stairs(shares, edges, color=color, linestyle=style, linewidth=1.5, label=text)
        for edge in (-SATURATED, SATURATED):
            axes.axvline(edge, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.set_xlim(-1, 1)
        axes.set_xlabel(f"activation {label(name)}, of all units and examples")
        axes.set_ylabel("share of them, %")
        axes.legend(loc="upper center")
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    panels[0].set_title(f"Activations of tanh; beyond {SATURATED} either way it is saturated")
    return figure


@styled
def gradients(before: Diagnostics, after: Diagnostics) -> Figure:
    """Draw the histogram of the gradients of each array, in units of their standard deviation.

    What lies beyond the ends is drawn at them; of an array of few numbers nothing is.
    """
    names = list(after.gradients)
    figure = Figure(figsize=(5.3, 4.5))
    axes = figure.subplots()
    for i, name in enumerate(names):
        std, first = float(after.gradient_std[name]), float(before.gradient_std[name])
        text = f"{label(name)}: std {std:.1e}, was {first:.1e}"
        found = after.gradients[name]
        if counts_enough(found):
            counts = np.asarray(found.counts)
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
