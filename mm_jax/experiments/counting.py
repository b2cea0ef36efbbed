"""A file of lines -> counts of its n-grams, the baselines, and the count model that was asked for.

``order`` and ``smoothing`` are numbers, or "auto" for the lowest loss on dev; or the smoothing is
the name of another model, "kneser-ney" or "interpolated".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.models import (
    COUNTED,
    CountedConfig,
    InterpolatedConfig,
    KneserNeyConfig,
    NgramConfig,
)
from mm_jax.config.training import CountConfig
from mm_jax.data.file_summary import FileSummary, hold_out_of_train
from mm_jax.data.ngram_counts import count_stream
from mm_jax.data.ngram_numbers import NUM_SPLITS, highest_order
from mm_jax.data.ngrams import Counts, check_fits, fits
from mm_jax.data.samples import Samples, to_text
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab
from mm_jax.models import ngram as ngram_model
from mm_jax.models.backoff_tables import from_tables
from mm_jax.models.base import Params
from mm_jax.models.baselines import (
    MAX_ORDER,
    ORDERS,
    Baseline,
    add_k,
    best,
    best_smoothing,
    count_baselines,
    interpolated,
    kneser_ney,
)
from mm_jax.models.interpolated import estimate as interpolate
from mm_jax.models.interpolated import fit_weights
from mm_jax.models.kneser_ney import estimate
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.writer import append_metrics, save_results, write_metadata
from mm_jax.runtime.environment import fingerprint
from mm_jax.runtime.hardware import memory_bytes

SPARSE = (KneserNeyConfig.name, InterpolatedConfig.name)  # whose models hold what occurs alone
BYTES_PER_NGRAM = 100  # while they are counted, merged and estimated from

Order: TypeAlias = int | Literal["auto"]
Smoothing: TypeAlias = float | Literal["auto", "kneser-ney", "interpolated"]


class SplitCounts(NamedTuple):
    """The n-grams of one order in train and in dev."""

    train: Counts
    dev: Counts | None  # None where no lines are held out
    of_train: tuple[Counts, Counts] | None = None  # nine tenths of train, and the tenth

    def lower(self, order: int) -> "SplitCounts":
        """Return the counts of a lower order."""
        dev = None if self.dev is None else self.dev.lower(order)
        of_train = None
        if self.of_train is not None:
            of_train = self.of_train[0].lower(order), self.of_train[1].lower(order)
        return SplitCounts(self.train.lower(order), dev, of_train)


class CountResult(NamedTuple):
    """What counting a file gives."""

    counts: SplitCounts  # of the order of the chosen model
    baselines: list[Baseline]
    chosen: Baseline  # the model that was asked for


def check_request(order: Order, smoothing: Smoothing, split: str) -> None:
    """Raise InputError for what can be refused before the file is read."""
    if "auto" in (order, smoothing) and split == "none":
        raise InputError("auto means the lowest loss on dev, and --split none holds no lines out")
    if not isinstance(smoothing, str):
        NgramConfig(smoothing=smoothing)


def order_to_count(
    order: Order, smoothing: Smoothing, vocab_size: int, *, needs_params: bool = True
) -> int:
    """Return the highest order to count. Raise InputError where the one asked for is impossible.

    A model whose parameters are needed has to fit in memory.
    """
    highest = highest_order(vocab_size)
    if order == "auto":
        return min(highest, MAX_ORDER)
    is_sparse = smoothing in SPARSE
    lowest = ORDERS[0] if is_sparse else 1
    if order < lowest:
        raise InputError(f"--model {smoothing} takes --order {lowest} or more, not {order}")
    if not is_sparse and needs_params:
        check_fits(vocab_size, order)
    if order > highest:
        possible = f"orders {lowest} to {highest}, not {order}"
        raise InputError(f"{vocab_size:,} symbols can have {possible}")
    return min(highest, max(MAX_ORDER, order))


def count_splits(
    stream: Stream,
    summary: FileSummary,
    order: int,
    *,
    max_ngrams: int | None = None,
    in_table: bool = False,
) -> SplitCounts:
    """Return the counts of a file; of a lower order where there are too many different n-grams."""
    train, dev = count_stream(stream, summary, order, max_ngrams=max_ngrams, in_table=in_table)
    return SplitCounts(train, dev if summary.has_dev else None)


def choose_model(
    stream: Stream,
    summary: FileSummary,
    counts: SplitCounts,
    order: Order,
    smoothing: Smoothing,
    *,
    needs_params: bool = True,
) -> CountResult:
    """Return the baselines for ``counts`` and the model asked for; count again if that needs it.

    Raise InputError where its order has more different n-grams than memory holds.
    """
    k = 0.0 if isinstance(smoothing, str) else float(smoothing)
    baselines = list(count_baselines(counts.train, counts.dev, k))
    if order != "auto" and order > counts.train.order:
        counts = _recount(stream, summary, counts.train.order, order, smoothing)
    if smoothing == InterpolatedConfig.name:
        counts = with_part_of_train(stream, summary, counts)
    chosen = _choose(baselines, counts, order, smoothing, needs_params=needs_params)
    return CountResult(counts.lower(chosen.order), baselines, chosen)


def interpolated_baselines(counts: SplitCounts) -> Iterator[Baseline]:
    """Yield interpolated n-grams of each order up to that of the counts, which have part of train.

    The weights are fitted on that part alone, so that dev can choose among the orders.
    """
    for order in ORDERS:
        if order <= counts.train.order:
            train, dev, of_train = counts.lower(order)
            assert of_train is not None
            yield interpolated(train, dev, fit_weights(*of_train))


def _recount(
    stream: Stream, summary: FileSummary, counted: int, order: int, smoothing: Smoothing
) -> SplitCounts:
    """Count what has too many different n-grams for the baselines, with all memory there is."""
    in_table = 3 * NUM_SPLITS * 8 * len(summary.vocab) ** order <= memory_bytes()
    if in_table and smoothing not in SPARSE:
        return count_splits(stream, summary, order, in_table=True)
    return _count_all(stream, summary, order, counted)


def _count_all(stream: Stream, summary: FileSummary, order: int, counted: int) -> SplitCounts:
    """Count with all memory there is. Raise InputError where that allows a lower order alone."""
    counts = count_splits(stream, summary, order, max_ngrams=memory_bytes() // BYTES_PER_NGRAM)
    if counts.train.order < order:
        raise InputError(
            f"there are more different n-grams of order {order} than fit in "
            f"{memory_bytes() / 1e9:,.0f} GB; order {counted} can be counted"
        )
    return counts


def with_part_of_train(stream: Stream, summary: FileSummary, counts: SplitCounts) -> SplitCounts:
    """Return the counts with those that the weights of interpolated n-grams are fitted on."""
    held_out, order = hold_out_of_train(stream, summary), counts.train.order
    part = _count_all(stream, held_out, order, order - 1)
    assert part.dev is not None
    return counts._replace(of_train=(part.train, part.dev))


def _choose(
    baselines: list[Baseline],
    counts: SplitCounts,
    order: Order,
    smoothing: Smoothing,
    *,
    needs_params: bool,
) -> Baseline:
    """Return the model of this order and smoothing, or the best on dev where they are auto.

    Where both are, that is the best of all baselines.
    """
    known = {(baseline.kind, baseline.order): baseline for baseline in baselines}

    def of_order(kind: str, n: int) -> Baseline:
        if isinstance(smoothing, str) and (kind, n) in known:
            return known[kind, n]
        train, dev, of_train = counts.lower(n)
        if kind == "kneser-ney":
            return kneser_ney(train, dev)
        if of_train is not None:
            return interpolated(train, dev, fit_weights(*of_train))
        if smoothing == "auto":
            assert dev is not None
            return add_k(train, dev, best_smoothing(train, dev))
        return add_k(train, dev, float(smoothing))

    kinds = [str(smoothing) if smoothing in SPARSE else "add-k"]
    if order != "auto":
        return of_order(kinds[0], order)
    if smoothing == "auto":
        kinds.append("kneser-ney")
    vocab_size, counted = counts.train.vocab_size, counts.train.order
    candidates = [
        of_order(kind, n)
        for kind in kinds
        for n in (ORDERS if kind in SPARSE else range(1, MAX_ORDER + 1))
        if n <= counted and (kind in SPARSE or not needs_params or fits(vocab_size, n))
    ]
    if not candidates:
        raise InputError(f"there are too many different n-grams for {kinds[0]}")
    return best(candidates)


def model_config(baseline: Baseline) -> CountedConfig:
    """Return the choices of the model that a baseline describes."""
    if baseline.smoothing is None:
        return COUNTED[baseline.kind](baseline.order)
    return NgramConfig(baseline.order, baseline.smoothing)


def model_params(baseline: Baseline, counts: SplitCounts) -> Params:
    """Return the parameters of the model that a baseline describes, from counts of its order."""
    if baseline.smoothing is not None:
        return ngram_model.from_counts(counts.train)
    if counts.of_train is not None and baseline.kind == InterpolatedConfig.name:
        weights = fit_weights(*counts.of_train)
        return from_tables(interpolate(counts.train, weights))
    return from_tables(estimate(counts.train).tables)


def save_counted(
    path: Path,
    config: CountConfig,
    record: dict[str, Any],
    vocab: Vocab,
    losses: dict[str, float | None],
    params: Params,
    samples: Samples,
) -> None:
    """Write the run directory of a counted model; ``record`` is what config.json keeps of data."""
    write_metadata(path, RunMetadata(config, vocab.symbols, record, None, fingerprint()))
    append_metrics(path, [losses])
    save_results(path, params, to_text(samples, config.data))


def impossible_in_dev(result: CountResult, vocab: Vocab) -> list[tuple[str, int]]:
    """Return the n-grams of dev that have no probability and their counts, most frequent first."""
    (train, dev, _), chosen = result.counts, result.chosen
    if dev is None or chosen.smoothing != 0:
        return []
    # A context that never occurs in train predicts all symbols alike, so nothing is impossible.
    unseen = (train.find(dev.keys) == 0) & (train.contexts().find(dev.context_keys) > 0)
    order = np.argsort(-dev.counts[unseen], kind="stable")
    pairs = zip(dev.keys[unseen][order], dev.counts[unseen][order], strict=True)
    return [(dev.spell(key, vocab), int(count)) for key, count in pairs]
