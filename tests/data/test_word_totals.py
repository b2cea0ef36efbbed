"""What each split has of words and characters, against a count by hand of the whole text."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.encoding import encode_file, summarize_file
from mm_jax.data.file_summary import summarize_splits, totals_in_splits
from mm_jax.data.splits import split, split_lines
from mm_jax.data.streaming import PIECE_BYTES, Stream
from mm_jax.data.vocab import build_vocab
from mm_jax.data.word_tokens import WordTokenizer
from mm_jax.data.word_totals import TextTotals, recorded_totals, totals_record
from tests.data.two_ways import all_is_large

WORDS = ["a", "bee", "Bee", "7", "1,000.", "é.", "so!", "語", "don't"]
lines_of_words = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=10, max_size=30
)
sizes = st.sampled_from([9, 40, PIECE_BYTES])
choices = st.fixed_dictionaries(
    {
        "min_count": st.integers(1, 3),
        "count_words_in": st.sampled_from(["train", "all"]),
        "merge_numbers": st.booleans(),
        "sentence_ends": st.booleans(),
        "lower": st.booleans(),
    }
)


def stream_of(text, size=PIECE_BYTES, **options):
    return Stream(DataConfig("a file", unit="word", **options), size, kept=text.encode())


def tokens_of(text, merge_numbers, sentence_ends, lower, **_):
    return WordTokenizer(merge_numbers, sentence_ends).split(text.lower() if lower else text)


def words_by_hand(parts, min_count, count_words_in, dropped=()):
    """The known words, from lists of words of train, dev and test."""
    counts = Counter(parts[0])
    if count_words_in == "all":
        counts.update(word for part in (*parts[1:], dropped) for word in part)
    return {word for word, count in counts.items() if count >= min_count} or None


def totals_by_hand(parts, known, texts, num_ends, min_count):
    return tuple(
        TextTotals(
            len(words) + ends,
            len(words),
            sum(word not in known for word in words) if min_count > 1 else 0,
            len(text),
        )
        for words, text, ends in zip(parts, texts, num_ends, strict=True)
    )


@settings(max_examples=150)
@given(lines_of_words, sizes, st.sampled_from(["line", "paragraph"]), choices)
def test_items_are_counted_in_their_splits(lines, size, items, options):
    end = "\n" if items == "line" else "\n\n"
    splits = split_lines(lines, "lecture", 42)
    parts = [[word for line in part for word in tokens_of(line, **options)] for part in splits]
    known = words_by_hand(parts, options["min_count"], options["count_words_in"])
    stream = stream_of(end.join(lines), size, items=items, **options)
    if known is None:
        with pytest.raises(InputError, match="a file: no word occurs"):
            summarize_splits(stream)
        return
    info = summarize_splits(stream).info
    if options["min_count"] > 1:
        assert {*info.vocab.symbols[1:]} == known | {"<unk>"}
    texts = ["".join(line + end for line in part) for part in splits]
    ends = [*map(len, splits)]
    assert info.totals == totals_by_hand(parts, known, texts, ends, options["min_count"])


@settings(max_examples=150)
@given(lines_of_words, sizes, st.text(" \n\t", max_size=3), choices)
def test_a_document_is_counted_in_its_order(lines, size, between, options):
    text = f"\n\n{between}".join(lines)
    tokens = tokens_of(text, **options)
    n1, n2 = int(0.8 * len(tokens)), int(0.9 * len(tokens))
    parts = [tokens[:n1], tokens[n1:n2], tokens[n2:]]
    known = words_by_hand(parts, options["min_count"], options["count_words_in"])
    stream = stream_of(text, size, items="document", **options)
    if known is None:
        return
    info = summarize_splits(stream).info
    if options["min_count"] > 1:
        assert {*info.vocab.symbols[1:]} == known | {"<unk>"}

    def place(cut):  # behind the last white space before which so many tokens end
        ends = [i + 1 for i, symbol in enumerate(text) if symbol.isspace()]
        return max([0, *(end for end in ends if len(tokens_of(text[:end], **options)) <= cut)])

    p1, p2 = place(n1), place(n2)
    texts = [text[:p1], text[p1:p2], text[p2:]]
    assert info.totals == totals_by_hand(parts, known, texts, [0, 0, 0], options["min_count"])


TEXT = "\n".join(f"the cat sat on mat {i % 7} and saw w{i}." for i in range(60))
ONLY_LATE = "\n".join(["a b a b c d"] * 16 + ["late late late late"] * 4)


@pytest.mark.parametrize("items", ["line", "document"])
@pytest.mark.parametrize("counted_in", ["train", "all"])
def test_words_that_train_lacks_are_unknown_in_memory_mapped_and_counted(
    tmp_path, items, counted_in
):
    path = tmp_path / "text.txt"
    path.write_text(ONLY_LATE if items == "document" else TEXT)
    config = DataConfig(str(path), items=items, unit="word", min_count=2, count_words_in=counted_in)
    memory = load_dataset(config)
    with all_is_large(tmp_path / "cache"):
        mapped = load_dataset(config)
        assert load_dataset(config).record == mapped.record
    assert mapped.splits.train.is_mapped
    counted = summarize_splits(Stream(config))
    assert memory.vocab == mapped.vocab == counted.vocab
    assert memory.info.totals == mapped.info.totals == counted.info.totals
    train = Counter(memory.splits.train.ids.tolist())
    known = [symbol for i, symbol in enumerate(memory.vocab.symbols) if i and train[i] >= 2]
    lacking = {*memory.vocab.symbols[1:]} - {*known} - {"<unk>"}
    if counted_in == "train":
        assert lacking == set()
        assert "late" not in memory.vocab.ids
    else:
        assert ("late" in lacking) == (items == "document")
    for part, totals in zip(memory.splits, memory.info.totals, strict=True):
        assert totals.predictions == part.num_predictions
        assert totals.unknown == (part.ids == memory.vocab.unknown).sum()
    if counted_in == "train":
        assert memory.info.totals[1].unknown_rate > 0
    for record in (memory.record, mapped.record):
        found = recorded_totals(record, is_document=items == "document")
        assert tuple(found) == memory.info.totals


def test_repeated_items_are_in_no_split():
    options = {"split": "unique", "min_count": 2, "count_words_in": "all"}
    lines = [f"w{i} a" for i in range(20)]
    info = summarize_splits(stream_of("\n".join(lines * 2), **options)).info
    assert sum(each.words for each in info.totals) == 40
    assert sum(each.unknown for each in info.totals) == 0
    with pytest.raises(InputError, match=r"--split unique .* --count-words-in all"):
        DataConfig("a file", unit="word", split="unique", min_count=2)


def test_a_given_vocabulary_has_totals_too():
    vocab = build_vocab(["a b a b"], "word", min_count=2)
    stream = stream_of("a b\nc a\n", split="none")
    info = summarize_file(stream, vocab)
    corpus, _ = encode_file(stream, info)
    splits = split(corpus, "none")
    nothing = TextTotals(0, 0, 0, 0)
    assert totals_in_splits(stream, info, splits) == (TextTotals(6, 4, 1, 8), nothing, nothing)


def test_weighted_items_and_other_units_have_no_totals(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(f"w{i % 3} a,{i + 1}" for i in range(20)))
    config = DataConfig(str(path), unit="word", column="1", weights="2", min_count=2)
    data = load_dataset(config)
    assert data.info.totals is None
    assert "split_words" not in data.record
    assert recorded_totals(data.record, is_document=False) is None
    assert load_dataset(DataConfig(str(path))).info.totals is None


def test_totals_are_recorded_as_three_lists():
    totals = [TextTotals(10, 8, 2, 50), TextTotals(5, 4, 1, 20), TextTotals(0, 0, 0, 0)]
    record = totals_record(totals)
    assert record == {
        "split_words": [8, 4, 0],
        "split_unknown": [2, 1, 0],
        "split_characters": [50, 20, 0],
    }
    assert recorded_totals({**record, "split_lines": [2, 1, 0]}, is_document=False) == totals
    assert [each.unknown_rate for each in totals] == [0.25, 0.25, 0]
