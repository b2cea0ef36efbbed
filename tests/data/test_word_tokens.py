"""Numbers and sentence ends as symbols; the laws of words.py with them."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mm_jax.data.word_tokens import (
    ABBREVIATIONS,
    END_MARK,
    NUMBER_MARK,
    WordTokenizer,
    is_abbreviation,
)
from mm_jax.data.words import join_words, split_words
from tests.data.test_words import TRICKY

NUMBERS, ENDS, BOTH = WordTokenizer(True), WordTokenizer(False, True), WordTokenizer(True, True)
PIECES = [*TRICKY, *"....!?)\"'5 ", "Mr", "J", "St", "1,000.5", "<num>", "</s>", "B-52"]
texts = st.builds("".join, st.lists(st.sampled_from(PIECES), max_size=20))
tokenizers = st.sampled_from([NUMBERS, ENDS, BOTH])


def numbers_of(text):
    return [word for word in NUMBERS.split(text) if word == "<num>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In 1865, 1,234.5 men", ["In", "<num>", ",", "<num>", "men"]),
        (
            "$9 or 5% at 10:30.",
            ["$", "<num>", "or", "<num>", "%", "at", "<num>", ":", "<num>", "."],
        ),
        ("A B-52, the 1st, 1980s, x2", ["A", "B-52", ",", "the", "1st", ",", "1980s", ",", "x2"]),
        ("20-year 1855-56", ["20-year", "<num>", "-", "<num>"]),
        ("It is 7.", ["It", "is", "<num>", "."]),
        ("1,000th 5½ 1.5,", ["1", ",", "000th", "5½", "<num>", ","]),
        ("<num> are <unk>", ["<num>", "are", "<", "unk", ">"]),
        (NUMBER_MARK + "5" + END_MARK, ["<num>"]),
    ],
)
def test_each_number_is_one_symbol(text, expected):
    assert NUMBERS.split(text) == expected


def sentences(text):
    """The text of each sentence, without white space."""
    found = "|".join(ENDS.split(text)).split("|</s>")
    return [sentence.replace("|", "") for sentence in found if sentence]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes. No way! Why?", ["Yes.", "Noway!", "Why?"]),
        ('He said, "So be it." (And left.) Then', ['Hesaid,"Sobeit."', "(Andleft.)", "Then"]),
        ("He said “yes.”\nSo", ["Hesaid“yes.”", "\nSo"]),
        ("mr. day of st. louis saw messrs. x. and Y.", ["mr.dayofst.louissawmessrs.x.andY."]),
        ("MR. Day. DR. No", ["MR.Day.", "DR.No"]),
        ("At 5 per cent. of U.S. trade. It", ["At5percent.ofU.S.trade.", "It"]),
        ("Up 3.5 to 7. Next", ["Up3.5to7.", "Next"]),
        ("Well... yes?! x", ["Well...", "yes?!", "x"]),
        ("J... So J.? So", ["J...", "SoJ.?", "So"]),
        ("see a.b or a.)b", ["seea.bora.)b"]),
        ("A street. St . x", ["Astreet.", "St.", "x"]),
        ("no end", ["noend"]),
    ],
)
def test_sentences_end_where_readers_see_it(text, expected):
    assert sentences(text) == expected


def test_abbreviations_are_known_in_any_letters():
    assert all(is_abbreviation(word.title()) and word.islower() for word in ABBREVIATIONS)
    assert is_abbreviation("J")
    assert not any(map(is_abbreviation, ["it", "\n", "5", ".", "<num>"]))


@settings(max_examples=600)
@given(texts | st.text(max_size=30), tokenizers)
@example("J .) x", ENDS)
@example('Hi." there. "So', ENDS)
@example("Hi. —there/.x . /", ENDS)
def test_joining_then_splitting_the_words_of_a_text_gives_them_back(text, tokenizer):
    words = tokenizer.split(text)
    assert tokenizer.split(tokenizer.join(words)) == words


def test_joining_loses_no_end_and_adds_none_in_any_order():
    for pieces in itertools.product(["a", "J", ".", "!", ")", '"', " ", "\n"], repeat=5):
        words = ENDS.split("".join(pieces))
        assert ENDS.split(ENDS.join(words)) == words, pieces


@given(texts)
def test_sentence_ends_change_no_other_word(text):
    assert [word for word in ENDS.split(text) if word != "</s>"] == split_words(text)


@given(texts)
def test_without_options_it_is_the_plain_one(text):
    words = WordTokenizer().split(text)
    assert words == split_words(text)
    assert WordTokenizer().join(words) == join_words(words)


@given(st.lists(st.sampled_from(["a b", "Mr. X", 'so."', "7.5", "J.", "x!)"]), max_size=8))
def test_text_may_be_cut_at_any_white_space(parts):
    pieces = [part + " " for part in parts]
    each = [word for piece in pieces for word in BOTH.split(piece)]
    assert BOTH.split("".join(pieces)) == each


@pytest.mark.parametrize(
    "text",
    [
        'He said, "So be it." (And left.) Then Mr. J. Day went.',
        "Well... yes?! At two per cent. of trade.\nIt “is.”\n\nSo",
        "In all, <num> of <num> people paid $<num>.",
    ],
)
def test_ordinary_prose_comes_back_unchanged(text):
    assert BOTH.join(BOTH.split(text)) == text


def test_symbols_of_a_model_are_joined_in_any_order():
    words = [
        "</s>",
        "the",
        "</s>",
        "<num>",
        ".",
        "</s>",
        "</s>",
        "Mr",
        ".",
        "</s>",
        "<unk>",
        "</s>",
    ]
    assert BOTH.join(words) == "the <num>. Mr . <unk>"
    assert BOTH.join(["</s>"]) == BOTH.join([]) == ""
    assert ENDS.join(["so", ".", "it", "!", "</s>"]) == "so.it!"
