"""The figures of a run or of a sweep: each that fits its model, with a title and a description."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.figure import Figure

from mm_jax.config.models import NgramConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine, nearest_rows, project_embedding
from mm_jax.reports.plots.histograms import has_enough
from mm_jax.reports.run_summary import RunSummary, diagnostics_before_and_after
from mm_jax.reports.sweep_summary import SweepSummary
from mm_jax.runs.metrics import LossCurve

MAX_TABLE_CELLS = 2**24  # of a table of bigrams that is counted for a figure


class ReportFigure(NamedTuple):
    """A figure, the name of its file, its title, and a description in words."""

    name: str
    title: str
    description: str
    figure: Figure


def make_figures(
    summary: RunSummary | SweepSummary, *, tables: bool = True
) -> Iterator[ReportFigure]:
    """Yield each figure that a run has; a sweep has one.

    Without ``tables`` those are left out that a report shows as tables: neighbours and samples.
    """
    if isinstance(summary, SweepSummary):
        if math.isfinite(summary.settings[0].mean):  # the best one: otherwise all have diverged
            yield choices_figure(summary)
        return
    config = summary.run.config
    if summary.curves:
        yield loss_figure(summary)
    if len(summary.curves) == 1 and len(summary.curves[0].diagnostics) > 1:
        yield updates_figure(summary.curves[0])
    yield from bigram_figures(summary)
    if (table := summary.embedding) is not None:
        yield embedding_figure(table, summary.run.vocab)
        if tables and len(table) > 1:
            yield neighbours_figure(table, summary.run.vocab)
    if isinstance(config, RunConfig) and config.seeds == 1 and summary.dataset is not None:
        yield from histogram_figures(summary, config)
    if tables and summary.samples:
        yield samples_figure(summary.samples)


def _is_ensemble(config: Any) -> bool:
    return isinstance(config, RunConfig) and config.seeds > 1


def loss_figure(summary: RunSummary) -> ReportFigure:
    """Return the figure of the loss over steps."""
    last_step = max(curve.end for curve in summary.curves)
    losses = {name.removesuffix("_loss"): loss for name, loss in summary.losses.items()}
    at_end = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items() if loss is not None)
    baselines = ", ".join(f"{name} {loss:.3f}" for name, loss in summary.baselines)
    description = f"Loss in nats per symbol over {last_step:,} steps"
    description += (f", at the end {at_end}" if at_end else "") + f". Baselines: {baselines}."
    figure = plots.training(summary.curves, summary.baselines)
    return ReportFigure("loss", "Loss over steps", description, figure)


def updates_figure(curve: LossCurve) -> ReportFigure:
    """Return the figure of how much a step changes each array, over time."""
    last = curve.diagnostics[-1]["update_to_data"]
    ratios = ", ".join(f"{name} {float(ratio):.1e}" for name, ratio in last.items())
    return ReportFigure(
        "updates",
        "How much a step changes each array",
        f"Ratio of a step's update to each array over time, at the end: {ratios}.",
        plots.ratios(curve.diagnostics),
    )


def bigram_figures(summary: RunSummary) -> Iterator[ReportFigure]:
    """Yield tables of bigrams: their counts, and for a neural bigram also its probabilities."""
    run, counts = summary.run, bigram_counts(summary)
    name = run.config.model.name
    if name == "mlp" or (counts is None and name != "bigram"):
        return
    if counts is not None:
        yield counts_figure(counts, run.vocab)
    if name == "bigram" and not _is_ensemble(run.config):
        yield from probability_figures(run.params, counts, run.vocab)


def bigram_counts(summary: RunSummary) -> Integer[np.ndarray, "V V"] | None:
    """Return how often each bigram occurs: as a count model has it, or in the training lines."""
    model = summary.run.config.model
    if isinstance(model, NgramConfig) and model.order > 1:
        counts = np.asarray(summary.run.params["counts"])
        return counts.sum(tuple(range(model.order - 2)), dtype=np.int64)
    if summary.dataset is None or len(summary.run.vocab) ** 2 > MAX_TABLE_CELLS:
        return None
    return count_corpus(summary.dataset.splits.train, 2).dense()


def counts_figure(counts: Integer[np.ndarray, "V V"], vocab: Vocab) -> ReportFigure:
    """Return the figure of how often each bigram occurs."""
    i, j = divmod(int(counts.argmax()), len(counts))
    return ReportFigure(
        "bigrams",
        "Counts of bigrams",
        f"How often each of {counts.sum():,} bigrams occurs in the training lines, a row for the "
        f"first symbol; {vocab.spell([i, j])} most often, {counts.max():,} times.",
        plots.bigram_table(counts, vocab),
    )


def probability_figures(
    params: Mapping[str, Any], counts: Integer[np.ndarray, "V V"] | None, vocab: Vocab
) -> Iterator[ReportFigure]:
    """Yield the probabilities of a neural bigram, and their difference from those of counting."""
    frequency = None if counts is None else counts.sum(0)
    probs = np.asarray(jax.nn.softmax(params["W"]), np.float64)
    yield ReportFigure(
        "probabilities",
        "The net's probability of each next symbol",
        "The net's probability of each next symbol in percent, a row for the symbol before it.",
        plots.probability_table(probs, vocab, frequency),
    )
    if counts is not None:
        totals = counts.sum(1, keepdims=True)
        counted = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / len(counts))
        largest = 100 * float(np.abs(probs - counted).max())
        yield ReportFigure(
            "difference",
            "The net minus the counts",
            "The net's probabilities minus those of counting, in percentage points; the largest "
            f"difference is {largest:.1f}.",
            plots.difference_table(probs - counted, vocab, frequency),
        )


def embedding_figure(table: Float[np.ndarray, "V D"], vocab: Vocab) -> ReportFigure:
    """Return the figure of an embedding in two dimensions."""
    plane = project_embedding(table, vocab)
    share = f"{plane.explained:.0%} of the variance"
    projected = f", projected on two that explain {share}" if plane.dim > 2 else ""
    dimensions = "1 dimension" if plane.dim == 1 else f"{plane.dim} dimensions"
    return ReportFigure(
        "embedding",
        "The embedding of the symbols",
        f"The embedding of {len(vocab):,} symbols in {dimensions}{projected}; the table of nearest "
        "symbols has the distances.",
        plots.embedding(table, vocab),
    )


def neighbours_figure(table: Float[np.ndarray, "V D"], vocab: Vocab) -> ReportFigure:
    """Return the figure of the nearest symbols of each symbol in an embedding."""
    return ReportFigure(
        "neighbours",
        "The nearest symbols of each symbol",
        "For each symbol the nearest ones in the embedding, and their distances.",
        plots.neighbours(*nearest_rows(table), vocab),
    )


def histogram_figures(summary: RunSummary, config: RunConfig) -> Iterator[ReportFigure]:
    """Yield the histograms of activations and gradients, before and after training."""
    before, after = diagnostics_before_and_after(summary, config)
    if after.activations:
        shares = "; ".join(
            f"{name}: {float(before.saturated[name]):.0%} before, {float(share):.0%} after"
            for name, share in after.saturated.items()
        )
        yield ReportFigure(
            "activations",
            "Activations of the hidden layer",
            f"Histogram of tanh activations; share that is saturated, {shares}.",
            plots.activations(before, after),
        )
    if any(has_enough(histogram) for histogram in after.gradients.values()):
        stds = ", ".join(f"{name} {float(std):.1e}" for name, std in after.gradient_std.items())
        yield ReportFigure(
            "gradients",
            "Gradients of each array",
            f"Histogram of gradients after training; standard deviations: {stds}.",
            plots.gradients(before, after),
        )


def samples_figure(lines: list[AnnotatedLine]) -> ReportFigure:
    """Return the figure of lines that the model samples."""
    known = any(line.nearest is not None for line in lines)
    new = f", {sum(not line.seen for line in lines)} of them new" if known else ""
    return ReportFigure(
        "samples",
        "Samples of the model",
        f"{len(lines)} lines{new}, and the surprise of each symbol.",
        plots.samples(lines),
    )


def choices_figure(summary: SweepSummary, only: str | None = None) -> ReportFigure:
    """Return the figure of the loss against each choice of a sweep, or ``only`` one of them."""
    names = [name for name in summary.names if only in (None, name)]
    rows = [({name: each.choices[name] for name in names}, each.mean) for each in summary.settings]
    best, lowest = rows[0]
    values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best.items())
    which = f"the {only.replace('_', ' ')}" if only else "each choice"
    return ReportFigure(
        f"choices_{only}" if only else "choices",
        f"Loss against {which}",
        f"Mean loss on dev of {len(rows)} settings against {which}; the best, {lowest:.4f}, "
        f"has {values}.",
        plots.choices(rows, summary.scales, summary.dropped),
    )
