"""A file of lines -> counts of its n-grams, the baselines, and the count model that was asked for.

``order`` and ``smoothing`` are numbers, "auto" for the lowest loss on dev, or "kneser-ney".
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from mm_jax.config.base import InputError
from mm_jax.config.models import CountedConfig, KneserNeyConfig, NgramConfig
from mm_jax.data.file_summary import FileSummary
from mm_jax.data.ngram_counts import count_stream
from mm_jax.data.ngrams import NUM_SPLITS, Counts, check_fits, fits, highest_order
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab
from mm_jax.models import kneser_ney as kneser_ney_model
from mm_jax.models import ngram as ngram_model
from mm_jax.models.base import Params
from mm_jax.models.baselines import (
    MAX_ORDER,
    ORDERS,
    Baseline,
    add_k,
    best,
    best_smoothing,
    count_baselines,
    kneser_ney,
)
from mm_jax.runtime.hardware import memory_bytes

Order: TypeAlias = int | Literal["auto"]
Smoothing: TypeAlias = float | Literal["auto", "kneser-ney"]


class SplitCounts(NamedTuple):
    """The n-grams of one order in train and in dev."""

    train: Counts
    dev: Counts | None  # None where no lines are held out

    def lower(self, order: int) -> "SplitCounts":
        """Return the counts of a lower order."""
        dev = None if self.dev is None else self.dev.lower(order)
        return SplitCounts(self.train.lower(order), dev)


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


def order_to_count(order: Order, smoothing: Smoothing, vocab_size: int) -> int:
    """Return the highest order to count. Raise InputError where the one asked for is impossible."""
    highest = highest_order(vocab_size)
    if order == "auto":
        return min(highest, MAX_ORDER)
    if smoothing == "kneser-ney":
        if order not in ORDERS:
            possible = f"{ORDERS[0]} to {ORDERS[-1]}"
            raise InputError(f"--smoothing kneser-ney takes --order {possible}, not {order}")
        if order > highest:
            raise InputError(f"{vocab_size:,} symbols can have orders 2 to {highest}")
    else:
        check_fits(vocab_size, order)
    return min(highest, max(MAX_ORDER, order))


def count_splits(
    stream: Stream, summary: FileSummary, order: int, *, in_table: bool = False
) -> SplitCounts:
    """Return the counts of a file; of a lower order where there are too many different n-grams."""
    train, dev = count_stream(stream, summary, order, in_table=in_table)
    return SplitCounts(train, dev if summary.has_dev else None)


def choose_model(
    stream: Stream, summary: FileSummary, counts: SplitCounts, order: Order, smoothing: Smoothing
) -> CountResult:
    """Return the baselines for ``counts`` and the model asked for; count again if that needs it.

    Raise InputError where its order has too many different n-grams.
    """
    k = 0.0 if isinstance(smoothing, str) else float(smoothing)
    baselines = list(count_baselines(counts.train, counts.dev, k))
    if order != "auto" and order > counts.train.order:
        counts = _recount(stream, summary, counts.train.order, order, smoothing)
    chosen = _choose(baselines, counts, order, smoothing)
    return CountResult(counts.lower(chosen.order), baselines, chosen)


def _recount(
    stream: Stream, summary: FileSummary, counted: int, order: int, smoothing: Smoothing
) -> SplitCounts:
    """Count in a table what has too many different n-grams to be held one by one."""
    needed = 3 * NUM_SPLITS * 8 * len(summary.vocab) ** order
    if smoothing == "kneser-ney" or needed > memory_bytes():
        raise InputError(
            f"there are too many different n-grams for order {order}; order {counted} can be "
            "counted"
        )
    return count_splits(stream, summary, order, in_table=True)


def _choose(
    baselines: list[Baseline], counts: SplitCounts, order: Order, smoothing: Smoothing
) -> Baseline:
    """Return the model of this order and smoothing, or the best on dev where they are auto."""
    kind = "kneser-ney" if smoothing == "kneser-ney" else "add-k"
    known = {baseline.order: baseline for baseline in baselines if baseline.kind == kind}

    def of_order(n: int) -> Baseline:
        if isinstance(smoothing, str) and n in known:
            return known[n]
        train, dev = counts.lower(n)
        if smoothing == "kneser-ney":
            return kneser_ney(train, dev)
        if smoothing == "auto":
            assert dev is not None
            return add_k(train, dev, best_smoothing(train, dev))
        return add_k(train, dev, float(smoothing))

    if order != "auto":
        return of_order(order)
    counted = counts.train.order
    if kind == "kneser-ney":
        orders = [n for n in ORDERS if n <= counted]
    else:
        orders = [n for n in range(1, counted + 1) if fits(counts.train.vocab_size, n)]
    return best(of_order(n) for n in orders)


def model_config(baseline: Baseline) -> CountedConfig:
    """Return the choices of the model that a baseline describes."""
    if baseline.smoothing is None:
        return KneserNeyConfig(baseline.order)
    return NgramConfig(baseline.order, baseline.smoothing)


def model_params(baseline: Baseline, train: Counts) -> Params:
    """Return the parameters of the model that a baseline describes, from counts of its order."""
    if baseline.smoothing is None:
        return kneser_ney_model.from_tables(kneser_ney_model.estimate(train))
    return ngram_model.from_counts(train)


def impossible_in_dev(result: CountResult, vocab: Vocab) -> list[tuple[str, int]]:
    """Return the n-grams of dev that have no probability and their counts, most frequent first."""
    (train, dev), chosen = result.counts, result.chosen
    if dev is None or chosen.smoothing != 0:
        return []
    # A context that never occurs in train predicts all symbols alike, so nothing is impossible.
    unseen = (train.find(dev.keys) == 0) & (train.contexts().find(dev.keys // len(vocab)) > 0)
    order = np.argsort(-dev.counts[unseen], kind="stable")
    pairs = zip(dev.keys[unseen][order], dev.counts[unseen][order], strict=True)
    return [(dev.spell(int(key), vocab), int(count)) for key, count in pairs]
