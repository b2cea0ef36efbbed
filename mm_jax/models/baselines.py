"""Baselines: the losses that counting reaches, to compare every trained model with.

Enters: counts of train and of dev (data/ngrams.py). Leaves: one Baseline for the uniform
distribution, one per order for add-k with the k that is best on dev, and one per order for
Kneser-Ney. Exact sums in float64.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from mm_jax.data.ngrams import Counts
from mm_jax.models.backoff_tables import Tables, ngram_log_probs
from mm_jax.models.interpolated import Weights
from mm_jax.models.interpolated import estimate as interpolate
from mm_jax.models.kneser_ney import estimate

ORDERS = range(2, 7)  # of Kneser-Ney
MAX_ORDER = ORDERS[-1]
MIN_SMOOTHING, MAX_SMOOTHING = 1e-6, 1e6  # between which the best k is searched


class Baseline(NamedTuple):
    """A count model and its losses in nats per symbol."""

    kind: str  # uniform, add-k, kneser-ney, interpolated
    order: int  # 0 for uniform
    smoothing: float | None  # the k of add-k
    train_loss: float  # NaN where it was not asked for
    dev_loss: float | None  # None where no lines are held out
    fell_back: tuple[int, ...] = ()  # orders whose discounts could not be estimated


def add_k_losses(
    train: Counts, data: Counts, smoothing: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Return the loss of ``data`` under the counts of ``train`` with k added, for each k."""
    return _losses_of(_find_all(train, data), train.vocab_size, smoothing)


class Found(NamedTuple):
    """What add-k predicts from: how often n-grams, and their contexts, occur in train."""

    counts: Int64[np.ndarray, " n"]
    totals: Int64[np.ndarray, " n"]  # of the contexts
    weights: Int64[np.ndarray, " n"]  # how many predictions there are of each


def _find_all(train: Counts, data: Counts) -> Found:
    counts, totals = train.find(data.keys), train.contexts().find(data.context_keys)
    return Found(counts, totals, data.counts)


def _merge_equals(found: Found) -> Found:
    """Return the same with each pair of counts once: of many n-grams few are different."""
    order = np.lexsort((found.counts, found.totals))
    counts, totals, weights = (each[order] for each in found)
    is_new = (np.diff(counts, prepend=-1) != 0) | (np.diff(totals, prepend=-1) != 0)
    first = np.flatnonzero(is_new)
    return Found(counts[first], totals[first], np.add.reduceat(weights, first))


def _losses_of(
    found: Found, vocab_size: int, smoothing: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Return the loss with each k added."""
    counts, totals, weights = found
    losses = []
    with np.errstate(divide="ignore"):  # log 0: without k, what never occurred is impossible
        for k in smoothing:
            unseen = (totals == 0) & (k == 0)
            nats = np.log(totals + k * vocab_size + unseen * vocab_size)
            nats -= np.log(counts + k + unseen)
            losses.append(float(weights @ nats) / int(weights.sum()))
    return np.array(losses)


def best_smoothing(train: Counts, dev: Counts) -> float:
    """Return the k with the lowest loss on dev, to three digits."""
    found = _merge_equals(_find_all(train, dev))
    low, high = math.log10(MIN_SMOOTHING), math.log10(MAX_SMOOTHING)
    for _ in range(4):
        grid = np.linspace(low, high, 25)
        best = int(np.argmin(_losses_of(found, train.vocab_size, 10**grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(f"{10 ** grid[best]:.3g}")


def add_k(
    train: Counts, dev: Counts | None, smoothing: float, *, of_train: bool = True
) -> Baseline:
    """Return the add-k baseline for counts of one order; without the loss on train if so asked."""
    k = np.array([smoothing])
    dev_loss = None if dev is None else float(add_k_losses(train, dev, k)[0])
    train_loss = float(add_k_losses(train, train, k)[0]) if of_train else math.nan
    return Baseline("add-k", train.order, smoothing, train_loss, dev_loss)


def kneser_ney(
    train: Counts,
    dev: Counts | None,
    *,
    lower: Mapping[int, Counts] | None = None,
    of_train: bool = True,
) -> Baseline:
    """Return the Kneser-Ney baseline for counts of one order, as add_k does.

    ``lower`` has the counts of train of the orders below, where these are there.
    """
    tables, discounts = estimate(train, lower)
    fell_back = tuple(order for order, each in enumerate(discounts, 1) if each.fell_back)
    dev_loss = None if dev is None else _loss(tables, dev)
    train_loss = _loss(tables, train) if of_train else math.nan
    return Baseline("kneser-ney", train.order, None, train_loss, dev_loss, fell_back)


def interpolated(train: Counts, dev: Counts | None, weights: Weights) -> Baseline:
    """Return the baseline of interpolated n-grams for counts of one order and its lambdas."""
    tables = interpolate(train, weights)
    dev_loss = None if dev is None else _loss(tables, dev)
    return Baseline("interpolated", train.order, None, _loss(tables, train), dev_loss)


def _loss(tables: Tables, data: Counts) -> float:
    return -float(data.counts @ ngram_log_probs(tables, data.keys)) / data.total


def count_baselines(
    train: Counts, dev: Counts | None, smoothing: float = 0.0, *, of_train: bool = True
) -> Iterator[Baseline]:
    """Yield uniform, then add-k and then Kneser-Ney of each order up to that of the counts.

    The k of each order is the best on dev; without dev it is ``smoothing``. Without the losses on
    train, where these are not asked for, it takes half the time.
    """
    uniform = math.log(train.vocab_size)
    yield Baseline("uniform", 0, None, uniform, None if dev is None else uniform)
    orders = range(1, min(train.order, MAX_ORDER) + 1)
    lower = {n: (train.lower(n), None if dev is None else dev.lower(n)) for n in orders}
    for counts, held_out in lower.values():
        k = smoothing if held_out is None else best_smoothing(counts, held_out)
        yield add_k(counts, held_out, k, of_train=of_train)
    of_orders = {n: counts for n, (counts, _) in lower.items()}
    for order in ORDERS:
        if order in lower:
            yield kneser_ney(*lower[order], lower=of_orders, of_train=of_train)


def best(baselines: Iterable[Baseline], kind: str | None = None) -> Baseline:
    """Return the baseline with the lowest loss on dev, of all or of one kind."""
    candidates = [each for each in baselines if kind in (None, each.kind)]
    return min(candidates, key=lambda each: math.inf if each.dev_loss is None else each.dev_loss)


def reference_losses(baselines: list[Baseline]) -> dict[str, Any]:
    """Return the losses to compare a model with: on dev, or on train where nothing is held out.

    Keys: uniform, unigram, bigram (nats); with dev also add_k and kneser_ney, the best of each kind
    as a dict.
    """

    def loss(baseline: Baseline) -> float:
        return baseline.train_loss if baseline.dev_loss is None else baseline.dev_loss

    names = {0: "uniform", 1: "unigram", 2: "bigram"}
    references: dict[str, Any] = {
        names[each.order]: loss(each)
        for each in baselines
        if each.kind != "kneser-ney" and each.order in names
    }
    if baselines[0].dev_loss is not None:
        for kind in ("add-k", "kneser-ney"):
            if any(each.kind == kind for each in baselines):
                references[kind.replace("-", "_")] = best(baselines, kind)._asdict()
    return references
