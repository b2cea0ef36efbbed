"""Interpolated Kneser-Ney over symbols, three discounts per order: the best of the count models.

p(s | c) = (a(c, s) - D(a(c, s))) / a(c) + gamma(c) p(s | c without its oldest symbol), down to the
uniform distribution; a is the count at the highest order and at the start of a line, elsewhere the
number of different symbols before. Kneser and Ney (1995); Chen and Goodman (1999), section 3.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from mm_jax.config.base import InputError
from mm_jax.config.models import KneserNeyConfig
from mm_jax.data.corpus import Corpus, as_corpus
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngram_numbers import Numbering, find, sum_by
from mm_jax.data.ngrams import Counts
from mm_jax.data.vocab import Vocab
from mm_jax.models.backoff import MAX_CELLS, States, backoff, dense_params, sparse_params
from mm_jax.models.base import Model, Params, built_once

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for an order with too few n-grams to estimate its own


class Level(NamedTuple):
    """One order m of the model: the n-grams and contexts that occur, sorted by their numbers."""

    ngrams: Num[np.ndarray, " ngrams"]  # of m symbols
    shares: Float64[np.ndarray, " ngrams"]  # (a - D(a)) / a(context)
    contexts: Num[np.ndarray, " contexts"]  # of m - 1 symbols
    gammas: Float64[np.ndarray, " contexts"]  # the share of each context left to the order below
    discounts: tuple[float, float, float]  # D of a = 1, 2, and 3 or more
    fell_back: bool  # whether the discounts are FALLBACK_DISCOUNTS


class Tables(NamedTuple):
    """The levels of an interpolated model, from order 1 up."""

    vocab_size: int
    levels: list[Level]


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


def estimate(counts: Counts, lower: Mapping[int, Counts] | None = None) -> Tables:
    """Return the tables estimated from counts of the highest order.

    ``lower`` has the counts of the orders below, where they have been made already.
    """
    if not len(counts.keys):
        raise InputError("there are no n-grams to estimate Kneser-Ney from")
    V, levels, above = counts.vocab_size, [], None
    for order in range(counts.order, 0, -1):
        occurred = counts.lower(order) if lower is None else lower[order]
        numbering = Numbering(V, order)
        within = _within_a_line(occurred.keys, numbering)
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
        levels.append(_level(ngrams, adjusted, numbering))
        above = ngrams
    return Tables(V, levels[::-1])


def _within_a_line(keys: Num[np.ndarray, " n"], numbering: Numbering) -> Bool[np.ndarray, " n"]:
    """Return which n-grams have boundaries only as their first symbol or as the predicted one."""
    within = np.ones(len(keys), bool)
    for age in range(1, numbering.order - 1):
        within &= numbering.symbol(keys, age) != 0
    return within


def _level(
    ngrams: Num[np.ndarray, " n"], adjusted: Int64[np.ndarray, " n"], numbering: Numbering
) -> Level:
    discounts = estimate_discounts(adjusted)
    used = discounts or FALLBACK_DISCOUNTS
    discounted = np.array([0, *used])[np.minimum(adjusted, 3)]
    context_keys = numbering.context(ngrams)
    contexts, totals = sum_by(context_keys, adjusted)
    place = np.searchsorted(contexts, context_keys)
    gammas = np.bincount(place, weights=discounted, minlength=len(contexts)) / totals
    shares = (adjusted - discounted) / totals[place]
    return Level(ngrams, shares, contexts, gammas, used, discounts is None)


def ngram_log_probs(tables: Tables, ngrams: Num[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return log p(last symbol | the others) of n-grams of the highest order, given by number."""
    V = tables.vocab_size
    probs = np.full(len(ngrams), 1 / V)
    for order, level in enumerate(tables.levels, 1):
        if not len(level.contexts):  # no line is that long
            break
        keys = Numbering(V, len(tables.levels)).suffix(ngrams, order)
        context, seen = find(level.contexts, Numbering(V, order).context(keys))
        ngram, occurs = find(level.ngrams, keys)
        mixed = np.where(occurs, level.shares[ngram], 0) + level.gammas[context] * probs
        probs = np.where(seen, mixed, probs)
    return np.log(probs)


@built_once
def kneser_ney(vocab_size: int, order: int = KneserNeyConfig.order) -> Model:
    """Return the Kneser-Ney model: see backoff.py for its parameters.

    ``init`` knows the empty context only; ``fit_kneser_ney`` returns parameters with all others.
    """
    if vocab_size < 1 or order < 2:
        raise InputError(f"Kneser-Ney has orders from 2, not {order}, and a symbol or more")
    return backoff(vocab_size, order - 1)


def fit_kneser_ney(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = KneserNeyConfig.order
) -> Params:
    """Return the parameters of ``kneser_ney`` fitted in closed form.

    ``data`` are lines with their ``vocab``, or a corpus.
    """
    return from_tables(estimate(count_corpus(as_corpus(data, vocab), order)))


def from_tables(tables: Tables) -> Params:
    """Return the parameters of ``kneser_ney``: a state for each context of every order."""
    levels = _states(tables)
    num_states = sum(len(level.gammas) for level in levels)
    make = dense_params if num_states * tables.vocab_size <= MAX_CELLS else sparse_params
    return jax.tree.map(jnp.asarray, make(tables.vocab_size, levels))


def _states(tables: Tables) -> list[States]:
    """Return the contexts of each order as states of an automaton."""
    levels, first_state = tables.levels, 0
    parents, following = np.zeros(1, np.int64), np.zeros(len(levels[0].ngrams), np.int64)
    result = []
    for order, level in enumerate(levels, 1):
        numbering = Numbering(tables.vocab_size, order)
        if order > 1:
            lower, contexts = levels[order - 2], Numbering(tables.vocab_size, order - 1)
            # Without its oldest symbol a context is one of the order below, its parent.
            parents = np.searchsorted(lower.contexts, contexts.suffix(level.contexts, order - 2))
            suffixes = numbering.suffix(level.ngrams, order - 1)
            following = following[np.searchsorted(lower.ngrams, suffixes)]
        first_state += len(level.contexts)
        if order < len(levels):
            context, occurs = find(levels[order].contexts, level.ngrams)
            following = np.where(occurs, context + first_state, following)
        rows = np.searchsorted(level.contexts, numbering.context(level.ngrams))
        symbols = numbering.symbol(level.ngrams, 0)
        result.append(States(level.gammas, parents, rows, symbols, level.shares, following))
    return result


def from_config(config: KneserNeyConfig, vocab_size: int) -> Model:
    """Return the Kneser-Ney model that a KneserNeyConfig describes."""
    return kneser_ney(vocab_size, config.order)
