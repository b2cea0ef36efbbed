import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data.vocab import (
    SymbolError,
    Vocab,
    build_vocab,
    decode,
    decode_lines,
    encode,
    encode_lines,
)

symbols = st.characters(exclude_categories=["Cs"], exclude_characters=".")
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
    assert vocab.symbols[0] == "."
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


def test_the_boundary_inside_a_line_is_refused_as_such():
    with pytest.raises(SymbolError, match=r"symbol '\.' at place 3 of 'em\.ma' is the boundary"):
        encode(build_vocab(["emma"]), "em.ma")


def test_decoding_stops_at_the_first_boundary():
    vocab = Vocab((".", "a", "b", "c"))
    assert decode(vocab, [1, 2, 0, 3]) == "ab"
    assert decode(vocab, []) == decode(vocab, [0, 1]) == ""
    assert decode_lines(vocab, np.array([[1, 2, 0], [0, 1, 2], [3, 3, 3]])) == ["ab", "", "ccc"]


def test_equal_vocabularies_are_equal_and_can_be_keys():
    assert build_vocab(["ba"]) == Vocab((".", "a", "b"))
    assert hash(build_vocab(["ba"])) == hash(Vocab((".", "a", "b")))
