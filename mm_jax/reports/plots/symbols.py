"""Figures of symbols: tables of pairs, one-hot rows, and sampled lines with their surprise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from mm_jax.data.vocab import Vocab
from mm_jax.reports.analysis import AnnotatedLine, shortened, shown_symbols
from mm_jax.reports.plots.style import (
    BLACK,
    DIM,
    FAINT,
    INK,
    ORANGE,
    WHITE,
    is_dark,
    label,
    label_size,
    styled,
)

MAX_SYMBOLS = 32  # in a table of pairs; of more, the most frequent ones
MAX_SURPRISE = 6.0  # nats; a more surprising symbol gets no stronger colour
MAX_LENGTH = 40  # symbols of a line that are drawn


def bigram_table(counts: Integer[np.ndarray, "V V"], vocab: Vocab) -> Figure:
    """Draw how often each bigram occurs: a row for the first symbol, a column for the next."""
    title = f"How often each of the {counts.sum():,} bigrams occurs"
    return pair_table(counts, vocab, title, "{:,}", frequency=counts.sum(0))


def probability_table(
    probs: Float[np.ndarray, "V V"],
    vocab: Vocab,
    frequency: Integer[np.ndarray, " V"] | None = None,
) -> Figure:
    """Draw the probability of each next symbol, in percent; each row adds up to 100."""
    title = "The net's probability of each next symbol, in percent"
    return pair_table(100 * probs, vocab, title, "{:.1f}", frequency=frequency)


def difference_table(
    difference: Float[np.ndarray, "V V"],
    vocab: Vocab,
    frequency: Integer[np.ndarray, " V"] | None = None,
) -> Figure:
    """Draw a net's probabilities minus those of counting, in percentage points."""
    title = "The net minus the counts, in percentage points"
    return pair_table(100 * difference, vocab, title, "{:+.1f}", frequency=frequency, signed=True)


@styled
def pair_table(
    values: Float[np.ndarray, "V V"] | Integer[np.ndarray, "V V"],
    vocab: Vocab,
    title: str,
    form: str,
    *,
    frequency: Integer[np.ndarray, " V"] | None = None,
    signed: bool = False,
) -> Figure:
    """Draw a number for each pair of symbols, in a cell below the pair.

    Of a large alphabet only the ``MAX_SYMBOLS`` symbols of highest ``frequency`` are drawn, or the
    first ones. ``form`` formats a number.
    """
    ids = np.arange(len(vocab))
    if len(vocab) > MAX_SYMBOLS:
        shown = shown_symbols(len(vocab), frequency, MAX_SYMBOLS)
        ids = np.sort(shown.ids)
        title += f"; {shown.which}"
        values = values[np.ix_(ids, ids)]
    symbols = [label(vocab.symbols[i]) for i in ids]
    size = 0.42 * len(symbols) + 1.0
    figure = Figure(figsize=(size, size))
    axes = figure.subplots()
    norm = CenteredNorm() if signed else Normalize(vmin=0)
    # In grey the sign in a cell distinguishes the two ends of PuOr.
    mesh = axes.pcolormesh(values, cmap="PuOr" if signed else "Blues", norm=norm, rasterized=False)
    for i, first in enumerate(symbols):
        for j, second in enumerate(symbols):
            color = WHITE if is_dark(mesh.to_rgba(values[i, j])) else BLACK
            _write_cell(axes, (j, i), first + second, form.format(values[i, j]), color)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    places = np.arange(len(symbols)) + 0.5
    axes.set_xticks(places, symbols)
    axes.set_yticks(places, symbols)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("next symbol")
    axes.set_ylabel("symbol")
    axes.set_title(title, wrap=True)
    return figure


def _write_cell(axes: Axes, cell: tuple[int, int], pair: str, number: str, color: str) -> None:
    """Write a pair and its number into a cell (column, row); a number of zero is dim."""
    (x, y), is_zero = cell, float(number.replace(",", "")) == 0
    style: dict[str, Any] = {"ha": "center", "fontsize": 7.5, "in_layout": False}
    style["color"] = DIM if is_zero else color
    axes.text(x + 0.5, y + 0.47, pair, va="bottom", **style)
    axes.text(x + 0.5, y + 0.53, number.lstrip("+-") if is_zero else number, va="top", **style)


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


@styled
def samples(lines: Sequence[AnnotatedLine]) -> Figure:
    """Draw lines with the surprise of each symbol, where they occur, and what is nearest."""
    length = min(max(len(line.symbols) for line in lines), MAX_LENGTH)
    figure = Figure(figsize=(0.27 * length + 4.6, 0.29 * len(lines) + 1.5))
    axes = figure.subplots()
    values = np.full((len(lines), length), np.nan)
    for row, line in enumerate(lines):
        surprise = [nats for _, nats in line.symbols[:length]]
        values[row, : len(surprise)] = surprise
    norm = Normalize(0, MAX_SURPRISE)
    mesh = axes.pcolormesh(values, cmap="Oranges", norm=norm, edgecolors="none")
    for row, line in enumerate(lines):
        for column, (symbol, nats) in enumerate(line.symbols[:length]):
            color = WHITE if is_dark(mesh.to_rgba(np.asarray(nats))) else BLACK
            size = label_size(symbol, 9.5)
            style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": size}
            axes.text(column + 0.5, row + 0.5, label(symbol), color=color, **style)
        text, style = _occurrence(line)
        axes.text(length + 0.4, row + 0.5, text, va="center", fontsize=9, **style)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xticks(np.arange(length) + 0.5, [str(i + 1) for i in range(length)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("place in the line; the last symbol is its end")
    axes.set_title("Samples of the model, and the surprise of each symbol", loc="left")
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", aspect=40, extend="max")
    bar.set_label("surprise, nats")
    bar.outline.set_visible(False)
    return figure


def _occurrence(line: AnnotatedLine) -> tuple[str, dict[str, Any]]:
    """Return where a line occurs in the data, or the nearest training line, and the text style."""
    if line.seen:
        return "in " + ", ".join(line.seen), {"color": ORANGE, "fontweight": "bold"}
    if line.nearest is None:
        return "", {"color": INK}
    nearest = label(shortened(line.nearest, 24))
    edits = "1 edit" if line.distance == 1 else f"{line.distance} edits"
    return f"new; nearest: {nearest}, {edits} away", {"color": INK}
