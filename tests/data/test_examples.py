"""Windows, and what all kinds of examples share, against loops over lists in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data import corpus as corpus_module
from mm_jax.data import examples as examples_module
from mm_jax.data.batches import Batch, rows, windows
from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.examples import (
    Examples,
    Subset,
    Windows,
    evenly,
    examples_of,
    gather,
    is_on_host,
)
from mm_jax.data.vocab import build_vocab
from tests.helpers import assert_trees_identical

VOCAB = build_vocab(["abc"])
some_lines = st.lists(st.text("abc", max_size=9), min_size=1, max_size=6)


def document(num, block=8):
    ids = np.array([0, *(1 + i * i % 3 for i in range(num))], np.uint8)
    return Corpus(ids, VOCAB, None, is_document=True, block=block)


def slow_windows(items, context):
    """Of each item, and of its end, the symbols before."""
    found = []
    for item in items:
        ids = [*("_abc".index(symbol) for symbol in item), 0]
        for place, target in enumerate(ids):
            before = ids[max(0, place - context) : place]
            found.append(([0] * (context - len(before)) + before, target))
    return found


def slow_rows(items, length):
    """A boundary and the symbols of each item; how often each prediction counts."""
    found = []
    for item in items:
        ids = [*("_abc".index(symbol) for symbol in item)]
        padding = [0] * (length - len(ids))
        weights = [1.0] * (len(ids) + 1) + [0.0] * len(padding)
        found.append(([0, *ids, *padding], [*ids, 0, *padding], weights))
    return found


def on_host(examples):
    """The same examples with their arrays in NumPy."""
    return jax.tree.map(np.asarray, examples)


def take_on_host(examples, numbers):
    """What the host takes, where nothing has to be compiled for each shape."""
    return on_host(examples).take(np.asarray(numbers, np.int64))


def as_lists(batch):
    return list(zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True))


EACH_KIND = {
    "windows": examples_of(encode_corpus(["ab", "", "cabc"], VOCAB), 3),
    "weighted windows": examples_of(encode_corpus(["ab", "cabc"], VOCAB, [2.0, 0.0]), 1),
    "rows": examples_of(encode_corpus(["ab", "", "cabc"], VOCAB), None),
    "weighted rows": examples_of(encode_corpus(["ab", "cabc"], VOCAB, [2.0, 0.0]), None),
    "packed rows": examples_of(encode_corpus(["ab", "", "cabc"], VOCAB), None, 5),
    "weighted packed rows": examples_of(encode_corpus(["ab", "c"], VOCAB, [2.0, 0.0]), None, 7),
    "crops": examples_of(document(21), None),
    "strides": examples_of(document(21), None).exact,
}


@pytest.mark.parametrize("kind", EACH_KIND)
def test_a_device_takes_what_the_host_does(kind):
    examples = EACH_KIND[kind]
    numbers = np.random.default_rng(0).integers(0, examples.num_examples, (3, 4))
    taken = examples.take(jnp.asarray(numbers, jnp.int32))
    assert not is_on_host(examples)
    assert is_on_host(on_host(examples))
    assert_trees_identical(take_on_host(examples, numbers), taken)
    assert taken.targets.shape[:2] == (3, 4)
    assert [leaf.dtype for leaf in jax.tree.leaves(taken)] == [jnp.int32, jnp.int32, jnp.float32]
    for whole in 0, examples.num_examples - 1:  # also one number alone
        one = examples.take(jnp.int32(whole))
        assert_trees_identical(take_on_host(examples, whole), one)


@given(some_lines, st.sampled_from([1, 3, 8]), st.data())
def test_windows_are_what_stands_before_each_prediction(lines, context, data):
    examples = examples_of(encode_corpus(lines, VOCAB), context)
    expected = slow_windows(lines, context)
    num = len(expected)
    assert isinstance(examples, Windows)
    assert (examples.num_examples, examples.example_size) == (num, context + 1)
    assert as_lists(take_on_host(examples, range(num))) == expected
    order = data.draw(st.lists(st.integers(0, num - 1), min_size=6, max_size=6))
    batch = take_on_host(examples, np.reshape(order, (2, 3)))
    assert batch.tokens.shape == (2, 3, context)
    assert batch.targets.reshape(-1).tolist() == [expected[i][1] for i in order]
    assert batch.weights.tolist() == [[1.0] * 3] * 2
    assert examples.exact is examples


@pytest.mark.parametrize("context", [1, 3, None])
def test_a_weight_is_that_of_all_predictions_of_its_item(context):
    lines, weights = ["ab", "", "cab"], [2.0, 0.5, 0.0]
    examples = examples_of(encode_corpus(lines, VOCAB, weights), context)
    batch = take_on_host(examples, range(examples.num_examples))
    if context is None:
        assert batch.weights.tolist() == [[2, 2, 2, 0], [0.5, 0, 0, 0], [0, 0, 0, 0]]
    else:
        assert batch.weights.tolist() == [2, 2, 2, 0.5, 0, 0, 0, 0]


@given(some_lines, st.sampled_from([1, 3, 8]))
def test_all_examples_at_once_are_the_windows_and_rows_of_a_corpus(lines, context):
    corpus = encode_corpus(lines, VOCAB)
    flat, padded = examples_of(corpus, context), examples_of(corpus, None)
    every = take_on_host(flat, range(flat.num_examples))
    assert_trees_identical(every, windows(corpus, None, context))
    assert_trees_identical(take_on_host(padded, range(len(lines))), rows(corpus))


def test_everything_that_is_learned_from_has_examples_by_number():
    corpus, text = encode_corpus(["ab", "c"], VOCAB), document(20)
    batch = windows(corpus)
    some = Subset(batch, jnp.arange(2))
    for each in examples_of(corpus, 2), examples_of(corpus, None), examples_of(text, None), batch:
        assert isinstance(each, Examples)
        assert each.exact.num_examples > 0
    assert isinstance(some, Examples)
    assert not isinstance(corpus, Examples)


@pytest.mark.parametrize("context", [3, None])
def test_without_items_there_are_no_examples(context):
    with pytest.raises(InputError, match="there are no lines to make examples from"):
        examples_of(encode_corpus([], VOCAB), context)


def test_ids_go_to_the_device_once_for_all_contexts():
    corpus = encode_corpus(["ab", "c"], VOCAB, [1.0, 2.0])
    one, two, whole = (examples_of(corpus, context) for context in (1, 2, None))
    assert one.ids is two.ids is whole.ids
    assert one.weights is two.weights
    assert one.ids.dtype == np.uint8
    assert whole.starts.dtype == np.int32


def test_a_corpus_that_32_bits_cannot_number_stays_on_the_host(monkeypatch):
    monkeypatch.setattr(examples_module, "MAX_ON_DEVICE", 5)
    short, long = encode_corpus(["abc"], VOCAB), encode_corpus(["abca"], VOCAB)
    for context in 2, None:
        assert not is_on_host(examples_of(short, context))
        assert is_on_host(examples_of(long, context))


def test_examples_may_be_made_while_a_program_is_traced():
    corpus = encode_corpus(["ab", "c"], VOCAB)

    def total(number):
        return examples_of(corpus, 2).take(number).tokens.sum()

    assert int(jax.jit(total)(jnp.array([1, 2]))) == 1 + 1 + 2
    assert isinstance(examples_of(corpus, 2).ids, jax.Array)
    assert not isinstance(examples_of(corpus, 2).ids, jax.core.Tracer)


# Some of them


@pytest.mark.parametrize("context", [2, None])
def test_gathering_keeps_the_order_and_the_shape_that_are_asked_for(context, monkeypatch):
    released = []
    monkeypatch.setattr(examples_module, "release", released.append)
    lines = ["ab", "cab", "b", "bca"] * 5
    host = on_host(examples_of(encode_corpus(lines, VOCAB), context))
    numbers = np.random.default_rng(0).integers(0, host.num_examples, (3, 4))
    for segment in 1, 7, 2**26:
        monkeypatch.setattr(examples_module, "SEGMENT_BYTES", segment)
        batch = gather(host, numbers)
        assert_trees_identical(batch, host.take(numbers))
        assert batch.targets.shape[:2] == (3, 4)
    assert all(ids is host.ids for ids in released)
    assert len(released) == 12 + -(-host.ids.nbytes // 7) + 1


def test_a_few_examples_are_spread_evenly():
    corpus = encode_corpus(["abc"] * 25, VOCAB)
    every = examples_of(corpus, 3)
    assert evenly(every, 100, 100) is every
    some = evenly(every, 100, 10)
    assert isinstance(some, Subset)
    assert some.numbers.tolist() == [*range(0, 100, 10)]
    assert (some.num_examples, some.example_size) == (10, 4)
    expected = every.take(jnp.arange(0, 100, 10))
    assert_trees_identical(some.take(jnp.arange(10)), expected)
    assert_trees_identical(some.exact.take(jnp.arange(10)), expected)
    host = evenly(on_host(every), 100, 10)
    assert is_on_host(host)
    assert_trees_identical(gather(host, np.arange(10)), expected)


def test_a_few_crops_of_a_document_are_some_that_predict_each_token_once():
    text = document(100, 8)
    some = evenly(examples_of(text, None), 100, 25)
    strides = examples_of(text, None).exact
    assert strides.num_examples == 24
    assert some.numbers.tolist() == [0, 4, 8, 12, 16, 20]
    assert_trees_identical(some.take(jnp.arange(6)), strides.take(jnp.arange(0, 24, 4)))
    assert 20 <= float(some.take(jnp.arange(6)).weights.sum()) <= 30


def test_places_are_found_a_block_at_a_time(monkeypatch):
    monkeypatch.setattr(corpus_module, "BLOCK_IDS", 2)
    corpus = encode_corpus(["ab", "", "cab"], VOCAB)
    expected = slow_rows(["ab", "", "cab"], 3)
    batch = examples_of(corpus, None).take(jnp.arange(3))
    assert isinstance(batch, Batch)
    assert as_lists(batch) == [(tokens, targets) for tokens, targets, _ in expected]
