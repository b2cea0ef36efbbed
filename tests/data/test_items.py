"""Reading a file in pieces of any size is reading it whole, by a simple definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import items as items_module
from mm_jax.data.items import Meter, clean_lines, is_clean
from mm_jax.data.streaming import PIECE_BYTES, Stream
from mm_jax.data.words import split_words
from tests.data.by_hand import document_by_hand, lines_by_hand, paragraphs_by_hand, text_of

SIZES = [*range(1, 10), PIECE_BYTES]
SYMBOLS = [
    *"abZ.- \t\n\n\n\r",
    "\r\n",
    "\x1c",
    "\x85",
    "\u00a0",
    "\u3000",
    "\ufeff",
    "é",
    "語",
    "😀",
]
texts = st.builds("".join, st.lists(st.sampled_from(SYMBOLS), max_size=12))
marked_texts = st.builds("{}{}".format, st.sampled_from(["", "\ufeff"]), texts)


def read(data, size=PIECE_BYTES, **choices):
    """The pieces of a file of these bytes, and what was counted on the way."""
    meter = Meter()
    stream = Stream(DataConfig("a file", **choices), size, kept=data)
    return list(stream.pieces(meter)), meter


@given(marked_texts, st.sampled_from(SIZES), st.sampled_from(["char", "byte", "word"]))
def test_lines_in_pieces_are_those_of_the_whole(text, size, unit):
    data, in_bytes = text.encode(), unit == "byte"
    pieces, meter = read(data, size, unit=unit)
    lines, _, num_blank = lines_by_hand(data, in_bytes)
    assert "".join(pieces) == "".join(line + "\n" for line in lines)
    assert all(piece.endswith("\n") for piece in pieces)
    assert (meter.num_items, meter.num_blank) == (len(lines), num_blank)
    assert meter.num_raw == len(lines) + num_blank


@given(marked_texts, st.sampled_from(SIZES))
def test_each_line_has_its_number_in_the_file(text, size):
    data = text.encode()
    meter, numbers, num_lines = Meter(), [], 0
    for piece in Stream(DataConfig("a file"), size, kept=data).pieces(meter):
        numbers += meter.numbers
        num_lines += piece.count("\n")
        assert len(numbers) == num_lines
    assert numbers == lines_by_hand(data)[1]


@given(marked_texts, st.sampled_from(SIZES), st.sampled_from(["char", "byte", "word"]))
def test_paragraphs_in_pieces_are_those_of_the_whole(text, size, unit):
    data, in_bytes = text.encode(), unit == "byte"
    pieces, meter = read(data, size, unit=unit, items="paragraph")
    paragraphs = paragraphs_by_hand(data, in_bytes)
    assert "".join(pieces) == "".join(paragraph + "\n\n" for paragraph in paragraphs)
    assert all(piece.endswith("\n\n") for piece in pieces)
    assert meter.num_items == len(paragraphs)


@given(marked_texts, st.sampled_from(SIZES), st.sampled_from(["char", "byte", "word"]))
def test_a_document_in_pieces_is_the_whole(text, size, unit):
    data, in_bytes = text.encode(), unit == "byte"
    pieces, meter = read(data, size, unit=unit, items="document")
    whole = document_by_hand(data, in_bytes)
    assert "".join(pieces) == whole
    assert meter.num_items == (1 if whole else 0)
    if unit == "word":  # and no word is cut
        assert [word for piece in pieces for word in split_words(piece)] == split_words(whole)


@given(texts, st.sampled_from(SIZES), st.sampled_from(["line", "paragraph", "document"]))
def test_marks_inside_a_file_are_dropped_and_counted(text, size, items):
    data = ("\ufeff" + text).encode()  # the first mark is that of the file
    pieces, meter = read(data, size, items=items)
    assert "\ufeff" not in "".join(pieces)
    assert meter.num_marks == text_of(data)[1] == text.count("\ufeff")
    pieces, meter = read(data, size, items=items, unit="byte")
    assert meter.num_marks == 0  # for bytes it is one symbol like another


@given(
    st.text("aΣΑİ é\n", max_size=8),
    st.sampled_from(SIZES),
    st.sampled_from(["line", "paragraph", "document"]),
    st.sampled_from(["char", "word"]),
)
def test_small_letters_are_those_of_the_whole_text(text, size, items, unit):
    # How a Greek sigma is written depends on the letters around it.
    choices = {"items": items, "unit": unit}
    small = read(text.encode(), size, lower=True, **choices)[0]
    expected = "".join(read(text.lower().encode(), PIECE_BYTES, **choices)[0])
    assert "".join(small) == expected


@pytest.mark.parametrize("items", ["line", "paragraph", "document"])
@pytest.mark.parametrize("size", [1, 3, PIECE_BYTES])
def test_nul_is_refused_but_for_bytes(items, size):
    data = b"ab\n\nc\0d\n"
    with pytest.raises(InputError, match="NUL bytes, the first at byte 5"):
        read(data, size, items=items)
    pieces, _ = read(data, size, items=items, unit="byte")
    assert "c\0d" in "".join(pieces)


def test_a_document_without_white_space_is_cut_all_the_same(monkeypatch):
    monkeypatch.setattr(items_module, "LONGEST_WORD", 4)
    pieces, _ = read(b"abcdefghijk lm", 3, items="document", unit="word")
    assert "".join(pieces) == "abcdefghijk lm"
    assert max(map(len, pieces)) <= 4 + 3
    assert pieces[-1].endswith("lm")


def test_a_meter_keeps_the_first_lines():
    data = b"".join(b"%d\n" % i for i in range(300))
    for size in 10, PIECE_BYTES:
        assert read(data, size)[1].first_lines[:100] == [str(i) for i in range(100)]


@given(marked_texts.map(lambda text: text.replace("\ufeff", "")))
def test_text_is_clean_where_cleaning_changes_nothing(text):
    text += "\n" * (not text.endswith(("\n", "\r")))
    lines, numbers, num_raw = clean_lines(text, before=7)
    by_hand = lines_by_hand(text.encode())
    assert (lines, [number - 7 for number in numbers]) == by_hand[:2]
    assert num_raw == len(lines) + by_hand[2]
    assert is_clean(text) == (text == "".join(line + "\n" for line in lines) != "")
