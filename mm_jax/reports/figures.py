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
from mm_jax.reports.analysis import Line, bigrams_of, neighbours_of, plane_of
from mm_jax.reports.plots.histograms import counts_enough
from mm_jax.reports.run_summary import Sight, insides
from mm_jax.reports.sweep_summary import SweepSight
from mm_jax.runs.metrics import Curve


class Picture(NamedTuple):
    """A figure, the name of its file, and in words what it shows."""

    name: str
    title: str
    description: str
    figure: Figure


def pictures(sight: Sight | SweepSight, *, tables: bool = True) -> Iterator[Picture]:
    """Yield each picture that a run has; a sweep has one.

    Without ``tables`` those are left out that a report has as tables: neighbours and samples.
    """
    if isinstance(sight, SweepSight):
        if math.isfinite(sight.settings[0].mean):  # the best: else all have diverged
            yield choices_picture(sight)
        return
    config = sight.run.config
    if sight.curves:
        yield curve_picture(sight)
    if sight.curves and len(sight.curves) == 1 and len(sight.curves[0].looks) > 1:
        yield looks_picture(sight.curves[0])
    yield from pair_pictures(sight)
    if (table := sight.embedding) is not None:
        yield embedding_picture(table, sight.run.vocab)
        if tables and len(table) > 1:
            yield neighbours_picture(table, sight.run.vocab)
    if isinstance(config, RunConfig) and config.seeds == 1 and sight.splits is not None:
        yield from inside_pictures(sight, config)
    if tables and sight.lines:
        yield samples_picture(sight.lines)


def _is_ensemble(config: Any) -> bool:
    return isinstance(config, RunConfig) and config.seeds > 1


def curve_picture(sight: Sight) -> Picture:
    """Return the picture of the loss over steps."""
    ends = {name.removesuffix("_loss"): loss for name, loss in sight.losses.items()}
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in ends.items() if loss is not None)
    held = ", ".join(f"{name} {loss:.3f}" for name, loss in sight.floors)
    steps = max(curve.end for curve in sight.curves)
    description = f"Loss in nats a symbol over {steps:,} steps"
    description += (f", at the end {told}" if told else "") + f". Lines to hold it against: {held}."
    figure = plots.training(sight.curves, sight.floors)
    return Picture("loss", "Loss over steps", description, figure)


def looks_picture(curve: Curve) -> Picture:
    """Return the picture of how much steps change each array over time."""
    last = curve.looks[-1]["update_to_data"]
    told = ", ".join(f"{name} {float(ratio):.1e}" for name, ratio in last.items())
    return Picture(
        "updates",
        "How much a step changes each array",
        f"Ratio of a step's update to each array over time, at the end: {told}.",
        plots.ratios(curve.looks),
    )


def pair_pictures(sight: Sight) -> Iterator[Picture]:
    """Yield tables of pairs: counts, and of a net of one matrix its probabilities beside them."""
    run, counts = sight.run, pair_counts(sight)
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
        yield Picture("bigrams", "Counts of bigrams", description, figure)
    if name != "bigram" or _is_ensemble(run.config):
        return
    probs = np.asarray(jax.nn.softmax(run.params["W"]), np.float64)
    yield Picture(
        "probabilities",
        "What the net gives each next symbol",
        "The net's probability of each next symbol in percent, a row for the symbol before it.",
        plots.probability_table(probs, run.vocab, frequent),
    )
    if counts is not None:
        totals = counts.sum(1, keepdims=True)
        counted = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / len(counts))
        far = float(np.abs(probs - counted).max())
        yield Picture(
            "difference",
            "The net less the counts",
            "The net's probabilities less those of counting, in percentage points; the largest is "
            f"{100 * far:.1f}.",
            plots.difference_table(probs - counted, run.vocab, frequent),
        )


def pair_counts(sight: Sight) -> Integer[np.ndarray, "V V"] | None:
    """Return how often each bigram occurs: as a model has counted, or in the training lines."""
    model = sight.run.config.model
    if isinstance(model, NgramConfig) and model.order > 1:
        counts = np.asarray(sight.run.params["counts"])
        return counts.sum(tuple(range(model.order - 2)), dtype=np.int64)
    if sight.splits is None or len(sight.run.vocab) ** 2 > 2**24:
        return None
    return bigrams_of(sight.splits.train, sight.run.vocab)


def embedding_picture(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Picture:
    """Return where an embedding puts the symbols."""
    plane = plane_of(table, vocab)
    how = f", projected on two that explain {plane.explained:.0%}" if plane.dim > 2 else ""
    return Picture(
        "embedding",
        "Where the embedding puts the symbols",
        f"The embedding of {len(vocab):,} symbols, {plane.dim} numbers each{how}; the table of "
        "nearest symbols says the same in numbers.",
        plots.embedding(table, vocab),
    )


def neighbours_picture(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Picture:
    """Return the nearest symbols of each in an embedding."""
    return Picture(
        "neighbours",
        "The nearest symbols of each",
        "For each symbol the nearest ones in the embedding, and their distances.",
        plots.neighbours(*neighbours_of(table), vocab),
    )


def inside_pictures(sight: Sight, config: RunConfig) -> Iterator[Picture]:
    """Yield the histograms of activations and gradients, before and after training."""
    before, after = insides(sight, config)
    if after.activations:
        told = "; ".join(
            f"{name}: {float(before.saturated[name]):.0%} before, {float(share):.0%} after"
            for name, share in after.saturated.items()
        )
        yield Picture(
            "activations",
            "Activations of the hidden layer",
            f"Histogram of tanh activations; saturated share, {told}.",
            plots.activations(before, after),
        )
    if not any(counts_enough(found) for found in after.gradients.values()):
        return
    told = ", ".join(f"{name} {float(std):.1e}" for name, std in after.gradient_std.items())
    yield Picture(
        "gradients",
        "Gradients of each array",
        f"Histogram of gradients after training; standard deviations: {told}.",
        plots.gradients(before, after),
    )


def samples_picture(lines: list[Line]) -> Picture:
    """Return the picture of lines that the model makes."""
    known = any(line.nearest is not None for line in lines)
    new = f", {sum(not line.seen for line in lines)} of them new" if known else ""
    return Picture(
        "samples",
        "Lines it makes",
        f"{len(lines)} lines{new}, and the surprise of each symbol.",
        plots.samples(lines),
    )


def choices_picture(sight: SweepSight, only: str | None = None) -> Picture:
    """Return the picture of the loss against each choice of a sweep, or ``only`` one of them."""
    names = [name for name in sight.names if only in (None, name)]
    rows = [({name: each.choices[name] for name in names}, each.mean) for each in sight.settings]
    best, lowest = rows[0]
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best.items())
    which = f"the {only.replace('_', ' ')}" if only else "each choice"
    return Picture(
        f"choices_{only}" if only else "choices",
        f"Loss against {which}",
        f"Mean loss on dev of {len(rows)} settings against {which}; the best, {lowest:.4f}, "
        f"has {told}.",
        plots.choices(rows, sight.scales, sight.dropped),
    )
