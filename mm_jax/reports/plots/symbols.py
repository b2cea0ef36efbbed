"""Figures of symbols: tables of pairs, where an embedding puts them, how surprising they are."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int, Integer
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from mm_jax.data.vocab import Vocab
from mm_jax.reports.analysis import LABELLED, AnnotatedLine, project_embedding, shortened
from mm_jax.reports.plots.style import (
    AMBER,
    BLACK,
    BLUE,
    DIM,
    FAINT,
    GREY,
    INK,
    ORANGE,
    PAPER,
    WHITE,
    dark,
    label,
    styled,
)

MOST = 32  # symbols in a table of pairs; of more, those that come most often
SURPRISE = 6.0  # nats from which on a symbol is as dark as it gets


def bigram_table(counts: Integer[np.ndarray, "V V"], vocab: Vocab) -> Figure:
    """Draw how often each bigram occurs: a row for the first symbol, a column for the next."""
    title = f"How often each of the {counts.sum():,} bigrams occurs"
    return pair_table(counts, vocab, title, "{:,}", frequent=counts.sum(0))


def probability_table(
    probs: Float[np.ndarray, "V V"], vocab: Vocab, frequent: Integer[np.ndarray, " V"] | None = None
) -> Figure:
    """Draw the probability of each next symbol, in percent; each row adds up to 100."""
    title = "What the net gives each next symbol, in percent"
    return pair_table(100 * probs, vocab, title, "{:.1f}", frequent=frequent)


def difference_table(
    difference: Float[np.ndarray, "V V"],
    vocab: Vocab,
    frequent: Integer[np.ndarray, " V"] | None = None,
) -> Figure:
    """Draw what a net gives each next symbol, less what counting gives it, in percentage points."""
    title = "The net less the counts, in percentage points"
    return pair_table(100 * difference, vocab, title, "{:+.1f}", frequent=frequent, signed=True)


@styled
def pair_table(
    values: Float[np.ndarray, "V V"] | Integer[np.ndarray, "V V"],
    vocab: Vocab,
    title: str,
    form: str,
    *,
    frequent: Integer[np.ndarray, " V"] | None = None,
    signed: bool = False,
) -> Figure:
    """Draw a number for each pair of symbols, written in its cell under the pair.

    Of a large alphabet only the ``MOST`` symbols that are the most ``frequent`` are drawn, or the
    first ones.
    """
    shown = np.arange(len(vocab))
    if len(vocab) > MOST:
        order = shown if frequent is None else np.argsort(-frequent, kind="stable")
        shown = np.sort(order[:MOST])
        which = "the first" if frequent is None else "the most frequent"
        title += f"; {which} {MOST} of {len(vocab):,} symbols"
        values = values[np.ix_(shown, shown)]
    symbols = [label(vocab.symbols[i]) for i in shown]
    n = len(symbols)
    figure = Figure(figsize=(0.42 * n + 1.0, 0.42 * n + 1.0))
    axes = figure.subplots()
    norm = CenteredNorm() if signed else Normalize(vmin=0)
    # In grey the two ends of PuOr are told apart by the sign that stands in the cell.
    mesh = axes.pcolormesh(values, cmap="PuOr" if signed else "Blues", norm=norm, rasterized=False)
    for i, first in enumerate(symbols):
        for j, second in enumerate(symbols):
            color = WHITE if dark(mesh.to_rgba(values[i, j])) else BLACK
            kind: dict[str, Any] = {
                "ha": "center",
                "color": color,
                "fontsize": 7.5,
                "in_layout": False,
            }
            text = form.format(values[i, j])
            if float(text.replace(",", "")) == 0:
                kind["color"], text = DIM, text.lstrip("+-")
            axes.text(j + 0.5, i + 0.47, first + second, va="bottom", **kind)
            axes.text(j + 0.5, i + 0.53, text, va="top", **kind)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    places = np.arange(n) + 0.5
    axes.set_xticks(places, symbols)
    axes.set_yticks(places, symbols)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("next symbol")
    axes.set_ylabel("symbol")
    axes.set_title(title, wrap=True)
    return figure


@styled
def one_hot(rows: Float[np.ndarray, "N V"], names: list[str], vocab: Vocab) -> Figure:
    """Draw one-hot rows: white is 0, dark is 1; ``names`` stand beside the rows."""
    figure = Figure(figsize=(8, 0.27 * len(rows) + 1.1))
    axes = figure.subplots()
    axes.pcolormesh(rows, cmap="Blues", vmin=0, vmax=1, edgecolors=FAINT, linewidth=0.5)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(vocab)) + 0.5, list(map(label, vocab.symbols)))
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(map(label, names)))
    axes.set_xlabel("symbol")
    axes.set_title("One-hot: a one at the symbol, zeros elsewhere")
    return figure


GROUPS = {  # color, its text's color, marker
    "vowels": (AMBER, BLACK, "o"),
    "consonants": (BLUE, PAPER, "o"),
    "the boundary": (INK, PAPER, "s"),
    "other symbols": (GREY, PAPER, "D"),
}


@styled
def embedding(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Figure:
    """Draw an embedding: each symbol where it is, moved no further than it has to be to be read.

    One of more than two dimensions by its principal components; see plane_of. Of a large alphabet
    only the first ``LABELLED`` symbols are drawn.
    """
    plane = project_embedding(table, vocab)
    count = min(len(vocab), LABELLED)
    places, groups = plane.places[:count], np.array(plane.groups[:count])
    figure = Figure(figsize=(5.4, 5.9))
    axes = figure.subplots()
    size = max(float(np.ptp(places, axis=0).max()), 1e-6)
    small = count > 40
    moved = spread(places, (0.034 if small else 0.053) * size)
    for place, true in zip(moved, places, strict=True):
        axes.plot(*zip(true, place, strict=True), color=GREY, linewidth=0.8, zorder=0.9)
    for name, (color, _, marker) in GROUPS.items():
        if (groups == name).any():
            x, y = moved[groups == name].T
            area = 90 if small else 170
            axes.scatter(x, y, s=area, color=color, marker=marker, label=name)
    for symbol, place, group in zip(vocab.symbols, moved, groups, strict=False):
        axes.annotate(
            label(symbol),
            place,
            color=GROUPS[group][1],
            fontsize=size_of(symbol, 7 if small else 9.5),
            fontweight="bold",
            ha="center",
            va="center_baseline",
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.07)
    axes.grid()
    axes.set_xlabel(plane.axes[0])
    axes.set_ylabel(plane.axes[1])
    which = "" if count == len(vocab) else f"\n(the first {count} of them)"
    dimensions = "one dimension" if plane.dim == 1 else f"{plane.dim} dimensions"
    title = f"The embedding of {len(vocab):,} symbols in {dimensions}"
    if plane.dim > 2:
        title += f",\nprojected on two that explain {plane.explained:.0%} of the variance"
    axes.set_title(title + which)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def size_of(symbol: str, size: float, share: float = 0.45) -> float:
    """Return how large to write a symbol: one that is written out, as U+200B, takes more room."""
    return size if len(label(symbol)) <= 2 else share * size


def spread(places: Float[np.ndarray, "N 2"], least: float) -> Float[np.ndarray, "N 2"]:
    """Return places that are at least (about) ``least`` apart, each near where it was.

    >>> np.ptp(spread(np.array([[0.0, 0.0], [0.1, 0.0]]), 1.0), axis=0).round(2).tolist()
    [1.0, 0.0]
    """
    moved = places.astype(np.float64) + 1e-9 * np.arange(len(places))[:, None]  # none are the same
    for _ in range(200):
        towards = moved[:, None] - moved  # (N, N, 2)
        distance = np.linalg.norm(towards, axis=-1, keepdims=True)
        push = np.maximum(least - distance, 0) / 2
        step = (push * towards / np.maximum(distance, 1e-12)).sum(1)
        if np.abs(step).max() < 1e-3 * least:
            break
        moved = moved + step
    return moved


@styled
def neighbours(
    ids: Int[np.ndarray, "V k"], distances: Float[np.ndarray, "V k"], vocab: Vocab
) -> Figure:
    """Draw the nearest symbols of each symbol, nearest first, and how far they are."""
    count = min(len(vocab), 2 * MOST)
    ids, distances = ids[:count], distances[:count]
    nearest = ids.shape[1]
    half = -(-count // 2)
    figure = Figure(figsize=(7.2, 0.27 * half + 1.2))
    norm = Normalize(0, float(distances.max()) or 1.0)
    shades = matplotlib.colormaps["Blues_r"]
    panels = figure.subplots(1, 2)
    for axes, first in zip(panels, (0, half), strict=True):
        rows = range(first, min(first + half, count))
        values = distances[list(rows)]
        axes.pcolormesh(values, cmap=shades, norm=norm, edgecolors=FAINT, linewidth=0.4)
        axes.set_ylim(half, 0)
        for row, i in enumerate(rows):
            for k in range(nearest):
                on = WHITE if dark(shades(norm(distances[i, k]))) else BLACK
                text = f"{label(vocab.symbols[ids[i, k]])}  {distances[i, k]:.2f}"
                size = size_of(vocab.symbols[ids[i, k]], 8, 0.75)
                kind: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
                axes.text(k + 0.5, row + 0.5, text, color=on, **kind)
        axes.set_yticks(
            np.arange(len(rows)) + 0.5, [label(vocab.symbols[i]) for i in rows], fontweight="bold"
        )
        axes.set_xticks(np.arange(nearest) + 0.5, [str(k + 1) for k in range(nearest)])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle("The nearest symbols of each, and how far they are in the embedding", size=11)
    return figure


@styled
def samples(lines: Sequence[AnnotatedLine]) -> Figure:
    """Draw lines with the surprise of each symbol, where they were seen, and what is nearest."""
    longest = max(len(line.symbols) for line in lines)
    longest = min(longest, 40)
    figure = Figure(figsize=(0.27 * longest + 4.6, 0.29 * len(lines) + 1.5))
    axes = figure.subplots()
    values = np.full((len(lines), longest), np.nan)
    for row, line in enumerate(lines):
        surprise = [nats for _, nats in line.symbols[:longest]]
        values[row, : len(surprise)] = surprise
    shades = matplotlib.colormaps["Oranges"]
    norm = Normalize(0, SURPRISE)
    mesh = axes.pcolormesh(values, cmap=shades, norm=norm, edgecolors="none")
    for row, line in enumerate(lines):
        for column, (symbol, nats) in enumerate(line.symbols[:longest]):
            color = WHITE if dark(shades(norm(nats))) else BLACK
            size = size_of(symbol, 9.5)
            kind: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": size}
            axes.text(column + 0.5, row + 0.5, label(symbol), color=color, **kind)
        color, weight, text = INK, "normal", ""
        if line.seen:
            color, weight, text = ORANGE, "bold", "in " + ", ".join(line.seen)
        elif line.nearest is not None:
            text = f"new; nearest: {label(shortened(line.nearest, 24))}, {line.distance} off"
        place = longest + 0.4, row + 0.5
        axes.text(*place, text, color=color, fontweight=weight, va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xticks(np.arange(longest) + 0.5, [str(i + 1) for i in range(longest)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("place in the line; the last symbol is its end")
    title = "Lines the model makes, and how surprised it is by each symbol"
    axes.set_title(title, loc="left")
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", aspect=40, extend="max")
    bar.set_label("surprise, nats")
    bar.outline.set_visible(False)
    return figure
