"""Interpolated Kneser-Ney over symbols, three discounts per order: the best of the count models.

p(s | c) = (a(c, s) - D(a(c, s))) / a(c) + gamma(c) p(s | c without its oldest symbol), down to the
uniform distribution; a is the count at the highest order and at the start of a line, elsewhere the
number of different symbols before. Kneser and Ney (1995); Chen and Goodman (1999), section 3.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Num

from mm_jax.config.base import InputError
from mm_jax.config.models import KneserNeyConfig
from mm_jax.data.corpus import Corpus, as_corpus
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngram_numbers import Numbering, find, sum_by
from mm_jax.data.ngrams import Counts
from mm_jax.data.vocab import Vocab
from mm_jax.models.backoff import backoff
from mm_jax.models.backoff_tables import Level, Tables, from_tables, group, within_an_item
from mm_jax.models.base import Model, Params, built_once

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for an order with too few n-grams to estimate its own


class Discounts(NamedTuple):
    """What was taken from the counts of one order."""

    values: tuple[float, float, float]  # D of a = 1, 2, and 3 or more
    fell_back: bool  # whether they are FALLBACK_DISCOUNTS


class KneserNey(NamedTuple):
    """The tables of a model, and the discounts of each order from 1 up."""

    tables: Tables
    discounts: list[Discounts]


def estimate_discounts(counts: Int64[np.ndarray, " ngrams"]) -> tuple[float, float, float] | None:
    """Return D(1), D(2), D(3 or more) of Chen and Goodman, or None where they are undefined.

    With n_r the number of n-grams of count r and Y = n1 / (n1 + 2 n2): D(r) = r - (r+1) Y n_(r+1) /
    n_r. They are undefined where that divides by zero or leaves 0 < D(r) <= r.
    """
    n1, n2, n3, n4 = (int((counts == r).sum()) for r in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return None
    y = Fraction(n1, n1 + 2 * n2)
    one, two, three = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    if 0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3:
        return float(one), float(two), float(three)
    return None


def estimate(counts: Counts, lower: Mapping[int, Counts] | None = None) -> KneserNey:
    """Return the tables estimated from counts of the highest order.

    ``lower`` has the counts of the orders below, where they have been made already.
    """
    if not len(counts.keys):
        raise InputError("there are no n-grams to estimate Kneser-Ney from")
    V, found, above = counts.vocab_size, [], None
    for order in range(counts.order, 0, -1):
        occurred = counts.lower(order) if lower is None else lower[order]
        numbering, within = Numbering(V, order), within_an_item(occurred)
        ngrams, adjusted = occurred.keys[within], occurred.counts[within]
        if above is not None:
            suffixes, num_before = sum_by(
                Numbering(V, order + 1).suffix(above, order), np.ones(len(above), np.int64)
            )
            begins = np.zeros(len(ngrams), bool)
            if order > 1:
                begins = numbering.symbol(ngrams, order - 1) == 0
            index, is_suffix = find(suffixes, ngrams)
            inner = is_suffix & ~begins
            adjusted[inner] = num_before[index[inner]]
        found.append(_level(ngrams, adjusted, numbering))
        above = ngrams
    levels, discounts = zip(*found[::-1], strict=True)
    return KneserNey(Tables(V, [*levels]), [*discounts])


def _level(
    ngrams: Num[np.ndarray, " n"], adjusted: Int64[np.ndarray, " n"], numbering: Numbering
) -> tuple[Level, Discounts]:
    estimated = estimate_discounts(adjusted)
    used = estimated or FALLBACK_DISCOUNTS
    discounted = np.array([0, *used])[np.minimum(adjusted, 3)]
    contexts, totals, places = group(ngrams, adjusted, numbering)
    gammas = np.bincount(places, weights=discounted, minlength=len(contexts)) / totals
    shares = (adjusted - discounted) / totals[places]
    return Level(ngrams, shares, contexts, gammas), Discounts(used, estimated is None)


@built_once
def kneser_ney(vocab_size: int, order: int = KneserNeyConfig.order) -> Model:
    """Return the Kneser-Ney model: see backoff.py for its parameters.

    ``init`` knows the empty context only; ``fit_kneser_ney`` returns parameters with all others.
    """
    return backoff(vocab_size, order)


def fit_kneser_ney(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = KneserNeyConfig.order
) -> Params:
    """Return the parameters of ``kneser_ney`` fitted in closed form.

    ``data`` are lines with their ``vocab``, or a corpus.
    """
    return from_tables(estimate(count_corpus(as_corpus(data, vocab), order)).tables)


def from_config(config: KneserNeyConfig, vocab_size: int) -> Model:
    """Return the Kneser-Ney model that a KneserNeyConfig describes."""
    return kneser_ney(vocab_size, config.order)
