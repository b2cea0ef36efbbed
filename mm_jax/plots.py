"""Figures, by matplotlib: each function takes results and returns a Figure; ``save`` writes it.

Nothing here is imported before a figure is drawn.
"""

import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.figure import Figure

from mm_jax.choices import InputError
from mm_jax.lr import RangeTest
from mm_jax.suggest import in_blocks, loss_limits
from mm_jax.vocab import Vocab

ENDINGS = (".png", ".svg", ".pdf")
BLUE, GREEN, ORANGE, RED, GREY = "#1f5fa8", "#1b7f4b", "#d9730d", "#b3261e", "#6b6b6b"
VOWELS = set("aeiou")


def check_path(path: str) -> Path:
    """Return where a figure goes; raise InputError where no figure can be written there."""
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"--figure {path} must end in one of {', '.join(ENDINGS)}")
    if target.is_dir():
        raise InputError(f"--figure {path} is a directory")
    if not target.parent.is_dir():
        raise InputError(f"--figure {path}: there is no directory {target.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f"--figure {path} cannot be written to")
    return target


def save(figure: Figure, path: Path) -> None:
    """Write a figure; its ending says in which format."""
    # The same figure gives the same file: no date in it, and no name drawn at random.
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with matplotlib.rc_context({"svg.hashsalt": "mm_jax"}):
            figure.savefig(path, dpi=150, metadata=undated.get(path.suffix.lower()))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def lr_range(test: RangeTest) -> Figure:
    """Draw a range test: every seed, the median, the suggestion, and where rates are no good."""
    found = test.suggestion
    low, high = loss_limits(test.losses, found)
    pad = 0.06 * (high - low)
    x, blocks = in_blocks(test.lrs, test.losses)
    rates, num_seeds = np.exp(x), len(blocks)
    figure = Figure(figsize=(8, 4.8), layout="constrained")
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
    axes.plot(rates[finite], found.curve.median[finite], color=BLUE, linewidth=1.6, label=name)

    def region(left: float, right: float, text: str, color: str) -> None:
        axes.axvspan(left, right, color=color, alpha=0.08, linewidth=0)
        narrow = np.log(right / left) < 0.12 * np.log(test.lrs[-1] / test.lrs[0])
        axes.text(
            np.sqrt(left * right),
            high + 2.4 * pad if not narrow else (low + high) / 2,
            text,
            color=color,
            ha="center",
            va="top" if not narrow else "center",
            rotation=90 if narrow else 0,
        )

    if found.too_low is not None:
        region(test.lrs[0], found.too_low, "too low", GREY)
    above = found.explodes or test.lrs[-1]
    if found.too_high is not None and found.too_high < above:
        region(found.too_high, above, "too high", ORANGE)
    if found.explodes is not None:
        region(found.explodes, test.lrs[-1], "explodes", RED)
    if found.lr is not None:
        if found.interval is not None:
            axes.axvspan(*found.interval, color=GREEN, alpha=0.25, linewidth=0)
        sure = ""
        if found.interval is not None:
            sure = f" (90%: {found.interval[0]:g} to {found.interval[1]:g})"
        axes.axvline(found.lr, color=GREEN, label=f"suggested: {found.lr:g}{sure}")
        title = f"Range test, {test.mode}: train at about {found.lr:g}"
    else:
        title = f"Range test, {test.mode}: no suggestion. {found.reason}"
    what = "loss of the step" if test.mode == "sweep" else "loss of the last tenth of the steps"
    axes.set_ylabel(f"{what}, nats a symbol")
    axes.set_title(title, fontsize=11, wrap=True)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def bigram_table(counts: Integer[np.ndarray, "V V"], vocab: Vocab) -> Figure:
    """Draw how often each bigram occurs: a row for the first symbol, a column for the next."""
    V = len(vocab)
    figure = Figure(figsize=(0.45 * V + 0.8, 0.45 * V + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    dark = counts.max() / 2
    for i, first in enumerate(vocab.symbols):
        for j, second in enumerate(vocab.symbols):
            color = "white" if counts[i, j] > dark else "black" if counts[i, j] else GREY
            text = f"{first}{second}\n{counts[i, j]}"
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=7)
    axes.set_xticks(range(V), vocab.symbols)
    axes.set_yticks(range(V), vocab.symbols)
    axes.set_xlabel("next symbol")
    axes.set_ylabel("symbol")
    axes.set_title(f"How often each of the {counts.sum():,} bigrams occurs")
    return figure


def one_hot(rows: Float[np.ndarray, "N V"], names: list[str], vocab: Vocab) -> Figure:
    """Draw one-hot rows: white is 0, dark is 1; ``names`` stand beside the rows."""
    figure = Figure(figsize=(8, 0.27 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(rows, cmap="Blues", vmin=0, vmax=1, edgecolors="lightgrey", linewidth=0.5)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(vocab)) + 0.5, vocab.symbols)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.set_xlabel("symbol")
    axes.set_title("One-hot: a one at the symbol, zeros elsewhere")
    return figure


def losses(nats: Float[np.ndarray, " steps"], title: str, block: int = 1000) -> Figure:
    """Draw the losses of minibatches as log10, as the lecture does, and the mean of each block."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(len(nats))
    axes.plot(steps, np.log10(nats), color=GREY, linewidth=0.3, alpha=0.6, label="each minibatch")
    block = max(1, min(block, len(nats) // 10))
    means = nats[: len(nats) // block * block].reshape(-1, block).mean(1)
    middles = (np.arange(len(means)) + 0.5) * block
    name = f"mean of {block:,} steps"
    axes.plot(middles, np.log10(means), color=BLUE, linewidth=1.8, label=name)
    axes.set_xlim(0, len(nats))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel("log10 of the loss in nats a symbol")
    right = axes.secondary_yaxis("right", functions=(_power, _log10))
    right.set_ylabel("loss, nats a symbol")
    axes.set_title(title)
    for line in axes.legend(loc="upper right", frameon=False).get_lines():
        line.set_linewidth(2)
    return figure


def _power(y: Any) -> Any:
    return 10.0**y


def _log10(nats: Any) -> Any:
    return np.log10(np.maximum(nats, 1e-30))  # matplotlib asks for 0, too


def embedding(table: Float[np.ndarray, "V 2"], vocab: Vocab) -> Figure:
    """Draw a two-dimensional embedding: each symbol where it is; vowels and boundary stand out."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    vowel = np.array([symbol in VOWELS for symbol in vocab.symbols])
    boundary = np.arange(len(vocab)) == 0
    size = np.ptp(table, axis=0).max()
    places = spread(table, 0.032 * size)
    for place, true in zip(places, table, strict=True):
        axes.plot(*zip(true, place, strict=True), color=GREY, linewidth=0.8, zorder=0.9)
    for name, mask, color, marker in (
        ("vowels", vowel, "#f2b56b", "o"),
        ("the boundary", boundary, RED, "s"),
        ("other symbols", ~(vowel | boundary), BLUE, "o"),
    ):
        x, y = places[mask].T
        axes.scatter(x, y, s=170, color=color, marker=marker, label=name)
    for symbol, place, light in zip(vocab.symbols, places, vowel, strict=True):
        color = "black" if light else "white"
        axes.annotate(
            symbol, place, color=color, fontsize=9, fontweight="bold", ha="center", va="center"
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="lightgrey", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("C[:, 0]")
    axes.set_ylabel("C[:, 1]")
    axes.set_title(f"The embedding of {len(vocab)} symbols in two dimensions")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


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
