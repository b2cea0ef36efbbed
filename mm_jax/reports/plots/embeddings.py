"""Figures of an embedding: where the symbols are, and which are the nearest to each."""

from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mm_jax.data.vocab import Vocab
from mm_jax.reports.analysis import MAX_SYMBOLS, Projection, project_embedding
from mm_jax.reports.plots.style import (
    AMBER,
    BLACK,
    BLUE,
    FAINT,
    GREY,
    INK,
    PAPER,
    WHITE,
    is_dark,
    label,
    label_size,
    styled,
)

MAX_NEIGHBOUR_ROWS = 64  # symbols whose neighbours are drawn
DENSE = 40  # symbols; more of them are drawn smaller

GROUPS = {  # colour, colour of the symbol on it, marker
    "vowels": (AMBER, BLACK, "o"),
    "consonants": (BLUE, PAPER, "o"),
    "the boundary": (INK, PAPER, "s"),
    "other symbols": (GREY, PAPER, "D"),
}


@styled
def embedding(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Figure:
    """Draw an embedding: each symbol at its place, moved only as far as it takes to be legible.

    More than two dimensions are drawn by their principal components; see project_embedding. Of a
    large alphabet only the first ``MAX_SYMBOLS`` symbols are drawn.
    """
    plane = project_embedding(table, vocab)
    count = min(len(vocab), MAX_SYMBOLS)
    figure = Figure(figsize=(5.4, 5.9))
    axes = figure.subplots()
    _draw_symbols(axes, plane, vocab.symbols[:count], in_words=vocab.unit == "word")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.07)
    axes.grid()
    axes.set_xlabel(plane.axes[0])
    axes.set_ylabel(plane.axes[1])
    which = "" if count == len(vocab) else f"\n(the first {count} of them)"
    dimensions = "1 dimension" if plane.dim == 1 else f"{plane.dim} dimensions"
    title = f"The embedding of {len(vocab):,} symbols in {dimensions}"
    if plane.dim > 2:
        title += f",\nprojected on two that explain {plane.explained:.0%} of the variance"
    axes.set_title(title + which)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _draw_symbols(
    axes: Axes, plane: Projection, symbols: tuple[str, ...], *, in_words: bool
) -> None:
    """Draw each symbol on a mark of its group, and a line to its true place where it was moved."""
    places, groups = plane.places[: len(symbols)], np.array(plane.groups[: len(symbols)])
    extent = max(float(np.ptp(places, axis=0).max()), 1e-6)
    is_dense = len(symbols) > DENSE
    moved = spread(places, (0.034 if is_dense else 0.053) * extent)
    for place, true in zip(moved, places, strict=True):
        axes.plot(*zip(true, place, strict=True), color=GREY, linewidth=0.8, zorder=0.9)
    for name, (color, _, marker) in GROUPS.items():
        if (groups == name).any():
            x, y = moved[groups == name].T
            area = 8 if in_words else 90 if is_dense else 170
            axes.scatter(x, y, s=area, color=color, marker=marker, label=name)
    if in_words:  # beside their marks: words are too long to stand on them
        for symbol, place in zip(symbols, moved, strict=True):
            style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5, "ha": "center"}
            axes.annotate(label(symbol), place, xytext=(0, 3), color=INK, **style)
        return
    for symbol, place, group in zip(symbols, moved, groups, strict=True):
        axes.annotate(
            label(symbol),
            place,
            color=GROUPS[group][1],
            fontsize=label_size(symbol, 7 if is_dense else 9.5),
            fontweight="bold",
            ha="center",
            va="center_baseline",
        )


def spread(places: Float[np.ndarray, "N 2"], min_distance: float) -> Float[np.ndarray, "N 2"]:
    """Return places that are at least (about) ``min_distance`` apart, each near where it was.

    >>> np.ptp(spread(np.array([[0.0, 0.0], [0.1, 0.0]]), 1.0), axis=0).round(2).tolist()
    [1.0, 0.0]
    """
    moved = places.astype(np.float64) + 1e-9 * np.arange(len(places))[:, None]  # no two are equal
    for _ in range(200):
        differences = moved[:, None] - moved  # (N, N, 2)
        distances = np.linalg.norm(differences, axis=-1, keepdims=True)
        push = np.maximum(min_distance - distances, 0) / 2
        step = (push * differences / np.maximum(distances, 1e-12)).sum(1)
        if np.abs(step).max() < 1e-3 * min_distance:
            break
        moved = moved + step
    return moved


@styled
def neighbours(
    ids: Int[np.ndarray, "V k"], distances: Float[np.ndarray, "V k"], vocab: Vocab
) -> Figure:
    """Draw the nearest symbols of each symbol, nearest first, and their distances."""
    count = min(len(vocab), MAX_NEIGHBOUR_ROWS)
    ids, distances = ids[:count], distances[:count]
    nearest = ids.shape[1]
    half = -(-count // 2)
    figure = Figure(figsize=(11.5 if vocab.unit == "word" else 7.2, 0.27 * half + 1.2))
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
                color = WHITE if is_dark(shades(norm(distances[i, k]))) else BLACK
                text = f"{label(vocab.symbols[ids[i, k]])}  {distances[i, k]:.2f}"
                size = label_size(vocab.symbols[ids[i, k]], 8, 0.75)
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
                axes.text(k + 0.5, row + 0.5, text, color=color, **style)
        axes.set_yticks(
            np.arange(len(rows)) + 0.5, [label(vocab.symbols[i]) for i in rows], fontweight="bold"
        )
        axes.set_xticks(np.arange(nearest) + 0.5, [str(k + 1) for k in range(nearest)])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle("The nearest symbols of each symbol, and their distances", size=11)
    return figure
