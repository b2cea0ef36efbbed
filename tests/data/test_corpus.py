"""A flat array of ids tells of its items what lists and sets of Python strings do."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data import corpus as corpus_module
from mm_jax.data.corpus import Corpus, encode_corpus, found_among, hash_blocks, item_hashes, placed
from mm_jax.data.vocab import SymbolError, Vocab, build_vocab
from mm_jax.data.words import split_words

SYMBOLS = "ab.\n é語😀\ue000"
some_lines = st.lists(st.text(SYMBOLS, max_size=5), max_size=9)
few_lines = st.lists(st.text("ab", max_size=3), max_size=12)
blocks = st.sampled_from([1, 2, 3, 7, 2**20])
AB = build_vocab(["ab"])


@pytest.fixture(params=[1, 3, 2**20])
def _block(request, monkeypatch):
    """Work on few ids at once, and on many."""
    monkeypatch.setattr(corpus_module, "BLOCK_IDS", request.param)


def ids_by_hand(lines, vocab):
    ids = [0]
    for line in lines:
        ids += [*(vocab.symbols.index(symbol, 1) for symbol in vocab.split(line)), 0]
    return ids


@given(some_lines, st.sampled_from(["char", "byte"]))
def test_lines_are_encoded_one_after_another_and_come_back(lines, unit):
    vocab = build_vocab(lines, unit)
    corpus = encode_corpus(lines, vocab)
    assert corpus.ids.tolist() == ids_by_hand(lines, vocab)
    assert corpus.ids.dtype == (np.uint8 if len(vocab) <= 256 else np.uint16)
    assert corpus.items() == lines
    assert corpus.weights is corpus.prediction_weights is None


@given(some_lines)
def test_words_come_back_as_the_same_words(lines):
    corpus = encode_corpus(lines, build_vocab(lines, "word"))
    assert [split_words(item) for item in corpus.items()] == [split_words(line) for line in lines]
    small = encode_corpus([line.upper() for line in lines], build_vocab(lines, "word", lower=True))
    assert np.array_equal(small.ids, corpus.ids)


@given(some_lines, blocks)
def test_lengths_and_places_are_those_of_the_lines(lines, size):
    corpus = encode_corpus(lines, build_vocab(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_IDS", size)
        offsets = corpus.offsets
    assert offsets.tolist() == [i for i, one in enumerate(corpus.ids.tolist()) if one == 0]
    assert len(corpus) == corpus.num_items == len(lines)
    assert corpus.lengths.tolist() == [len(line) for line in lines]
    assert corpus.longest == max(map(len, lines), default=0)
    assert corpus.num_predictions == sum(map(len, lines)) + len(lines)
    assert not corpus.is_mapped


def test_ids_take_one_byte_or_two_or_four():
    for size, dtype in (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.int32):
        symbols = [chr(0x10000 + i) for i in range(size - 1)]
        corpus = encode_corpus(["".join(symbols)], build_vocab(symbols))
        assert corpus.ids.dtype == dtype
        assert corpus.ids.tolist() == [0, *range(1, size), 0]
        assert corpus.items() == ["".join(symbols)]


def test_an_unknown_symbol_is_refused_as_in_lines():
    with pytest.raises(SymbolError, match="'x' at place 2 of 'ax'"):
        encode_corpus(["ab", "ax"], AB)


@given(few_lines, st.data(), blocks)
def test_items_are_taken_in_any_order(lines, data, size):
    weights = [0.5 * i for i in range(len(lines))]
    corpus = encode_corpus(lines, AB, weights)
    numbers = st.integers(0, max(0, len(lines) - 1))
    order = data.draw(st.lists(numbers, max_size=9 if lines else 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_IDS", size)
        taken = corpus.take(np.array(order, np.int64))
        places = corpus.offsets[:-1] + 1, corpus.lengths + 1, np.array(order, np.int64)
        found = list(placed(corpus.ids, *places))
    assert taken.items() == [lines[i] for i in order]
    assert taken.ids.tolist() == ids_by_hand(taken.items(), AB)
    assert taken.ids.dtype == corpus.ids.dtype
    assert taken.weights.tolist() == [weights[i] for i in order]
    assert sum(map(len, found)) == sum(len(lines[i]) + 1 for i in order)
    longest = max((len(lines[i]) + 1 for i in order), default=0)
    assert all(len(block) <= max(size, longest) for block in found)


# Weights


def test_each_prediction_has_the_weight_of_its_item():
    corpus = encode_corpus(["ab", "", "b"], AB, [2.0, 0.5, 0.0])
    assert corpus.weights.dtype == np.float32
    assert corpus.prediction_weights.tolist() == [2, 2, 2, 0.5, 0, 0]


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0], []])
def test_there_is_one_weight_for_each_item(weights):
    with pytest.raises(InputError, match=f"there are {len(weights)} weights for 2 items"):
        encode_corpus(["a", "b"], AB, weights)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_weight_is_a_finite_number_of_at_least_0(bad):
    with pytest.raises(InputError, match="a weight must be a finite number of at least 0"):
        encode_corpus(["a", "b"], AB, [1.0, bad])


# Hashes


@given(few_lines, blocks)
def test_equal_items_and_no_others_have_equal_hashes(lines, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_IDS", size)
        corpus = encode_corpus(lines, AB)
        hashes = item_hashes(corpus)
        lengths = [each for some, _ in hash_blocks(corpus, hashed=False) for each in some]
    assert len(hashes) == len(lines)
    assert lengths == [len(line) for line in lines]
    for line, one in zip(lines, hashes, strict=True):
        assert [one == other for other in hashes] == [line == other for other in lines]
    assert np.array_equal(item_hashes(corpus), hashes)  # whatever is read at once


@pytest.mark.usefixtures("_block")
def test_all_short_items_have_hashes_of_their_own():
    vocab = build_vocab(["abc"])
    lines = ["".join(word) for num in range(8) for word in product("abc", repeat=num)]
    hashes = item_hashes(encode_corpus(lines, vocab))
    assert len(np.unique(hashes)) == len(lines) > 3000
    back = item_hashes(encode_corpus(lines[::-1], vocab))  # in other places of the array
    assert np.array_equal(back[::-1], hashes)


@given(few_lines, few_lines, blocks)
def test_what_is_found_is_what_a_set_has(lines, others, size):
    wanted = np.unique(item_hashes(encode_corpus(lines, AB)))
    by_hash = dict(zip(item_hashes(encode_corpus(lines, AB)).tolist(), lines, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_IDS", size)
        found = found_among(wanted, encode_corpus(others, AB))
    assert found.tolist() == [by_hash[one] in set(others) for one in wanted.tolist()]


@given(st.lists(st.text("abx", max_size=3), max_size=9), few_lines, blocks)
def test_a_corpus_contains_what_a_set_of_its_lines_does(lines, known, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_IDS", size)
        contained = encode_corpus(known, AB).contains(lines)  # of which some have unknown symbols
    assert contained == [line in set(known) for line in lines]


# Documents


def test_a_document_is_one_item_without_an_end():
    text = "ab\na.b"
    vocab = build_vocab([text])
    ids = np.array([0, *(vocab.symbols.index(symbol, 1) for symbol in text)], vocab.dtype)
    corpus = Corpus(ids, vocab, is_document=True)
    assert len(corpus) == 1
    assert (corpus.longest, corpus.num_predictions) == (6, 6)
    assert corpus.lengths.tolist() == [6]
    assert corpus.items() == [text]
    assert corpus.contains([text, "ab"]) == [False, False]


def test_a_boundary_is_shown_by_another_sign_where_the_data_have_it():
    corpus = encode_corpus(["St. Louis", "↵"], build_vocab(["St. Louis", "↵"]))
    assert corpus.vocab.symbols[0] == "␄"
    assert corpus.items() == ["St. Louis", "↵"]
    assert encode_corpus([], Vocab((".",))).items() == []
