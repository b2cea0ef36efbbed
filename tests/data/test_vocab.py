import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data.vocab import (
    BOUNDARIES,
    BYTE_SYMBOLS,
    SymbolError,
    Vocab,
    build_vocab,
    decode,
    decode_lines,
    encode,
    encode_lines,
)
from mm_jax.data.word_tokens import WordTokenizer
from mm_jax.data.words import split_words

symbols = st.characters(exclude_categories=["Cs"])
lines_of_text = st.lists(st.text(symbols, max_size=8), min_size=1, max_size=8)


@given(lines_of_text)
def test_encoding_then_decoding_gives_every_line_back(lines):
    vocab = build_vocab(lines)
    assert [decode(vocab, encode(vocab, line)) for line in lines] == lines
    ids, lengths = encode_lines(vocab, lines)
    assert lengths.tolist() == [len(line) for line in lines]
    by_hand = [sorted({s for line in lines for s in line}).index(s) + 1 for s in "".join(lines)]
    assert ids.tolist() == by_hand
    assert ids.dtype == np.int32


@given(lines_of_text)
def test_the_vocabulary_is_the_boundary_then_the_sorted_symbols(lines):
    vocab = build_vocab(lines)
    assert vocab.symbols[0] == next(s for s in BOUNDARIES if s not in "".join(lines))
    assert list(vocab.symbols[1:]) == sorted({s for line in lines for s in line})
    assert len(vocab) == len(vocab.symbols) == len(set(vocab.symbols))


def test_the_letters_are_1_to_26():
    vocab = build_vocab(["zyxwvutsrqponm", "abcdefghijklm"])
    assert len(vocab) == 27
    assert encode(vocab, "emma").tolist() == [5, 13, 13, 1]


@given(lines_of_text, st.data())
def test_an_unknown_symbol_is_named_with_its_place_and_line(lines, data):
    index = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[index])))
    unknown = data.draw(symbols)
    vocab = build_vocab(line.replace(unknown, "") for line in lines)
    lines = [line.replace(unknown, "") for line in lines]
    place = min(place, len(lines[index]))
    lines[index] = lines[index][:place] + unknown + lines[index][place:]
    lines.append(unknown)  # the first one counts
    with pytest.raises(SymbolError) as caught:
        encode_lines(vocab, lines)
    assert caught.value.index == index
    message = str(caught.value)
    assert f"symbol {unknown!r} at place {place + 1} of {lines[index]!r}" in message
    assert "not in the vocabulary" in message


def test_an_unknown_symbol_above_and_between_the_known_ones_is_found():
    vocab = build_vocab(["ac"])
    for unknown in "b", "d", "\x00", "\U0010ffff", "\u00e9":
        with pytest.raises(SymbolError, match=re.escape(repr(unknown))):
            encode(vocab, "a" + unknown)


def test_decoding_stops_at_the_first_boundary():
    vocab = Vocab((".", "a", "b", "c"))
    assert decode(vocab, [1, 2, 0, 3]) == "ab"
    assert decode(vocab, []) == decode(vocab, [0, 1]) == ""
    assert decode_lines(vocab, np.array([[1, 2, 0], [0, 1, 2], [3, 3, 3]])) == ["ab", "", "ccc"]


def test_equal_vocabularies_are_equal_and_can_be_keys():
    assert build_vocab(["ba"]) == Vocab((".", "a", "b"))
    assert hash(build_vocab(["ba"])) == hash(Vocab((".", "a", "b")))


# Bytes and words


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_bytes_are_utf8_plus_one_and_come_back(lines):
    vocab = build_vocab([], "byte")
    assert len(vocab) == 257
    for line in lines:
        line = line.encode("utf-8", "replace").decode()
        ids = encode(vocab, line)
        assert ids.tolist() == [byte + 1 for byte in line.encode()]
        assert decode(vocab, ids) == line
        assert list(vocab.split(line)) == [BYTE_SYMBOLS[byte] for byte in line.encode()]


def test_bytes_that_are_no_utf8_are_read_and_shown():
    vocab = build_vocab([], "byte")
    assert encode(vocab, "a\udcff").tolist() == [98, 256]  # as the system gives such names
    assert encode(vocab, "\ud800").tolist() == [0xED + 1, 0xA0 + 1, 0x80 + 1]
    assert decode(vocab, [98, 256]) == "a\ufffd"
    assert vocab.spell([0, 98, 256, 11, 0]) == "↵a\\xff\\x0a↵"
    assert len(set(BYTE_SYMBOLS)) == 256


@given(st.lists(st.text("abAB '-.\n", max_size=9), min_size=1), st.integers(1, 3), st.booleans())
def test_words_are_counted_and_rare_ones_are_one(lines, min_count, lower):
    read = [line.lower() if lower else line for line in lines]
    counts = Counter(word for line in read for word in split_words(line))
    often = sorted(word for word, count in counts.items() if count >= min_count)
    if counts and not often:
        with pytest.raises(InputError, match=rf"no word occurs {min_count} times, as --min-count"):
            build_vocab(lines, "word", min_count=min_count, lower=lower)
        return
    vocab = build_vocab(lines, "word", min_count=min_count, lower=lower)
    assert list(vocab.symbols[1:]) == often + ["<unk>"] * (min_count > 1)
    assert vocab.symbols[0] == next(s for s in BOUNDARIES if s not in often)
    assert vocab.unknown == (len(often) + 1 if min_count > 1 else None)
    for line, small in zip(lines, read, strict=True):
        words = split_words(small)
        ids = [often.index(word) + 1 if word in often else vocab.unknown for word in words]
        assert encode(vocab, line).tolist() == ids
        assert list(vocab.split(line)) == words
        if min_count == 1:  # the text has the same words, with spaces where people put them
            assert split_words(decode(vocab, ids)) == words


@given(st.lists(st.text("aB7. -,", max_size=12), min_size=1), st.booleans(), st.booleans())
def test_numbers_and_sentence_ends_are_symbols_of_a_vocabulary(lines, numbers, ends):
    options = {"merge_numbers": numbers, "sentence_ends": ends}
    vocab, tokenizer = build_vocab(lines, "word", **options), WordTokenizer(numbers, ends)
    assert {*vocab.symbols[1:]} == {word for line in lines for word in tokenizer.split(line)}
    assert vocab.tokenizer == tokenizer
    for line in lines:
        ids = encode(vocab, line)
        assert [vocab.symbols[i] for i in ids] == tokenizer.split(line) == vocab.split(line)
        again = encode(vocab, decode(vocab, ids))
        assert again.tolist() == ids.tolist()


def test_a_count_that_no_word_has_is_refused_with_the_most_frequent_word():
    message = "no word occurs 1,000 times, as --min-count asks; the most frequent one, "
    with pytest.raises(InputError, match=message + "'b', occurs 2 times"):
        build_vocab(["a b b a c"], "word", min_count=1000)
    with pytest.raises(InputError, match=message + "'c', occurs once"):
        build_vocab(["a b c"], "word", min_count=1000)


def test_a_word_that_is_not_known_is_named():
    vocab = build_vocab(["the cat"], "word")
    with pytest.raises(SymbolError, match=r"word 'dog' at place 2 of 'the dog' is not in"):
        encode(vocab, "the dog")
    rare = build_vocab(["the the cat"], "word", min_count=2)
    assert encode(rare, "the dog <unk>").tolist() == [1, 2, 2, 2, 2]
    assert decode(rare, [1, 2]) == "the <unk>"
    assert rare.spell([0, 1, 2, 0]) == ". the <unk> ."


@given(lines_of_text)
def test_small_letters_are_encoded_as_the_small_text(lines):
    vocab = build_vocab(lines, lower=True)
    assert vocab.symbols[1:] == tuple(sorted({s for line in lines for s in line.lower()}))
    for line in lines:
        assert decode(vocab, encode(vocab, line)) == line.lower()


def test_another_unit_is_refused():
    with pytest.raises(InputError, match="unknown unit 'line'; choose char, byte or word"):
        build_vocab(["a"], "line")


def test_ids_take_the_smallest_type_that_holds_them():
    for size, dtype in (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.int32):
        assert Vocab(tuple(map(chr, range(size)))).dtype == dtype
