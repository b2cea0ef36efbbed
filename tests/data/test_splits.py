import dataclasses
import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.dataset import load_dataset
from mm_jax.data.splits import hold_out, overlap, split, split_lines
from mm_jax.data.vocab import build_vocab


def lecture_way(words):
    """The lecture's cells, with the generator that random.seed(42) seeds."""
    words = list(words)
    generator = random.Random()
    generator.seed(42)
    generator.shuffle(words)
    n1 = int(0.8 * len(words))
    n2 = int(0.9 * len(words))
    return words[:n1], words[n1:n2], words[n2:]


@pytest.mark.parametrize("num", [6, 10, 11, 99, 1000])
def test_the_lecture_split_is_the_lectures(num):
    words = [f"w{i % 70}" for i in range(num)]
    before = list(words)
    splits = split_lines(words)
    assert tuple(splits) == lecture_way(words)
    assert words == before
    assert sorted(itertools.chain(*splits)) == sorted(words)


def test_another_seed_gives_another_split_of_the_same_lines():
    words = [f"w{i}" for i in range(100)]
    one, other = split_lines(words, seed=1), split_lines(words, seed=2)
    assert one != other
    assert sorted(itertools.chain(*one)) == sorted(itertools.chain(*other))


def test_the_unique_split_has_every_line_once_and_no_overlap():
    words = [f"w{i % 60}" for i in range(200)]
    splits = split_lines(words, "unique")
    assert sorted(itertools.chain(*splits)) == sorted(set(words))
    assert [len(part) for part in splits] == [48, 6, 6]
    assert overlap(splits.dev, splits.train) == overlap(splits.test, splits.train) == 0


def test_overlap_is_the_share_of_lines_that_stand_in_train():
    assert overlap(["a", "b", "b", "c"], ["b", "b", "d"]) == 0.5


@pytest.mark.parametrize("num", range(1, 6))
def test_too_few_lines_to_split_are_refused(num):
    with pytest.raises(InputError, match=f"^{num} lines are too few"):
        split_lines([f"w{i}" for i in range(num)])


def test_an_unknown_split_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="lecture, unique"):
        split_lines(["a"] * 20, "random")


def test_without_a_split_all_lines_are_for_training_in_their_order():
    words = ["b", "a", "b"]
    splits = split_lines(words, "none")
    assert tuple(splits) == (["b", "a", "b"], [], [])
    assert splits.train is not words


def test_a_file_of_too_few_different_lines_is_refused_by_name(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\nb\nc\n" * 20)
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_dataset(DataConfig(data=str(path), split="unique"))
    splits = load_dataset(DataConfig(data=str(path))).splits
    assert tuple(part.items() for part in splits) == split_lines(["a", "b", "c"] * 20)
    assert len(splits.dev) == 6


# Corpora

VOCAB = build_vocab(["abc"])
some_lines = st.lists(st.text("abc", max_size=3), min_size=1, max_size=40)


def split_or_error(function, *arguments):
    try:
        return function(*arguments)
    except InputError as error:
        return str(error)


@given(some_lines, st.sampled_from(["lecture", "unique", "none"]), st.integers(0, 2**32 - 1))
def test_a_corpus_is_split_as_its_lines_are(lines, scheme, seed):
    weights = [float(i) for i in range(len(lines))]
    expected = split_or_error(split_lines, lines, scheme, seed)
    seen = split_or_error(split, encode_corpus(lines, VOCAB, weights), scheme, seed)
    if isinstance(expected, str):
        assert seen == expected
        return
    assert tuple(part.items() for part in seen) == expected
    # The weights go with their items; of repeated ones the first is kept.
    order = [*dict.fromkeys(lines)] if scheme == "unique" else lines
    first = [lines.index(line) for line in order] if scheme == "unique" else range(len(lines))
    numbers = split_lines([str(i) for i in first], scheme, seed)
    assert tuple(part.weights.tolist() for part in seen) == tuple(
        [float(number) for number in part] for part in numbers
    )
    if seen.dev.num_predictions:
        assert overlap(seen.dev, seen.train) == overlap(expected.dev, expected.train)


@given(some_lines, some_lines)
def test_the_overlap_of_corpora_is_that_of_their_lines(lines, train):
    share = sum(line in train for line in lines) / len(lines)
    one, other = encode_corpus(lines, VOCAB), encode_corpus(train, VOCAB)
    assert overlap(one, other) == pytest.approx(share, abs=1e-15)
    assert overlap(lines, other) == overlap(one, train) == overlap(lines, train) == share
    assert overlap(encode_corpus([], VOCAB), other) == 0.0


def document(num):
    ids = np.array([0, *(1 + i % 3 for i in range(num))], np.uint8)
    return Corpus(ids, VOCAB, None, is_document=True, block=4)


@pytest.mark.parametrize("num", [6, 10, 59, 100])
def test_a_document_is_split_in_its_order(num):
    text = "".join("abc"[i % 3] for i in range(num))
    n1, n2 = int(0.8 * num), int(0.9 * num)
    splits = split(document(num))
    assert tuple(part.items() for part in splits) == ([text[:n1]], [text[n1:n2]], [text[n2:]])
    for part in splits:  # each begins anew, after a boundary
        assert part.ids[0] == 0
        assert (part.ids[1:] != 0).all()
        assert (part.is_document, part.block, len(part)) == (True, 4, 1)
    assert overlap(splits.dev, splits.train) == 0.0


def test_a_document_without_a_split_is_all_for_training():
    splits = split(document(9), "none")
    assert splits.train.items() == ["abcabcabc"]
    assert [part.num_predictions for part in splits] == [9, 0, 0]


def test_a_document_that_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="5 tokens are too few"):
        split(document(5))
    with pytest.raises(InputError, match="a document is one item, and none of it can repeat"):
        split(document(50), "unique")
    for data in document(50), encode_corpus(["a"] * 20, VOCAB):
        with pytest.raises(InputError, match="unknown split 'random'; choose from lecture, unique"):
            split(data, "random")


def test_every_tenth_item_is_held_out_of_a_corpus():
    lines = [f"line {i:02}" for i in range(35)]
    rest, part = hold_out(encode_corpus(lines, build_vocab(lines)))
    assert part.items() == ["line 09", "line 19", "line 29"]
    assert rest.items() == [line for line in lines if line[-1] != "9"]


def test_the_last_tenth_of_a_document_is_held_out():
    text = "abcdefghij" * 10
    corpus = dataclasses.replace(encode_corpus([text], build_vocab([text])), is_document=True)
    rest, part = hold_out(corpus)
    tokens = corpus.ids[1:].tolist()
    assert rest.ids.tolist() == [0, *tokens[:91]]
    assert part.ids.tolist() == [0, *tokens[91:]]


def test_too_few_items_to_hold_a_tenth_of_them_out_are_refused():
    with pytest.raises(InputError, match="9 lines are too few to hold a tenth of them out"):
        hold_out(encode_corpus(["a"] * 9, build_vocab(["a"])))
