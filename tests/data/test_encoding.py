"""A file becomes the ids that a simple definition gives it: read whole, cut and looked up."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import encoding
from mm_jax.data.encoding import Encoder, corpus_of, encode_file, read_corpus, summarize_file
from mm_jax.data.streaming import PIECE_BYTES, Stream
from mm_jax.data.vocab import BYTE_SYMBOLS, build_vocab
from mm_jax.data.words import split_words
from tests.data.by_hand import document_by_hand, lines_by_hand, paragraphs_by_hand

SIZES = [4, 5, 7, 9, PIECE_BYTES]
SYMBOLS = [*"abAB.-' \n\n\r", "\n\n", "\ufeff", "é", "語"]
texts = st.builds("".join, st.lists(st.sampled_from(SYMBOLS), max_size=16))
kinds = st.sampled_from(["line", "paragraph", "document"])
units = st.sampled_from(["char", "byte", "word"])


def items_by_hand(data, items, in_bytes):
    """The items of a file as strings."""
    if items == "line":
        return lines_by_hand(data, in_bytes)[0]
    if items == "paragraph":
        return paragraphs_by_hand(data, in_bytes)
    return [document_by_hand(data, in_bytes)]


def tokens_by_hand(text, items, unit, *, lower=False):
    """The tokens of each item of a file: characters, words, or the symbols of bytes."""
    if lower:
        text = text.lower()
    found = items_by_hand(text.encode(), items, unit == "byte")
    if unit == "word":
        return [split_words(item) for item in found]
    if unit == "byte":
        return [[BYTE_SYMBOLS[ord(symbol)] for symbol in item] for item in found]
    return [[*item] for item in found]


def symbols_by_hand(tokens, unit, min_count=1):
    """All symbols but the boundary, in the order of their ids."""
    if unit == "byte":
        return [*BYTE_SYMBOLS]
    counts = Counter(token for item in tokens for token in item)
    often = sorted(token for token, count in counts.items() if count >= min_count)
    return often + ["<unk>"] * (min_count > 1)


def ids_by_hand(tokens, symbols, items):
    """A boundary, then each item and, but for a document, its boundary."""
    ids = [0]
    for item in tokens:
        ids += [1 + symbols.index(token if token in symbols else "<unk>") for token in item]
        ids += [0] * (items != "document")
    return ids


def stream_of(text, size=PIECE_BYTES, **choices):
    return Stream(DataConfig("a file", **choices), size, kept=text.encode())


def read(text, size=PIECE_BYTES, vocab=None, *, skip_unknown=False, **choices):
    """Its corpus, how many items were left out, and what was found in the file."""
    stream = stream_of(text, size, **choices)
    info = summarize_file(stream, vocab)
    return *encode_file(stream, info, skip_unknown=skip_unknown), info


@given(texts, st.sampled_from(SIZES), kinds, units, st.booleans())
@settings(max_examples=300)
def test_a_file_is_encoded_in_pieces_as_by_hand(text, size, items, unit, lower):
    lower = lower and unit != "byte"
    tokens = tokens_by_hand(text, items, unit, lower=lower)
    if not "".join(items_by_hand(text.encode(), items, unit == "byte")):
        with pytest.raises(InputError, match="there is nothing to learn from"):
            read(text, size, items=items, unit=unit)
        return
    corpus, num_skipped, info = read(text, size, items=items, unit=unit, lower=lower)
    symbols = symbols_by_hand(tokens, unit)
    assert [*corpus.vocab.symbols[1:]] == symbols
    assert corpus.vocab.symbols[0] not in symbols
    assert (corpus.vocab.unit, corpus.vocab.lower) == (unit, lower)
    assert corpus.ids.tolist() == ids_by_hand(tokens, symbols, items)
    assert corpus.ids.dtype == (np.uint8 if len(symbols) < 256 else np.uint16)
    assert (len(corpus), num_skipped) == (len(tokens), 0)
    assert info.num_items == len(tokens)
    assert info.is_document == corpus.is_document == (items == "document")


@given(texts, st.sampled_from(SIZES), kinds, st.integers(2, 3), st.booleans())
def test_rare_words_are_one_unknown_word(text, size, items, min_count, lower):
    text = "z z z b\n" + text
    tokens = tokens_by_hand(text, items, "word", lower=lower)
    symbols = symbols_by_hand(tokens, "word", min_count)
    options = {"items": items, "unit": "word", "min_count": min_count, "lower": lower}
    corpus, num_skipped, _ = read(text, size, **options)
    assert [*corpus.vocab.symbols[1:]] == symbols
    assert corpus.vocab.unknown == len(symbols)
    assert corpus.ids.tolist() == ids_by_hand(tokens, symbols, items)
    assert num_skipped == 0


@given(texts, kinds, st.sampled_from(["char", "byte"]))
def test_characters_and_bytes_are_decoded_to_what_was_read(text, items, unit):
    found = items_by_hand(text.encode(), items, unit == "byte")
    if "".join(found):
        corpus, _, _ = read(text, items=items, unit=unit)
        is_bytes = unit == "byte"
        assert corpus.items() == [
            item.encode("latin-1").decode() if is_bytes else item for item in found
        ]


def test_a_file_without_a_frequent_word_is_refused_by_its_name():
    with pytest.raises(
        InputError, match=r"^a file: no word occurs 3 times, .* 'b', occurs 2 times"
    ):
        read("a b\nb c\n", unit="word", min_count=3)
    assert summarize_file(stream_of("a b\nb", unit="word", min_count=3), all_words=True).vocab == (
        build_vocab(["a b b"], "word")
    )


def test_numbers_and_sentence_ends_are_read():
    options = {"unit": "word", "merge_numbers": True, "sentence_ends": True}
    corpus, _, _ = read("Mr. A. has 1,000. So?\n5 more", items="line", **options)
    assert corpus.vocab.symbols[1:] == (".", "</s>", "<num>", "?", "A", "Mr", "So", "has", "more")
    assert corpus.items() == ["Mr. A. has <num>. So?", "<num> more"]
    assert corpus.ids.tolist() == [0, 6, 1, 5, 1, 8, 3, 1, 2, 7, 4, 2, 0, 3, 9, 0]


def test_bytes_that_are_no_text_are_read():
    stream = Stream(DataConfig("a file", unit="byte"), kept=b"\xff\0a\r\n\x85\n\n")
    corpus, _ = encode_file(stream, summarize_file(stream))
    assert corpus.ids.tolist() == [0, 256, 1, 98, 0, 0x86, 0]
    assert corpus.items() == ["\ufffd\0a", "\ufffd"]


def test_all_paragraphs_have_the_words_that_they_had():
    corpus, _, _ = read("to the end\n\nNext\none\n\nlast\n\n", items="paragraph", unit="word")
    assert corpus.vocab.symbols[1:] == ("\n", "Next", "end", "last", "one", "the", "to")
    assert corpus.items() == ["to the end", "Next\none", "last"]


# What the vocabulary does not have


@given(
    st.lists(st.text("abcx", min_size=1, max_size=4), min_size=1, max_size=9),
    st.sampled_from([4, 5, PIECE_BYTES]),
    st.sampled_from(["line", "paragraph"]),
    st.sampled_from(["char", "word"]),
    st.integers(0, 2),
)
def test_unknown_items_are_counted_named_and_can_be_skipped(lines, size, items, unit, blank):
    # Blank lines between lines count in the number of a line, not in that of a paragraph.
    between = "\n" * (1 + blank + (items == "paragraph"))
    text = between.join(lines) + "\n"
    known = "abc" if unit == "char" else {*lines} - {word for word in lines if "x" in word}
    vocab = build_vocab(["abc"] if unit == "char" else sorted(known), unit)
    affected = [i for i, line in enumerate(lines) if "x" in line]
    options = {"items": items, "unit": unit}
    if not affected:
        assert read(text, size, vocab, **options)[0].items() == lines
        return
    number = affected[0] + 1 if items == "paragraph" else affected[0] * (1 + blank) + 1
    what = "symbols" if unit == "char" else "words"
    with pytest.raises(InputError) as caught:
        read(text, size, vocab, **options)
    message = str(caught.value)
    contain = "contains" if len(affected) == 1 else "contain"
    assert f"{len(affected)} of {len(lines)} {items}s {contain} {what} that are not in" in message
    assert f"the first is {items} {number}; --skip-unknown leaves them out" in message
    assert repr("x" if unit == "char" else lines[affected[0]]) in message
    if len(affected) == len(lines):
        with pytest.raises(InputError, match=f"{len(lines)} of {len(lines)} "):
            read(text, size, vocab, skip_unknown=True, **options)
        return
    corpus, num_skipped, info = read(text, size, vocab, skip_unknown=True, **options)
    assert corpus.items() == [line for line in lines if "x" not in line]
    assert (num_skipped, info.num_items) == (len(affected), len(lines))


@given(st.text("abx\n", min_size=1, max_size=20), st.sampled_from([4, PIECE_BYTES]))
def test_unknown_symbols_of_a_document_are_counted_and_none_is_skipped(text, size):
    vocab, count = build_vocab(["ab\n"]), text.count("x")
    for skip_unknown in False, True:
        if not count:
            corpus, _, _ = read(text, size, vocab, skip_unknown=skip_unknown, items="document")
            assert corpus.items() == [text]
            continue
        with pytest.raises(InputError) as caught:
            read(text, size, vocab, skip_unknown=skip_unknown, items="document")
        said = f"{count} of {len(text)} symbols are not in the vocabulary: 'x'"
        assert str(caught.value) == f"a file: {said}"


def test_a_line_break_inside_a_paragraph_can_be_unknown():
    with pytest.raises(InputError, match=r"1 of 2 paragraphs .*'\\n'; the first is paragraph 2;"):
        read("ab\n\na\nb\n", vocab=build_vocab(["ab"]), items="paragraph")


def test_a_few_of_many_unknown_symbols_are_named():
    with pytest.raises(InputError, match=r"'b', 'c', 'd', 'e', 'f', \.\.\.; the first is line 1;"):
        read("bcdefgh\n", vocab=build_vocab(["a"]))


def test_the_highest_code_points_and_those_between_known_ones_are_unknown():
    vocab = build_vocab(["ac"])
    for symbol in "b", "d", "\x01", "é", "\U0010ffff":
        with pytest.raises(InputError, match="1 of 2 lines"):
            read(f"ac\na{symbol}c\n", vocab=vocab)


# Tables


TABLE = "name\tcount\nemma\t3\nava\t0\nxx\t2\nmia\t7\n"


@pytest.mark.parametrize("size", [4, 9, PIECE_BYTES])
def test_weights_are_those_of_the_items_that_are_kept(size):
    options = {"column": "name", "weights": "count"}
    corpus, _, info = read(TABLE, size, **options)
    assert corpus.items() == ["emma", "ava", "xx", "mia"]
    assert corpus.weights.tolist() == [3, 0, 2, 7]
    assert info.weights.tolist() == [3, 0, 2, 7]
    vocab = build_vocab(["emavi"])
    corpus, num_skipped, _ = read(TABLE, size, vocab, skip_unknown=True, **options)
    assert corpus.items() == ["emma", "ava", "mia"]
    assert corpus.weights.tolist() == [3, 0, 7]
    assert num_skipped == 1
    with pytest.raises(InputError, match=r"1 of 4 lines .*'x'; the first is line 4;"):
        read(TABLE, size, vocab, **options)


def test_weights_that_are_all_0_are_refused():
    with pytest.raises(InputError, match="a file: all weights in 2 are 0"):
        read("a\t0\nb\t0\n", column="1", weights="2")


@pytest.mark.parametrize("size", [50, PIECE_BYTES])
@pytest.mark.parametrize("num", [20, 99, 500])
def test_a_file_that_looks_like_a_table_is_noted(num, size):
    text = "".join(f"name {i},{i}\n" for i in range(num))
    notes = read(text, size)[2].notes
    assert len(notes) == 1
    assert "a file looks like a table of 2 columns" in notes[0]
    for choices in {"items": "paragraph"}, {"column": "1"}:
        assert read(text, size, **choices)[2].notes == ()


def test_a_table_of_long_rows_is_noted_too():
    text = "".join(f"{'very long ' * 20}name {i},{i}\n" for i in range(500))
    assert "looks like a table of 2 columns" in "".join(read(text)[2].notes)


def test_marks_that_were_dropped_are_noted():
    notes = read("\ufeffa\n\ufeffb\ufeff\n")[2].notes
    assert notes == ("a file: 2 byte order marks (U+FEFF) inside it left out",)


# From a path


def test_a_corpus_is_read_with_the_choices_of_the_data(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("Emma\nava\n")
    corpus = read_corpus(path, lower=True)
    assert corpus.items() == ["emma", "ava"]
    other = tmp_path / "other.txt"
    other.write_text("VAM\n")
    again = read_corpus(other, vocab=corpus.vocab)
    assert again.items() == ["vam"]
    assert again.vocab == corpus.vocab
    document = read_corpus(path, items="document", unit="word", block=2)
    assert document.items() == ["Emma\nava\n"]
    assert (document.is_document, document.block) == (True, 2)
    with pytest.raises(InputError, match="1 of 1 lines contains symbols"):
        read_corpus(other, vocab=build_vocab(["a"]))


def test_a_file_whose_ids_do_not_fit_in_memory_is_refused_before_they_are_made(monkeypatch):
    stream = stream_of("abc\nab\n")  # 7 bytes, and with one id of a byte for each 9
    encoder = Encoder(build_vocab(["abc"]), "line")
    monkeypatch.setattr(encoding, "memory_bytes", lambda: 8)
    with pytest.raises(InputError, match="a file takes 9 B of memory, of 8 B"):
        corpus_of(stream, encoder)
    assert encoder.num_tokens == 0
    monkeypatch.setattr(encoding, "memory_bytes", lambda: 9)
    assert corpus_of(stream, encoder).items() == ["abc", "ab"]
