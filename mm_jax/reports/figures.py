"""The figures of a run or of a sweep: each that fits its model, with a title and a description."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Integer

from mm_jax.config.training import CountConfig, MixConfig, RunConfig
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.vocab import Vocab
from mm_jax.models.registry import build_model
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine, line_to_read, readable, shown_symbols
from mm_jax.reports.embeddings import nearest_rows, project_embedding
from mm_jax.reports.ladder_figures import ladder_figures
from mm_jax.reports.ladder_summary import LadderSummary
from mm_jax.reports.page_figures import ReportFigure
from mm_jax.reports.plots.groups import group_arrays, grouped_text, in_order
from mm_jax.reports.plots.histograms import drawn_layers, has_enough
from mm_jax.reports.plots.inside import cut_text, layers_of
from mm_jax.reports.run_summary import RunSummary, diagnostics_before_and_after
from mm_jax.reports.sweep_summary import SweepSummary
from mm_jax.runs.metrics import LossCurve

MAX_TABLE_CELLS = 2**24  # of a table of bigrams that is counted for a figure


def make_figures(
    summary: RunSummary | SweepSummary | LadderSummary, *, tables: bool = True
) -> Iterator[ReportFigure]:
    """Yield each figure that a run has; a sweep has one, a ladder two.

    Without ``tables`` those are left out that a report shows as tables: neighbours and samples.
    """
    if isinstance(summary, LadderSummary):
        yield from ladder_figures(summary)
        return
    if isinstance(summary, SweepSummary):
        if math.isfinite(summary.settings[0].mean):  # the best one: otherwise all have diverged
            yield choices_figure(summary)
        return
    config, groups = summary.run.config, group_arrays(summary.arrays)
    if summary.curves:
        yield loss_figure(summary)
    if len(summary.curves) == 1 and len(summary.curves[0].diagnostics) > 1:
        yield updates_figure(summary.curves[0], groups)
    yield from bigram_figures(summary)
    if (table := summary.embedding) is not None:
        yield embedding_figure(table, summary.run.vocab, summary.frequency)
        if tables and len(table) > 1:
            yield neighbours_figure(table, summary.run.vocab, summary.frequency)
    if isinstance(config, RunConfig) and config.seeds == 1 and summary.dataset is not None:
        yield from histogram_figures(summary, config, groups)
    yield from reading_figures(summary)
    if tables and summary.samples:
        yield samples_figure(summary.samples)


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


def updates_figure(curve: LossCurve, groups: Mapping[str, Sequence[str]]) -> ReportFigure:
    """Return the figure of how much a step changes each array, over time."""
    last = {name: float(x) for name, x in curve.diagnostics[-1]["update_to_data"].items()}
    return ReportFigure(
        "updates",
        "How much a step changes each array",
        "Ratio of a step's update to each array over time, at the end: "
        f"{grouped_text(last, groups)}.",
        plots.ratios(curve.diagnostics, groups),
    )


def bigram_figures(summary: RunSummary) -> Iterator[ReportFigure]:
    """Yield the table of bigrams, counted, and the probabilities that a model has for them.

    Of a trained model there are such only where one symbol alone decides the next.
    """
    run = summary.run
    if isinstance(run.config, MixConfig):
        return
    member = build_model(run.config.model, len(run.vocab))  # an ensemble has no logits of its own
    is_bigram = (run.model.bigram_logits or member.bigram_logits) is not None
    if isinstance(run.config, RunConfig) and not is_bigram:
        return
    counts = bigram_counts(summary)
    if counts is not None:
        yield counts_figure(counts, run.vocab)
    if run.model.bigram_logits is not None:
        yield from probability_figures(run.model.bigram_logits(run.params), counts, run.vocab)


def bigram_counts(summary: RunSummary) -> Integer[np.ndarray, "V V"] | None:
    """Return how often each bigram occurs: as a count model has it, or in the training lines."""
    counts = summary.run.params.get("counts")
    if isinstance(summary.run.config, CountConfig) and counts is not None and counts.ndim > 1:
        return np.asarray(counts).sum(tuple(range(counts.ndim - 2)), dtype=np.int64)
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
    logits: Any, counts: Integer[np.ndarray, "V V"] | None, vocab: Vocab
) -> Iterator[ReportFigure]:
    """Yield the probabilities of a neural bigram, and their difference from those of counting."""
    frequency = None if counts is None else counts.sum(0)
    probs = np.asarray(jax.nn.softmax(logits), np.float64)
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


def embedding_figure(
    table: Float[np.ndarray, "V D"], vocab: Vocab, frequency: Integer[np.ndarray, " V"] | None
) -> ReportFigure:
    """Return the figure of an embedding in two dimensions."""
    shown = shown_symbols(len(vocab), frequency)
    text = plots.embedding_text(project_embedding(table, vocab, shown.ids), shown.which)
    return ReportFigure(
        "embedding",
        "The embedding of the symbols",
        f"{text}; the table of nearest symbols has the distances.",
        plots.embedding(table, vocab, frequency),
    )


def neighbours_figure(
    table: Float[np.ndarray, "V D"], vocab: Vocab, frequency: Integer[np.ndarray, " V"] | None
) -> ReportFigure:
    """Return the figure of the nearest symbols of each symbol in an embedding."""
    shown = shown_symbols(len(vocab), frequency, plots.MAX_NEIGHBOUR_ROWS)
    each = "each symbol" if len(shown.ids) == len(vocab) else f"each of {shown.which}"
    return ReportFigure(
        "neighbours",
        "The nearest symbols of each symbol",
        f"For {each} the nearest ones in the embedding, and their distances.",
        plots.neighbours(nearest_rows(table, of=shown.ids), vocab, each),
    )


def histogram_figures(
    summary: RunSummary, config: RunConfig, groups: Mapping[str, Sequence[str]]
) -> Iterator[ReportFigure]:
    """Yield the histograms of activations and gradients, before and after training."""
    before, after = diagnostics_before_and_after(summary, config)
    if after.activations:
        layers, drawn = len(after.activations), drawn_layers([*after.activations])
        shares = "; ".join(
            f"{name}: {float(before.saturated[name]):.0%} before, "
            f"{float(after.saturated[name]):.0%} after"
            for name in drawn
        )
        some = f" in {len(drawn)} of {layers} layers" if len(drawn) < layers else ""
        what = "tanh activations" if summary.run.model.gates is None else "outputs of gated units"
        yield ReportFigure(
            "activations",
            f"Activations of the hidden layer{'s' if layers > 1 else ''}",
            f"Histogram of {what}{some}; share that is saturated, {shares}.",
            plots.activations(before, after, what),
        )
    if any(has_enough(histogram.counts) for histogram in after.gradients.values()):
        stds = {name: float(std) for name, std in after.gradient_std.items()}
        yield ReportFigure(
            "gradients",
            "Gradients of each array",
            "Histogram of gradients after training; standard deviations: "
            f"{grouped_text(stds, groups)}.",
            plots.gradients(before, after, groups),
        )


def reading_figures(summary: RunSummary) -> Iterator[ReportFigure]:
    """Yield what is inside a model while it reads one of its samples: attention, gates."""
    model, params, vocab = summary.run.model, summary.run.params, summary.run.vocab
    line = line_to_read(summary.samples, vocab, model.max_len)
    if len(line) < 2:
        return
    symbols = [vocab.symbols[i] for i in line]
    text = (" " if vocab.unit == "word" else "").join(map(readable, symbols[1:]))
    for read, figure in ((model.attention, attention_figure), (model.gates, gates_figure)):
        if read is not None:
            inside = jax.jit(read)(params, line)
            arrays = {name: np.asarray(inside[name]) for name in in_order(inside)}
            yield figure(arrays, symbols, text)


def attention_figure(
    maps: Mapping[str, Float[np.ndarray, "heads T T"]], symbols: Sequence[str], text: str
) -> ReportFigure:
    """Return the figure of how much each symbol of a line reads from each, in each head."""
    heads = max(len(each) for each in maps.values())
    own = ", ".join(
        f"{name} {np.diagonal(each, axis1=1, axis2=2)[:, 1:].mean():.2f}"
        for name, each in maps.items()
    )
    return ReportFigure(
        "attention",
        "Attention",
        f"Attention of {len(maps)} layers of {heads} heads on the line {text}, which a boundary "
        "begins: each row is a symbol, and how much it reads from which. Mean weight of a symbol "
        f"on itself: {own}.{_drawn(cut_text(len(maps), heads))}",
        plots.attention(maps, symbols),
    )


def gates_figure(
    openness: Mapping[str, Float[np.ndarray, "T H"]], symbols: Sequence[str], text: str
) -> ReportFigure:
    """Return the figure of how open each gate is at each symbol of a line."""
    units = max(each.shape[1] for each in openness.values())
    cut = cut_text(len(layers_of(openness)), units=units)
    means = ", ".join(f"{name} {each.mean():.2f}" for name, each in openness.items())
    return ReportFigure(
        "gates",
        "Gates",
        f"How open the gates of {units} units are, 0 to 1, at each symbol of the line {text}, "
        f"which a boundary begins. Means: {means}.{_drawn(cut)}",
        plots.gates(openness, symbols),
    )


def _drawn(cut: str) -> str:
    return f" Drawn are {cut}." if cut else ""


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
