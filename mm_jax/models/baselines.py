"""What counting reaches: the losses that every curve can be held against.

Enters: counts of train and of dev (counts.py). Leaves: a rung for the uniform distribution, for
add-k of each order with the k that is best on dev, and for Kneser-Ney of each order. Exact sums in
float64, without a model; imports no jax but through the models it names.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from mm_jax.data.ngram_counts import Counts
from mm_jax.models.kneser_ney import ORDERS, estimate, ngram_log_probs

MAX_ORDER = ORDERS[-1]
SMALLEST, LARGEST = 1e-6, 1e6  # between which k is looked for


class Baseline(NamedTuple):
    """A way to count, and its losses in nats a symbol."""

    kind: str  # uniform, add-k, kneser-ney
    order: int  # 0 for uniform
    smoothing: float | None  # the k of add-k
    train_loss: float
    dev_loss: float | None  # None where nothing is held out
    fell_back: tuple[int, ...] = ()  # orders for which no discounts could be estimated


def add_k_losses(
    train: Counts, data: Counts, smoothing: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Return the loss of ``data`` under the smoothed counts of ``train``, for each k."""
    V = train.vocab_size
    counts, totals = train.find(data.keys), train.contexts().find(data.keys // V)
    losses = []
    with np.errstate(divide="ignore"):  # log 0: what never came has no probability without k
        for k in smoothing:
            unseen = (totals == 0) & (k == 0)
            nats = np.log(totals + k * V + unseen * V) - np.log(counts + k + unseen)
            losses.append(float(data.counts @ nats) / data.total)
    return np.array(losses)


def best_smoothing(train: Counts, dev: Counts) -> float:
    """Return the k with the lowest loss on dev, to three digits."""
    low, high = math.log10(SMALLEST), math.log10(LARGEST)
    for _ in range(4):
        grid = np.linspace(low, high, 25)
        best = int(np.argmin(add_k_losses(train, dev, 10**grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(f"{10 ** grid[best]:.3g}")


def add_k(train: Counts, dev: Counts | None, smoothing: float) -> Baseline:
    """Return the rung of add-k for counts of one order."""
    k = np.array([smoothing])
    dev_loss = None if dev is None else float(add_k_losses(train, dev, k)[0])
    return Baseline(
        "add-k", train.order, smoothing, float(add_k_losses(train, train, k)[0]), dev_loss
    )


def kneser_ney(train: Counts, dev: Counts | None) -> Baseline:
    """Return the rung of Kneser-Ney for counts of one order."""
    tables = estimate(train)

    def loss(data: Counts) -> float:
        return -float(data.counts @ ngram_log_probs(tables, data.keys)) / data.total

    fell_back = tuple(order for order, level in enumerate(tables.levels, 1) if level.fell_back)
    dev_loss = None if dev is None else loss(dev)
    return Baseline("kneser-ney", train.order, None, loss(train), dev_loss, fell_back)


def count_baselines(
    train: Counts, dev: Counts | None, smoothing: float = 0.0
) -> Iterator[Baseline]:
    """Yield uniform, then add-k and then Kneser-Ney of each order up to that of the counts.

    The k of each order is the best on dev; where there is no dev it is ``smoothing``.
    """
    uniform = math.log(train.vocab_size)
    yield Baseline("uniform", 0, None, uniform, None if dev is None else uniform)
    orders = range(1, min(train.order, MAX_ORDER) + 1)
    lower = {n: (train.lower(n), None if dev is None else dev.lower(n)) for n in orders}
    for counts, held_out in lower.values():
        k = smoothing if held_out is None else best_smoothing(counts, held_out)
        yield add_k(counts, held_out, k)
    for order in ORDERS:
        if order in lower:
            yield kneser_ney(*lower[order])


def best(rungs: Iterable[Baseline], kind: str | None = None) -> Baseline:
    """Return the rung with the lowest loss on dev, of all or of one kind."""
    able = [rung for rung in rungs if kind in (None, rung.kind)]
    return min(able, key=lambda rung: math.inf if rung.dev_loss is None else rung.dev_loss)


def reference_losses(rungs: list[Baseline]) -> dict[str, Any]:
    """Return the losses that curves are held against: on dev, or on all lines where none is."""

    def loss(rung: Baseline) -> float:
        return rung.train_loss if rung.dev_loss is None else rung.dev_loss

    plain = {0: "uniform", 1: "unigram", 2: "bigram"}
    found: dict[str, Any] = {
        plain[rung.order]: loss(rung)
        for rung in rungs
        if rung.kind != "kneser-ney" and rung.order in plain
    }
    if rungs[0].dev_loss is not None:
        for kind in ("add-k", "kneser-ney"):
            if any(rung.kind == kind for rung in rungs):
                found[kind.replace("-", "_")] = best(rungs, kind)._asdict()
    return found
