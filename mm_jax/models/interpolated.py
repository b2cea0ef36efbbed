"""The interpolated n-gram of Jelinek and Mercer (1980), as Bengio et al. (2003) compare with.

p_m(s | c) = (1 - lambda) count(c, s) / count(c) + lambda p_(m-1)(s | c without its oldest symbol),
from the longest context that came down to the uniform distribution. The lambda of an order depends
on the frequency bin of its own context (Chen and Goodman 1999, section 2.3); Bengio et al. (2003),
section 3.1, give the weights of all orders by the bin of the longest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

from mm_jax.config.base import InputError
from mm_jax.config.models import InterpolatedConfig
from mm_jax.data.corpus import Corpus, as_corpus
from mm_jax.data.frequency_bins import frequency_bins
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngram_numbers import Numbering, find
from mm_jax.data.ngrams import Counts
from mm_jax.data.splits import hold_out
from mm_jax.data.vocab import Vocab
from mm_jax.models.backoff import backoff
from mm_jax.models.backoff_tables import Level, Tables, from_tables, group, within_an_item
from mm_jax.models.base import Model, Params, built_once

EM_STEPS = 5  # as in the paper
NUM_BINS = 64  # enough for any count of 64 bits
FIRST_WEIGHT = 0.5  # before the first step, and where nothing that is held out tells of an order

Weights = Float64[np.ndarray, "orders bins"]  # the lambdas


class Likely(NamedTuple):
    """The maximum-likelihood estimates of one order, of what occurs."""

    ngrams: Num[np.ndarray, " ngrams"]  # sorted by their numbers
    shares: Float64[np.ndarray, " ngrams"]  # count(c, s) / count(c)
    contexts: Num[np.ndarray, " contexts"]
    bins: Int64[np.ndarray, " contexts"]
    places: Int64[np.ndarray, " ngrams"]  # the place of the context of each n-gram


class Asked(NamedTuple):
    """What one order says of n predictions that were held out."""

    shares: Float64[np.ndarray, " n"]  # 0 where the n-gram never came
    bins: Int64[np.ndarray, " n"]
    seen: Bool[np.ndarray, " n"]  # whether the context came at all


def fit_weights(rest: Counts, held_out: Counts) -> Weights:
    """Return the lambda of each order from 1 and each bin, fitted by expectation maximisation.

    ``rest`` are counts of the highest order of most of train, ``held_out`` those of the part of it
    that was held out. A bin of which that tells nothing has the lambda of the nearest that has one.
    """
    asked = [*_ask(rest, held_out)]
    counts, size = held_out.counts.astype(np.float64), NUM_BINS
    weights = np.full((len(asked), size), FIRST_WEIGHT)
    for _ in range(EM_STEPS):
        probs = [np.full(len(counts), 1 / rest.vocab_size)]
        for order, lam in zip(asked, weights, strict=True):
            passed = np.where(order.seen, lam[order.bins], 1)
            probs.append((1 - passed) * order.shares + passed * probs[-1])
        reached = counts  # how many of these predictions come from an order or one below
        for level in range(len(asked) - 1, -1, -1):
            order, lam = asked[level], weights[level]
            passed = np.where(order.seen, lam[order.bins] * probs[level] / probs[level + 1], 1)
            inside = np.bincount(order.bins, reached * order.seen, size)
            below = np.bincount(order.bins, reached * order.seen * passed, size)
            weights[level] = np.divide(below, inside, out=lam, where=inside > 0)
            reached = reached * passed
    for order, lam in zip(asked, weights, strict=True):
        known = np.unique(order.bins[order.seen])
        if len(known):
            lam[:] = lam[_nearest(known, size)]
    return weights


def _nearest(known: Int64[np.ndarray, " known"], size: int) -> Int64[np.ndarray, " size"]:
    """Return for each number below ``size`` the nearest of some that are sorted."""
    return known[np.abs(np.arange(size)[:, None] - known).argmin(1)]


def _ask(rest: Counts, held_out: Counts) -> list[Asked]:
    """Return what each order, from 1 up, says of the n-grams that were held out."""
    found, V = [], rest.vocab_size
    for order, likely in enumerate(_likely(rest), 1):
        keys = held_out.numbering.suffix(held_out.keys, order)
        ngram, occurs = find(likely.ngrams, keys)
        context, seen = find(likely.contexts, Numbering(V, order).context(keys))
        if not len(likely.contexts):  # no item is that long
            found.append(Asked(np.zeros(len(keys)), np.zeros_like(ngram), seen))
            continue
        shares = np.where(occurs, likely.shares[ngram], 0)
        found.append(Asked(shares, np.where(seen, likely.bins[context], 0), seen))
    return found


def _likely(counts: Counts) -> list[Likely]:
    """Return the maximum-likelihood estimates of each order from 1 up."""
    found = []
    for order in range(1, counts.order + 1):
        occurred = counts.lower(order)
        within = within_an_item(occurred)
        ngrams, times = occurred.keys[within], occurred.counts[within]
        contexts, totals, places = group(ngrams, times, occurred.numbering)
        bins = frequency_bins(totals, counts.total)
        found.append(Likely(ngrams, times / totals[places], contexts, bins, places))
    return found


def estimate(counts: Counts, weights: Weights) -> Tables:
    """Return the tables of the model from counts of the highest order and the lambdas."""
    if not len(counts.keys):
        raise InputError("there are no n-grams to interpolate")
    levels = []
    for likely, lam in zip(_likely(counts), weights, strict=True):
        gammas = lam[likely.bins]
        shares = (1 - gammas[likely.places]) * likely.shares
        levels.append(Level(likely.ngrams, shares, likely.contexts, gammas))
    return Tables(counts.vocab_size, levels)


@built_once
def interpolated(vocab_size: int, order: int = InterpolatedConfig.order) -> Model:
    """Return the interpolated n-gram model: see backoff.py for its parameters.

    ``init`` knows the empty context only; ``fit_interpolated`` returns parameters with all others.
    """
    return backoff(vocab_size, order)


def fit_interpolated(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = InterpolatedConfig.order
) -> Params:
    """Return the parameters of ``interpolated``: weights fitted on a tenth of the data, then used.

    The tenth is every tenth item, or the last tenth of a document; with the weights go the counts
    of all. ``data`` are lines with their ``vocab``, or a corpus. Raises InputError where there are
    fewer than ten items, or tokens of a document.
    """
    corpus = as_corpus(data, vocab)
    rest, held_out = (count_corpus(part, order) for part in hold_out(corpus))
    return from_tables(estimate(count_corpus(corpus, order), fit_weights(rest, held_out)))


def from_config(config: InterpolatedConfig, vocab_size: int) -> Model:
    """Return the interpolated n-gram model that an InterpolatedConfig describes."""
    return interpolated(vocab_size, config.order)
