from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data import distinct as distinct_module
from mm_jax.data.batches import distinct, rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.distinct import distinct_examples
from mm_jax.data.vocab import build_vocab
from tests.helpers import assert_trees_identical

VOCAB = build_vocab(["abc"])
weighted_lines = st.lists(
    st.tuples(st.text("abc", max_size=5), st.integers(0, 3)), min_size=1, max_size=6
)


def slow_windows(lines, context):
    """Each window and what follows, in Python."""
    padded = ["." * context + line + "." for line in lines]
    return [line[i : i + context + 1] for line in padded for i in range(len(line) - context)]


def spelled(batch):
    columns = np.column_stack([batch.tokens, batch.targets]).tolist()
    return ["".join(VOCAB.symbols[i] for i in row) for row in columns]


@given(weighted_lines, st.sampled_from([1, 3, 8]))
def test_each_window_stands_once_with_the_sum_of_its_weights(pairs, context):
    lines, weights = zip(*pairs, strict=True)
    batch = distinct_examples(encode_corpus(lines, VOCAB, [*map(float, weights)]), context)
    repeated = [line for line, weight in pairs for _ in range(weight)]
    expected = Counter(slow_windows(repeated, context))
    found = dict(zip(spelled(batch), batch.weights.tolist(), strict=True))
    assert len(found) == len(batch.targets)
    assert {window: weight for window, weight in found.items() if weight} == expected


@given(weighted_lines, st.sampled_from([1, 3, 8, None]))
def test_they_are_those_of_all_examples_in_the_same_order(pairs, context):
    corpus = encode_corpus([line for line, _ in pairs], VOCAB)
    every = rows(corpus) if context is None else windows(corpus, context=context)
    assert_trees_identical(distinct_examples(corpus, context), distinct(every))


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_rows_have_their_weights(weight):
    corpus = encode_corpus(["ab", "a", "ab"], VOCAB, [weight, 1.0, 2.0])
    batch = distinct_examples(corpus, None)
    assert batch.tokens.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert batch.weights.tolist() == [[1, 1, 0], [weight + 2] * 3]


def test_weights_need_not_be_whole_numbers():
    corpus = encode_corpus(["a", "a"], VOCAB, [0.5, 0.25])
    batch = distinct_examples(corpus, 1)
    assert spelled(batch) == [".a", "a."]
    assert batch.weights.tolist() == [0.75, 0.75]


def test_windows_that_are_too_long_for_numbers_are_compared_one_by_one(monkeypatch):
    corpus = encode_corpus(["abcab", "abc"], VOCAB)
    expected = distinct_examples(corpus, 3)
    monkeypatch.setattr(distinct_module, "highest_order", lambda _: 3)
    monkeypatch.setattr(distinct_module, "count_corpus", None)
    assert_trees_identical(distinct_examples(corpus, 3), expected)
