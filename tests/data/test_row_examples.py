"""Rows, crops and strides of a flat array, against loops over lists in Python."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.examples import examples_of, packed_rows
from mm_jax.data.row_examples import Crops, Rows, Strides
from tests.data.test_examples import (
    VOCAB,
    as_lists,
    document,
    slow_rows,
    some_lines,
    take_on_host,
)


@given(some_lines, st.data())
def test_rows_are_whole_items_padded_on_the_right(lines, data):
    examples = examples_of(encode_corpus(lines, VOCAB), None)
    length = max(map(len, lines))
    expected = slow_rows(lines, length)
    assert isinstance(examples, Rows)
    assert (examples.num_examples, examples.length) == (len(lines), length + 1)
    order = data.draw(st.permutations(range(len(lines))))
    batch = take_on_host(examples, order)
    found = zip(batch.tokens.tolist(), batch.targets.tolist(), batch.weights.tolist(), strict=True)
    assert list(found) == [expected[i] for i in order]


@given(some_lines, st.integers(0, 20), st.booleans())
def test_packed_rows_have_each_prediction_of_each_item_once(lines, spare, weighted):
    weights = [0.5 + i for i in range(len(lines))] if weighted else None
    row_length = max(map(len, lines)) + 1 + spare
    examples = packed_rows(encode_corpus(lines, VOCAB, weights), row_length)
    batch = take_on_host(examples, range(examples.num_examples))
    assert batch.tokens.shape == (examples.num_examples, row_length)
    found, expected = [], []
    leaves = (leaf.tolist() for leaf in (batch.tokens, batch.targets, batch.weights))
    for row in zip(*leaves, strict=True):
        found += [each for each in zip(*row, strict=True) if each[2]]
    for i, (tokens, targets, counts) in enumerate(slow_rows(lines, max(map(len, lines)))):
        for token, target, count in zip(tokens, targets, counts, strict=True):
            if count:
                expected.append((token, target, weights[i] if weighted else 1.0))
    assert found == expected


def test_an_item_that_is_longer_than_a_row_is_refused():
    corpus = encode_corpus(["ab", "abcabc", "abcab"], VOCAB)
    words = "2 of 3 items have more than 4 symbols, .* the longest needs --row-length 7"
    with pytest.raises(InputError, match=words):
        packed_rows(corpus, 5)
    assert packed_rows(corpus, 7).num_examples == 3


@given(st.integers(1, 30), st.integers(1, 12))
def test_crops_are_all_pieces_of_a_document(num, block):
    corpus = document(num, block)
    ids, block = corpus.ids.tolist(), min(block, num)
    examples = examples_of(corpus, None)
    assert isinstance(examples, Crops)
    assert examples.num_examples == num + 1 - block
    batch = take_on_host(examples, range(examples.num_examples))
    expected = [(ids[i : i + block], ids[i + 1 : i + 1 + block]) for i in range(num + 1 - block)]
    assert as_lists(batch) == expected
    assert batch.weights.tolist() == [[1.0] * block] * len(expected)


@given(st.integers(1, 60), st.integers(1, 13))
def test_strides_predict_each_token_once_after_half_a_block(num, block):
    corpus = document(num, block)
    # What a crop shows is where it begins: in this array each id is its place.
    examples = Crops(np.arange(num + 1), min(block, num)).exact
    assert isinstance(examples, Strides)
    batch = take_on_host(examples, range(examples.num_examples))
    strides = examples_of(corpus, None).exact
    assert strides.num_examples == examples.num_examples
    assert (strides.block, strides.example_size) == (min(block, num), min(block, num) + 1)
    predicted = []
    for tokens, targets, weights in zip(*map(np.asarray, jax.tree.leaves(batch)), strict=True):
        assert tokens.tolist() == [*range(tokens[0], tokens[0] + min(block, num))]
        assert targets.tolist() == (tokens + 1).tolist()
        for place, (target, weight) in enumerate(zip(targets, weights, strict=True)):
            assert weight in (0.0, 1.0)
            if weight:
                predicted.append(int(target))
                # So many tokens came before it in the crop: half a block, or all there are.
                assert place + 1 >= min(min(block, num) / 2, target)
    assert predicted == [*range(1, num + 1)]
