"""The table of contexts: its bins by a counter, and that it holds what occurs alone."""

import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.vocab import Vocab, build_vocab
from mm_jax.models.context_frequency import (
    bins_after,
    empty_table,
    frequency_table,
    unusable_table,
)

LINES = ["ab", "abc", "b", "cabbbbbbbbbbbb", "ab", ""]
VOCAB = build_vocab(LINES)
V = len(VOCAB)
ALL_PAIRS = np.array([*itertools.product(range(V), repeat=2)], np.int32)


def contexts_of(ids):
    """The two tokens before each prediction; 0 for those of another item."""
    pairs = zip([0, *ids], ids[:-1], strict=False)
    return [(0, 0) if last == 0 else (before, last) for before, last in pairs]


def bins_by_hand(ids, weights=None):
    contexts = contexts_of(ids)
    counts = Counter()
    for context, weight in zip(contexts, weights or [1] * len(contexts), strict=True):
        counts[context] += weight
    total = counts.total()
    return {
        (before, last): math.ceil(-math.log((1 + counts[0 if last == 0 else before, last]) / total))
        for before, last in ALL_PAIRS.tolist()
    }


def found_bins(table, size):
    table = jax.device_put(table)
    found = bins_after(table, *jnp.asarray(ALL_PAIRS.T), size - 1)
    return dict(zip(map(tuple, ALL_PAIRS.tolist()), found.tolist(), strict=True))


def test_each_pair_has_the_bin_of_its_count():
    corpus = encode_corpus(LINES, VOCAB)
    table, size = frequency_table(corpus)
    expected = bins_by_hand(corpus.ids.tolist())
    assert found_bins(table, size) == expected
    assert len({*expected.values()}) > 2
    assert size == 1 + math.ceil(math.log(corpus.num_predictions))
    assert unusable_table(table, V, size) is None


def test_of_a_document_each_pair_has_the_bin_of_its_count():
    ids = encode_corpus(["abcabcaabb"], VOCAB).ids[:-1]
    table, size = frequency_table(Corpus(ids, VOCAB, is_document=True))
    assert found_bins(table, size) == bins_by_hand(ids.tolist())


def test_items_count_as_often_as_their_weights_say():
    weights = [3, 1, 0, 2, 1, 5]
    corpus = encode_corpus(LINES, VOCAB, np.array(weights, np.float32))
    table, size = frequency_table(corpus)
    each = [w for w, line in zip(weights, LINES, strict=True) for _ in range(len(line) + 1)]
    assert found_bins(table, size) == bins_by_hand(corpus.ids.tolist(), each)
    halves = encode_corpus(LINES, VOCAB, np.full(6, 0.5, np.float32))
    with pytest.raises(InputError, match="whole numbers"):
        frequency_table(halves)


def test_in_an_empty_table_nothing_ever_came():
    assert {*found_bins(empty_table(V), 7).values()} == {6}
    assert unusable_table(empty_table(V), V, 1) is None


def test_of_many_words_it_holds_what_occurs_alone():
    vocab = Vocab(("\n", *(f"w{i}" for i in range(50_000))), "word")
    ids = np.append(0, np.random.default_rng(0).integers(1, 50_000, 10_000))
    table, size = frequency_table(Corpus(ids.astype(vocab.dtype), vocab, is_document=True))
    assert len(table["symbols"]) == len(table["bins"]) <= 10_000
    pairs = jnp.array([[ids[5], ids[6]], [49_999, 50_000]], jnp.int32)
    found = bins_after(jax.device_put(table), pairs[:, 0], pairs[:, 1], size - 1).tolist()
    assert found[0] < found[1] == size - 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bins": np.array([9], np.int32)}, "bins has a number out of its range"),
        ({"bins": np.zeros(2, np.int32)}, r"bins is int32\[2\], should be int32\[1\]"),
        ({"symbols": np.array([V], np.int32)}, "symbols has a number out of its range"),
        ({"symbols": np.zeros(1, np.int64)}, r"symbols is int64\[1\], should be int32\[1\]"),
        ({"first": np.zeros(V, np.int32)}, r"first is int32\[4\], should be int32\[5\]"),
        ({"other": np.zeros(1, np.int32)}, "other is unknown"),
        (dict.fromkeys(("symbols", "bins"), np.zeros(0, np.int32)), "symbols is empty"),
    ],
)
def test_arrays_that_are_no_table_are_told(change, problem):
    message = unusable_table(empty_table(V) | change, V, 9)
    assert message is not None
    assert np.char.find(message, problem.replace("\\", "")) == 0
