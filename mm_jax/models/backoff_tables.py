"""The tables of an interpolated count model, and how they become the automaton of backoff.py.

p(s | c) = share(c, s) + gamma(c) p(s | c without its oldest symbol), down to the uniform
distribution; a context that never came has p(s | c) of the context without its oldest symbol.
Kneser-Ney and the interpolated n-gram differ in the shares and the gammas alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from mm_jax.data.ngram_numbers import Numbering, find
from mm_jax.data.ngrams import Counts
from mm_jax.models.backoff import MAX_CELLS, States, dense_params, sparse_params
from mm_jax.models.base import Params


class Level(NamedTuple):
    """One order m of a model: the n-grams and contexts that occur, sorted by their numbers."""

    ngrams: Num[np.ndarray, " ngrams"]  # of m symbols
    shares: Float64[np.ndarray, " ngrams"]
    contexts: Num[np.ndarray, " contexts"]  # of m - 1 symbols
    gammas: Float64[np.ndarray, " contexts"]  # the share of each context left to the order below


class Tables(NamedTuple):
    """The levels of an interpolated model, from order 1 up."""

    vocab_size: int
    levels: list[Level]


class Grouped(NamedTuple):
    """N-grams of one order, sorted, and what they are grouped by: their contexts."""

    contexts: Num[np.ndarray, " contexts"]  # sorted
    totals: Int64[np.ndarray, " contexts"]  # the sum of the counts of each
    places: Int64[np.ndarray, " ngrams"]  # the place of the context of each n-gram


def group(
    ngrams: Num[np.ndarray, " n"], counts: Int64[np.ndarray, " n"], numbering: Numbering
) -> Grouped:
    """Return the contexts of sorted n-grams; sorted as well, since the newest symbol is last."""
    keys = numbering.context(ngrams)
    is_first = np.ones(len(keys), bool)
    is_first[1:] = keys[1:] != keys[:-1]
    firsts = np.flatnonzero(is_first)
    totals = np.add.reduceat(counts, firsts) if len(firsts) else counts
    return Grouped(keys[firsts], totals, np.cumsum(is_first) - 1)


def within_an_item(counts: Counts) -> Bool[np.ndarray, " n"]:
    """Return which n-grams have boundaries only as their first symbol or as the predicted one."""
    within = np.ones(len(counts.keys), bool)
    for age in range(1, counts.order - 1):
        within &= counts.numbering.symbol(counts.keys, age) != 0
    return within


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


def from_tables(tables: Tables) -> Params:
    """Return the parameters of the automaton: a state for each context of every order."""
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
