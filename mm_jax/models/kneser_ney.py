"""Interpolated Kneser-Ney over symbols, three discounts per order: the best of the count models.

p(s | c) = (a(c, s) - D(a(c, s))) / a(c) + gamma(c) p(s | c without its oldest symbol), down to the
uniform distribution; a is the count at the highest order and at the start of a line, elsewhere the
number of different symbols before. Kneser and Ney (1995); Chen and Goodman (1999), section 3.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, Int64

from mm_jax.config.base import InputError
from mm_jax.config.models import KneserNeyConfig
from mm_jax.data.corpus import Corpus, as_corpus
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngrams import Counts, find, sum_by
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params, windowed
from mm_jax.runtime.hardware import memory_bytes

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for an order with too few n-grams to estimate its own
ORDERS = range(2, 7)


class Level(NamedTuple):
    """One order m of the model: the n-grams and contexts that occur, sorted by their keys."""

    ngrams: Int64[np.ndarray, " ngrams"]  # of m symbols
    shares: Float64[np.ndarray, " ngrams"]  # (a - D(a)) / a(context)
    contexts: Int64[np.ndarray, " contexts"]  # of m - 1 symbols
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


def estimate(counts: Counts) -> Tables:
    """Return the tables estimated from counts of the highest order."""
    if not len(counts.keys):
        raise InputError("there are no n-grams to estimate Kneser-Ney from")
    V, levels, above = counts.vocab_size, [], None
    for order in range(counts.order, 0, -1):
        occurred = counts.lower(order)
        within = _within_a_line(occurred.keys, order, V)
        ngrams, adjusted = occurred.keys[within], occurred.counts[within]
        if above is not None:
            suffixes, num_before = sum_by(above % V**order, np.ones_like(above))
            begins = ngrams // V ** (order - 1) == 0 if order > 1 else np.zeros(len(ngrams), bool)
            index, is_suffix = find(suffixes, ngrams)
            inner = is_suffix & ~begins
            adjusted[inner] = num_before[index[inner]]
        levels.append(_level(ngrams, adjusted, V))
        above = ngrams
    return Tables(V, levels[::-1])


def _within_a_line(
    keys: Int64[np.ndarray, " n"], order: int, vocab_size: int
) -> Bool[np.ndarray, " n"]:
    """Return which n-grams have boundaries only as their first symbol or as the predicted one."""
    within = np.ones(len(keys), bool)
    for place in range(1, order - 1):
        within &= keys // vocab_size**place % vocab_size != 0
    return within


def _level(
    ngrams: Int64[np.ndarray, " n"], adjusted: Int64[np.ndarray, " n"], vocab_size: int
) -> Level:
    discounts = estimate_discounts(adjusted)
    used = discounts or FALLBACK_DISCOUNTS
    discounted = np.array([0, *used])[np.minimum(adjusted, 3)]
    contexts, totals = sum_by(ngrams // vocab_size, adjusted)
    place = np.searchsorted(contexts, ngrams // vocab_size)
    gammas = np.bincount(place, weights=discounted, minlength=len(contexts)) / totals
    shares = (adjusted - discounted) / totals[place]
    return Level(ngrams, shares, contexts, gammas, used, discounts is None)


def ngram_log_probs(tables: Tables, ngrams: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return log p(last symbol | the others) of n-grams of the highest order, given by key."""
    probs = np.full(len(ngrams), 1 / tables.vocab_size)
    for order, level in enumerate(tables.levels, 1):
        if not len(level.contexts):  # no line is that long
            break
        keys = ngrams % tables.vocab_size**order
        context, seen = find(level.contexts, keys // tables.vocab_size)
        ngram, occurs = find(level.ngrams, keys)
        mixed = np.where(occurs, level.shares[ngram], 0) + level.gammas[context] * probs
        probs = np.where(seen, mixed, probs)
    return np.log(probs)


@cache
def kneser_ney(vocab_size: int, order: int = KneserNeyConfig.order) -> Model:
    """Return the Kneser-Ney model as an automaton whose S states are the contexts that occur.

    Parameters: ``logits`` (S, V), log p of each symbol in each state, and ``next`` (S, V), the
    state that each symbol leads to: the longest suffix of the symbols read that is a known context.
    State 0 is the empty context, the only one of ``init``; ``fit_kneser_ney`` returns all others.
    """
    if vocab_size < 1 or order not in ORDERS:
        raise InputError(f"Kneser-Ney has orders {ORDERS[0]} to {ORDERS[-1]}, not {order}")

    def init(key: Array) -> Params:
        del key
        shape = (1, vocab_size)
        return {"logits": jnp.zeros(shape), "next": jnp.zeros(shape, jnp.int32)}

    def predict(params: Params, windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        state = jnp.zeros(windows.shape[:-1], jnp.int32)
        for place in range(order - 1):
            state = params["next"][state, windows[..., place]]
        return params["logits"][state]

    return windowed(init, predict, order - 1)


def fit_kneser_ney(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = KneserNeyConfig.order
) -> Params:
    """Return the parameters of ``kneser_ney`` fitted in closed form.

    ``data`` are lines with their ``vocab``, or a corpus.
    """
    return from_tables(estimate(count_corpus(as_corpus(data, vocab), order)))


def from_tables(tables: Tables) -> Params:
    """Return the parameters of ``kneser_ney``: a state for each context of every order."""
    V, levels = tables.vocab_size, tables.levels
    sizes = [len(level.contexts) for level in levels]
    needed_bytes, available_bytes = 32 * V * sum(sizes), memory_bytes()
    if needed_bytes > available_bytes:
        raise InputError(
            f"Kneser-Ney of order {len(levels)} has {sum(sizes):,} contexts of {V:,} symbols, "
            f"which take {needed_bytes / 1e9:,.0f} GB of the {available_bytes / 1e9:,.0f} GB "
            "available; a lower order takes less"
        )
    probs = np.full((1, V), 1 / V)  # of the order below, then of each context of the order
    steps = np.zeros((1, V), np.int32)
    all_probs, all_steps, first_state = [], [], 0
    for order, level in enumerate(levels, 1):
        # Without its oldest symbol a context is one of the order below, its parent.
        shorter = level.contexts % V ** (order - 2) if order > 1 else level.contexts
        parent = np.searchsorted(levels[order - 2].contexts, shorter) if order > 1 else shorter
        probs, steps = level.gammas[:, None] * probs[parent], steps[parent]
        context, symbol = np.divmod(level.ngrams, V)
        probs[np.searchsorted(level.contexts, context), symbol] += level.shares
        if order < len(levels):
            longer = levels[order].contexts
            context, symbol = np.divmod(longer, V)
            steps[np.searchsorted(level.contexts, context), symbol] = (
                np.arange(len(longer)) + first_state + len(level.contexts)
            )
        all_probs.append(np.log(probs).astype(np.float32))
        all_steps.append(steps)
        first_state += len(level.contexts)
    logits, next_states = np.concatenate(all_probs), np.concatenate(all_steps)
    return {"logits": jnp.asarray(logits), "next": jnp.asarray(next_states)}


def from_config(config: KneserNeyConfig, vocab_size: int) -> Model:
    """Return the Kneser-Ney model that a KneserNeyConfig describes."""
    return kneser_ney(vocab_size, config.order)
