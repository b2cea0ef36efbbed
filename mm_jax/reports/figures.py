"""What there is to see of a run, or of a sweep -> a picture of each thing that fits its model."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.figure import Figure

from mm_jax.config.models import NgramConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine, bigrams_of, neighbours_of, project_embedding
from mm_jax.reports.plots.histograms import counts_enough
from mm_jax.reports.run_summary import RunSummary, diagnostics_before_and_after
from mm_jax.reports.sweep_summary import SweepSummary
from mm_jax.runs.metrics import LossCurve


class ReportFigure(NamedTuple):
    """A figure, the name of its file, and in words what it shows."""

    name: str
    title: str
    description: str
    figure: Figure


def make_figures(
    summary: RunSummary | SweepSummary, *, tables: bool = True
) -> Iterator[ReportFigure]:
    """Yield each picture that a run has; a sweep has one.

    Without ``tables`` those are left out that a report has as tables: neighbours and samples.
    """
    if isinstance(summary, SweepSummary):
        if math.isfinite(summary.settings[0].mean):  # the best: else all have diverged
            yield choices_picture(summary)
        return
    config = summary.run.config
    if summary.curves:
        yield curve_picture(summary)
    if summary.curves and len(summary.curves) == 1 and len(summary.curves[0].looks) > 1:
        yield looks_picture(summary.curves[0])
    yield from pair_pictures(summary)
    if (table := summary.embedding) is not None:
        yield embedding_picture(table, summary.run.vocab)
        if tables and len(table) > 1:
            yield neighbours_picture(table, summary.run.vocab)
    if isinstance(config, RunConfig) and config.seeds == 1 and summary.splits is not None:
        yield from inside_pictures(summary, config)
    if tables and summary.lines:
        yield samples_picture(summary.lines)


def _is_ensemble(config: Any) -> bool:
    return isinstance(config, RunConfig) and config.seeds > 1


def curve_picture(summary: RunSummary) -> ReportFigure:
    """Return the picture of the loss over steps."""
    ends = {name.removesuffix("_loss"): loss for name, loss in summary.losses.items()}
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in ends.items() if loss is not None)
    held = ", ".join(f"{name} {loss:.3f}" for name, loss in summary.floors)
    steps = max(curve.end for curve in summary.curves)
    description = f"Loss in nats a symbol over {steps:,} steps"
    description += (f", at the end {told}" if told else "") + f". Lines to hold it against: {held}."
    figure = plots.training(summary.curves, summary.floors)
    return ReportFigure("loss", "Loss over steps", description, figure)


def looks_picture(curve: LossCurve) -> ReportFigure:
    """Return the picture of how much steps change each array over time."""
    last = curve.looks[-1]["update_to_data"]
    told = ", ".join(f"{name} {float(ratio):.1e}" for name, ratio in last.items())
    return ReportFigure(
        "updates",
        "How much a step changes each array",
        f"Ratio of a step's update to each array over time, at the end: {told}.",
        plots.ratios(curve.looks),
    )


def pair_pictures(summary: RunSummary) -> Iterator[ReportFigure]:
    """Yield tables of pairs: counts, and of a net of one matrix its probabilities beside them."""
    run, counts = summary.run, pair_counts(summary)
    name = run.config.model.name
    if name == "mlp" or (counts is None and name != "bigram"):
        return
    frequent = None
    if counts is not None:
        frequent = counts.sum(0)
        i, j = divmod(int(counts.argmax()), len(counts))
        most = run.vocab.symbols[i] + run.vocab.symbols[j]
        description = (
            f"How often each of {counts.sum():,} bigrams occurs in the training lines, a row for "
            f"the first symbol; {most} most often, {counts.max():,} times."
        )
        figure = plots.bigram_table(counts, run.vocab)
        yield ReportFigure("bigrams", "Counts of bigrams", description, figure)
    if name != "bigram" or _is_ensemble(run.config):
        return
    probs = np.asarray(jax.nn.softmax(run.params["W"]), np.float64)
    yield ReportFigure(
        "probabilities",
        "What the net gives each next symbol",
        "The net's probability of each next symbol in percent, a row for the symbol before it.",
        plots.probability_table(probs, run.vocab, frequent),
    )
    if counts is not None:
        totals = counts.sum(1, keepdims=True)
        counted = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / len(counts))
        far = float(np.abs(probs - counted).max())
        yield ReportFigure(
            "difference",
            "The net less the counts",
            "The net's probabilities less those of counting, in percentage points; the largest is "
            f"{100 * far:.1f}.",
            plots.difference_table(probs - counted, run.vocab, frequent),
        )


def pair_counts(summary: RunSummary) -> Integer[np.ndarray, "V V"] | None:
    """Return how often each bigram occurs: as a model has counted, or in the training lines."""
    model = summary.run.config.model
    if isinstance(model, NgramConfig) and model.order > 1:
        counts = np.asarray(summary.run.params["counts"])
        return counts.sum(tuple(range(model.order - 2)), dtype=np.int64)
    if summary.splits is None or len(summary.run.vocab) ** 2 > 2**24:
        return None
    return bigrams_of(summary.splits.train, summary.run.vocab)


def embedding_picture(table: Float[np.ndarray, "V D"], vocab: Vocab) -> ReportFigure:
    """Return where an embedding puts the symbols."""
    plane = project_embedding(table, vocab)
    how = f", projected on two that explain {plane.explained:.0%}" if plane.dim > 2 else ""
    return ReportFigure(
        "embedding",
        "Where the embedding puts the symbols",
        f"The embedding of {len(vocab):,} symbols, {plane.dim} numbers each{how}; the table of "
        "nearest symbols says the same in numbers.",
        plots.embedding(table, vocab),
    )


def neighbours_picture(table: Float[np.ndarray, "V D"], vocab: Vocab) -> ReportFigure:
    """Return the nearest symbols of each in an embedding."""
    return ReportFigure(
        "neighbours",
        "The nearest symbols of each",
        "For each symbol the nearest ones in the embedding, and their distances.",
        plots.neighbours(*neighbours_of(table), vocab),
    )


def inside_pictures(summary: RunSummary, config: RunConfig) -> Iterator[ReportFigure]:
    """Yield the histograms of activations and gradients, before and after training."""
    before, after = diagnostics_before_and_after(summary, config)
    if after.activations:
        told = "; ".join(
            f"{name}: {float(before.saturated[name]):.0%} before, {float(share):.0%} after"
            for name, share in after.saturated.items()
        )
        yield ReportFigure(
            "activations",
            "Activations of the hidden layer",
            f"Histogram of tanh activations; saturated share, {told}.",
            plots.activations(before, after),
        )
    if not any(counts_enough(found) for found in after.gradients.values()):
        return
    told = ", ".join(f"{name} {float(std):.1e}" for name, std in after.gradient_std.items())
    yield ReportFigure(
        "gradients",
        "Gradients of each array",
        f"Histogram of gradients after training; standard deviations: {told}.",
        plots.gradients(before, after),
    )


def samples_picture(lines: list[AnnotatedLine]) -> ReportFigure:
    """Return the picture of lines that the model makes."""
    known = any(line.nearest is not None for line in lines)
    new = f", {sum(not line.seen for line in lines)} of them new" if known else ""
    return ReportFigure(
        "samples",
        "Lines it makes",
        f"{len(lines)} lines{new}, and the surprise of each symbol.",
        plots.samples(lines),
    )


def choices_picture(summary: SweepSummary, only: str | None = None) -> ReportFigure:
    """Return the picture of the loss against each choice of a sweep, or ``only`` one of them."""
    names = [name for name in summary.names if only in (None, name)]
    rows = [({name: each.choices[name] for name in names}, each.mean) for each in summary.settings]
    best, lowest = rows[0]
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best.items())
    which = f"the {only.replace('_', ' ')}" if only else "each choice"
    return ReportFigure(
        f"choices_{only}" if only else "choices",
        f"Loss against {which}",
        f"Mean loss on dev of {len(rows)} settings against {which}; the best, {lowest:.4f}, "
        f"has {told}.",
        plots.choices(rows, summary.scales, summary.dropped),
    )
