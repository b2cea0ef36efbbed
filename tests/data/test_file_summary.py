"""What counting knows of a file: the split of each item, as split_lines has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import encode_corpus, item_hashes
from mm_jax.data.encoding import read_corpus
from mm_jax.data.file_summary import hashes_of, hold_out_of_train, summarize_splits
from mm_jax.data.splits import (
    DEV,
    DROPPED,
    TEST,
    TRAIN,
    hold_out,
    overlap,
    split,
    split_lines,
)
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import build_vocab

some_lines = st.lists(st.text("abc", min_size=1, max_size=3), min_size=6, max_size=40)


def summarize(text, size=7, **choices):
    stream = Stream(DataConfig("a file", **choices), size, kept=text.encode())
    return summarize_splits(stream), stream


@given(
    some_lines,
    st.sampled_from(["line", "paragraph"]),
    st.sampled_from(["lecture", "unique"]),
    st.integers(0, 99),
)
def test_each_item_has_its_split(lines, items, scheme, seed):
    lines = [*lines, *"abc", "aa", "bb", "cc"]
    text = ("\n\n" if items == "paragraph" else "\n").join(lines)
    summary, stream = summarize(text, items=items, split=scheme, split_seed=seed)
    first = [lines.index(line) for line in dict.fromkeys(lines)]
    numbers = [str(i) for i in (first if scheme == "unique" else range(len(lines)))]
    expected = [DROPPED] * len(lines)
    for each, some in zip((TRAIN, DEV, TEST), split_lines(numbers, scheme, seed), strict=True):
        for number in some:
            expected[int(number)] = each
    assert summary.split_of.tolist() == expected
    assert summary.split_lines == [expected.count(split) for split in (TRAIN, DEV, TEST)]
    assert summary.info.num_items == len(lines)
    summary.note_overlap(hashes_of(stream, summary.info))
    splits = split_lines(lines, scheme, seed)
    assert summary.dev_lines_in_train == pytest.approx(overlap(splits.dev, splits.train))


@given(some_lines, st.sampled_from([1, 5, 2**18]))
def test_the_hashes_of_a_file_are_those_of_its_corpus(lines, size):
    summary, stream = summarize("\n".join(lines), size, split="none")
    assert hashes_of(stream, summary.info).tolist() == (
        item_hashes(encode_corpus(lines, build_vocab(lines))).tolist()
    )


@given(some_lines, st.sampled_from(["lecture", "unique", "none"]), st.integers(0, 99))
def test_the_tenth_of_train_that_is_held_out_is_that_of_the_corpus(lines, scheme, seed):
    lines = [*lines, *(f"{a}{b}cc" for a in "abc" for b in ("a", "b", "c", "aa", "bb"))]
    summary, stream = summarize("\n".join(lines), split=scheme, split_seed=seed)
    train = split(encode_corpus(lines, build_vocab(lines)), scheme, seed).train
    rest, held_out = hold_out(train)
    found = hold_out_of_train(stream, summary).split_of
    for number, expected in ((TRAIN, rest), (DEV, held_out)):
        items = [line for line, each in zip(lines, found.tolist(), strict=True) if each == number]
        assert sorted(items) == sorted(expected.items())
    assert TEST not in found


def test_the_last_tenth_of_the_training_part_of_a_document_is_held_out():
    summary, stream = summarize("abcdefghij" * 10, items="document")
    assert summary.ends == (80, 90)
    assert hold_out_of_train(stream, summary).ends == (72, 80)
    assert summary.ends == (80, 90)
    few, stream = summarize("abcdefghij", items="document")
    with pytest.raises(InputError, match="8 tokens are too few to hold a tenth of them out"):
        hold_out_of_train(stream, few)


def test_without_a_split_all_is_for_training():
    summary, _ = summarize("a\n\nb\n", split="none")
    assert summary.split_of is None
    assert summary.split_lines == [2, 0, 0]
    summary.note_overlap(item_hashes(encode_corpus(["a", "a"], build_vocab(["a"]))))
    assert summary.dev_lines_in_train == 0.0


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
def test_the_tokens_of_a_document_are_split_in_their_order(unit, tmp_path):
    text = "It was the best of times,\nit was the worst of times.\n"
    (tmp_path / "text.txt").write_text(text)
    num = read_corpus(tmp_path / "text.txt", items="document", unit=unit).num_predictions
    summary, _ = summarize(text, items="document", unit=unit)
    n1, n2 = int(0.8 * num), int(0.9 * num)
    assert summary.ends == (n1, n2)
    assert summary.split_tokens == [n1, n2 - n1, num - n2]
    assert summary.split_lines == [1, 1, 1]
    whole, _ = summarize(text, items="document", unit=unit, split="none")
    assert whole.split_tokens == [num, 0, 0]
    assert whole.split_lines == [1, 0, 0]
    assert not whole.has_dev


@pytest.mark.parametrize(
    ("text", "choices", "said"),
    [
        ("a\nb\n", {}, "a file: 2 lines are too few"),
        ("a\nb\n" * 9, {"split": "unique"}, "a file: 2 lines are too few"),
        ("abc", {"items": "document"}, "a file: 3 tokens are too few"),
    ],
    ids=["lines", "different lines", "tokens"],
)
def test_too_little_to_split_is_refused_by_the_name_of_the_file(text, choices, said):
    with pytest.raises(InputError, match=said):
        summarize(text, **choices)
