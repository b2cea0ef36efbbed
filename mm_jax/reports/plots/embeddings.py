"""Figures of an embedding: where the symbols are, and which are the nearest to each."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from mm_jax.data.vocab import Vocab
from mm_jax.reports.analysis import readable, shortened, shown_symbols
from mm_jax.reports.embeddings import Neighbours, Projection, project_embedding
from mm_jax.reports.plots.labels import place_labels, text_sizes
from mm_jax.reports.plots.style import (
    AMBER,
    BLACK,
    BLUE,
    FAINT,
    GREY,
    INK,
    PAPER,
    WHITE,
    escaped,
    is_dark,
    label,
    label_size,
    styled,
)

MAX_NEIGHBOUR_ROWS = 64  # symbols whose neighbours are drawn
DENSE, MANY = 40, 100  # symbols; more of them are drawn smaller, and in a larger figure
SIZE, LARGE_SIZE = (5.4, 5.9), (11.0, 9.0)  # inches
WORD_SIZE = 7.0  # of the font, in points of type
MAX_WORD, MAX_CELL_WORD = 24, 14  # letters of a word that are drawn, and in a cell of a table
FAR = 4.0  # points of type from a word to its point, from which on a line joins them

GROUPS = {  # colour, colour of the symbol on it, marker
    "vowels": (AMBER, BLACK, "o"),
    "consonants": (BLUE, PAPER, "o"),
    "the boundary": (INK, PAPER, "s"),
    "other symbols": (GREY, PAPER, "D"),
}


@styled
def embedding(
    table: Float[np.ndarray, "V D"],
    vocab: Vocab,
    frequency: Integer[np.ndarray, " V"] | None = None,
) -> Figure:
    """Draw an embedding: each symbol at its place, moved only as far as it takes to be legible.

    More than two dimensions are drawn by their principal components; see project_embedding. Of a
    large alphabet only the ``MAX_SYMBOLS`` symbols of highest ``frequency`` are drawn, or the first
    ones, and the components are theirs.
    """
    shown = shown_symbols(len(vocab), frequency)
    plane = project_embedding(table, vocab, shown.ids)
    symbols = [vocab.symbols[i] for i in shown.ids]
    figure = Figure(figsize=LARGE_SIZE if len(symbols) > MANY else SIZE)
    axes = figure.subplots()
    in_words = vocab.unit == "word"
    moved = plane.places if in_words else _spread_symbols(plane.places)
    _draw_marks(axes, moved, plane.groups, _mark_area(len(symbols), in_words=in_words))
    if not in_words:  # words need the room
        axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.07)
    axes.grid()
    axes.set_xlabel(plane.axes[0])
    axes.set_ylabel(plane.axes[1])
    axes.set_title(embedding_text(plane, shown.which).replace(", projected", ",\nprojected"))
    if len(set(plane.groups)) > 1:
        figure.legend(loc="outside lower center", ncols=4)
    if in_words:
        _write_words(axes, plane.places, symbols)
    else:
        _write_symbols(axes, plane, moved, symbols)
    return figure


def embedding_text(plane: Projection, which: str) -> str:
    """Return what a figure of an embedding shows: ``which`` symbols, and how much of them."""
    dimensions = "1 dimension" if plane.dim == 1 else f"{plane.dim} dimensions"
    share = f", projected on two that explain {plane.explained:.0%} of their variance"
    return f"The embedding of {which} in {dimensions}" + (share if plane.dim > 2 else "")


def _mark_area(count: int, *, in_words: bool) -> float:
    return 4 if in_words else 90 if count > DENSE else 170


def _draw_marks(
    axes: Axes, places: Float[np.ndarray, "N 2"], groups: list[str], area: float
) -> None:
    """Draw the mark of each symbol, by its group."""
    for name, (color, _, marker) in GROUPS.items():
        is_of_group = np.array([group == name for group in groups])
        if is_of_group.any():
            x, y = places[is_of_group].T
            axes.scatter(x, y, s=area, color=color, marker=marker, label=name)


def _spread_symbols(places: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Return the places of marks that do not overlap."""
    extent = max(float(np.ptp(places, axis=0).max()), 1e-6)
    count = len(places)
    share = 0.02 if count > MANY else 0.034 if count > DENSE else 0.053
    return spread(places, share * extent)


def _write_symbols(
    axes: Axes, plane: Projection, moved: Float[np.ndarray, "N 2"], symbols: Sequence[str]
) -> None:
    """Write each symbol on its mark, and draw a line to its true place where it was moved."""
    for place, true in zip(moved, plane.places, strict=True):
        axes.plot(*zip(true, place, strict=True), color=GREY, linewidth=0.8, zorder=0.9)
    for symbol, place, group in zip(symbols, moved, plane.groups, strict=True):
        axes.annotate(
            label(symbol),
            place,
            color=GROUPS[group][1],
            fontsize=label_size(symbol, 7 if len(symbols) > DENSE else 9.5),
            fontweight="bold",
            ha="center",
            va="center_baseline",
        )


def _write_words(axes: Axes, points: Float[np.ndarray, "N 2"], words: Sequence[str]) -> None:
    """Write each word beside its point, so that no two overlap, with a line where it is far.

    The places are in the units of the axes: where these grow, because a page has no need of the
    title, the words move apart.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # which decides how large the axes are
    to_points = axes.transData + Affine2D().scale(72 / figure.dpi)
    corner, end = axes.get_window_extent().get_points() * 72 / figure.dpi
    texts = [shortened(readable(word), MAX_WORD) for word in words]
    sizes = text_sizes(texts, WORD_SIZE)
    true = to_points.transform(points) - corner
    places = place_labels(true, sizes, end - corner)
    nearest = np.clip(true, places - sizes / 2, places + sizes / 2)  # of each label to its point
    is_far = np.linalg.norm(nearest - true, axis=1) > FAR
    to_axes = (Affine2D().translate(*corner) + to_points.inverted()).transform
    for text, (x, y) in zip(texts, to_axes(places), strict=True):
        axes.text(x, y, escaped(text), color=INK, fontsize=WORD_SIZE, ha="center", va="center")
    style: dict[str, Any] = {"color": GREY, "linewidth": 0.5, "zorder": 0.9}
    for ends in np.stack([to_axes(nearest), points], axis=1)[is_far]:
        axes.plot(*ends.T, scalex=False, scaley=False, **style)  # the axes stay as they are


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
def neighbours(near: Neighbours, vocab: Vocab, each: str = "each symbol") -> Figure:
    """Draw the nearest symbols of ``each`` symbol, nearest first, and their distances."""
    of, ids, distances = near
    count, nearest = ids.shape
    in_words = vocab.unit == "word"
    most = MAX_CELL_WORD if in_words else MAX_WORD
    names = [escaped(shortened(readable(symbol), most)) for symbol in vocab.symbols]
    half = -(-count // 2)
    figure = Figure(figsize=(11.5 if in_words else 7.2, 0.27 * half + 1.2))
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
                text = f"{names[ids[i, k]]}  {distances[i, k]:.2f}"
                size = 6.0 if in_words else label_size(vocab.symbols[ids[i, k]], 8, 0.75)
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
                axes.text(k + 0.5, row + 0.5, text, color=color, **style)
        axes.set_yticks(
            np.arange(len(rows)) + 0.5,
            [names[of[row]] for row in rows],
            fontweight="bold",
        )
        axes.set_xticks(np.arange(nearest) + 0.5, [str(k + 1) for k in range(nearest)])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle(f"The nearest symbols of {each}, and their distances", size=11)
    return figure
