"""How often the next item repeats one of train, by Good and Turing, and a model that heeds it.

Of n items of train, those that are there r + 1 times make the share (r + 1) N(r + 1) / n: so large
a share of new items was there r times, N(r) being the number of different items that are there r
times (Good 1953); r = 0 is the share of what was never there. It is what leaving out one item of
train at a time finds. A model that knows train well gives its items more than that.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int64

from mm_jax.config.base import InputError
from mm_jax.data.corpus import Corpus
from mm_jax.data.prefix_tree import PrefixTree, prefix_tree
from mm_jax.models.base import Model, Params
from mm_jax.models.good_turing import tree_params
from mm_jax.training.surprise import surprise

MAX_REPEATS = 6  # items that are there so often or oftener are of one kind (Katz 1987: above 5)
LEAST_UNSEEN = 1e-6  # share that a model is taken to leave to new items, if it leaves less


class GoodTuringFit(NamedTuple):
    """What fitting a model to the repeats of train gives."""

    params: Params  # of good_turing(model)
    expected: Float64[np.ndarray, " kinds"]  # share of new items that are in train 0, 1, ... times
    given: Float64[np.ndarray, " kinds"]  # the share that the model itself gives to them


def fit_good_turing(model: Model, params: Params, corpus: Corpus) -> GoodTuringFit:
    """Return the parameters of ``good_turing(model)``, from those of the model and its train items.

    Raises InputError for a document, which is one item, and for fewer than two items.
    """
    check_repeats(corpus)
    tree = prefix_tree(corpus)
    nats = surprise(model, params, corpus).astype(np.float64)
    ends = np.flatnonzero(tree.items)
    kinds = np.minimum(tree.items[ends], MAX_REPEATS)
    item = np.searchsorted(corpus.offsets, tree.places[ends], side="right") - 1
    probs = np.exp(-np.add.reduceat(nats, corpus.offsets[:-1])[item])
    given = np.bincount(kinds, weights=probs, minlength=2)
    given[0] = max(LEAST_UNSEEN, 1 - given.sum())
    expected = expected_shares(tree.items[ends], len(given))
    factors = np.divide(expected, given, out=np.ones_like(given), where=given > 0)
    means = _mean_factors(tree, np.exp(-nats), factors)
    fitted = jax.tree.map(jnp.asarray, tree_params(tree.symbols, tree.first, np.log(means)))
    return GoodTuringFit({"model": params, "tree": fitted}, expected, given)


def check_repeats(corpus: Corpus) -> None:
    """Raise InputError for items of which it cannot be said how often they repeat."""
    if corpus.is_document:
        raise InputError("--good-turing is for many items, and a document is one")
    if corpus.num_items < 2:
        raise InputError(f"--good-turing needs two training items or more, not {corpus.num_items}")


def expected_shares(
    repeats: Int64[np.ndarray, " different"], num_kinds: int
) -> Float64[np.ndarray, " kinds"]:
    """Return which share of new items will have been in train 0, 1, ... times.

    ``repeats`` is how often each different item is there. Half an item is added to each kind that
    occurs (Jeffreys), so that none is impossible.
    """
    before = np.minimum(repeats - 1, num_kinds - 1)  # how often the others are there
    shares = np.bincount(before, weights=repeats, minlength=num_kinds)
    occurs = np.bincount(np.minimum(repeats, num_kinds - 1), minlength=num_kinds) > 0
    occurs[0] = True
    shares = np.where(occurs, shares + 0.5, 0)
    return shares / shares.sum()


def _mean_factors(
    tree: PrefixTree, probs: Float64[np.ndarray, " predictions"], factors: Any
) -> Float64[np.ndarray, " nodes"]:
    """Return W of each node: the mean factor of all items that begin with it, and of new ones."""
    above = np.zeros(len(tree.symbols) + 1)  # W less the factor of new items
    is_end, own = tree.items > 0, probs[tree.places]
    above[1:][is_end] = factors[np.minimum(tree.items[is_end], MAX_REPEATS)] - factors[0]
    for first, end in zip(tree.levels[-2::-1], tree.levels[:0:-1], strict=True):
        low = tree.parents[first]
        weights = own[first:end] * above[first + 1 : end + 1]
        sums = np.bincount(tree.parents[first:end] - low, weights)
        above[low : low + len(sums)] += sums
    means = np.clip(factors[0] + above, factors.min(), factors.max())
    return np.append(means, factors[0])
