import itertools
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mm_jax.data.words import join_words, split_words

ACUTE, VISARGA, KEYCAP = "\u0301", "\u0903", "\u20e3"  # marks of categories Mn, Mc, Me
ZWJ, ZWNJ, EMOJI_STYLE = "\u200d", "\u200c", "\ufe0f"
TRICKY = [
    *"aZ9ſéªº²½ⅷक०漢ー〇ا",
    *(ACUTE, VISARGA, KEYCAP, EMOJI_STYLE, "\U000e0100", "\U0001e8d0"),
    *"'’-_‐–—―`\"“”„‘‚«»",
    *" \n\t\r\v\x1c\x85\u00a0\u2028\u3000",
    *".,;:!?()[]{}%…$#@/&+<>^°¿€।،",
    *"。，（」",
    *("😀", "❤", "\U0001f3fd", "\U0001f1e9", ZWJ, ZWNJ, "\u00ad", "\0", "\ud800", "\uffff"),
]
MIXING = [*"a7'’-_.", ACUTE, EMOJI_STYLE, ZWJ]  # what could become one word, or must not


def split_by_hand(text):
    """Go through the symbols one by one; in_run says whether the last one belongs to a word."""
    tokens, in_run = [], False
    for symbol, following in itertools.zip_longest(text, text[1:], fillvalue=" "):
        letter = symbol.isalnum()
        mark = unicodedata.category(symbol) in ("Mn", "Mc", "Me")
        inner = symbol in "'’-" and following.isalnum()
        if in_run and (letter or mark or inner):
            tokens[-1] += symbol
        elif symbol == "\n" or not symbol.isspace():
            tokens.append(symbol)
            in_run = letter
        else:
            in_run = False
    return tokens


SINGLE = [symbol for symbol in TRICKY if split_by_hand(symbol) == [symbol]]
texts = st.text(st.sampled_from(TRICKY), max_size=30) | st.text(max_size=30)
tokens = st.sampled_from(SINGLE) | st.sampled_from(
    ["a", "don't", "well-known", "l’été", "12", "345", "2nd", "e" + ACUTE, "e" + ACUTE + "-b"]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t ", []),
        ("He said, “Don’t!”", ["He", "said", ",", "“", "Don’t", "!", "”"]),
        ("don't well-known mother-in-law", ["don't", "well-known", "mother-in-law"]),
        ("rock-'n'-roll", ["rock", "-", "'", "n", "'", "-", "roll"]),
        ("'tis dogs' -x a--b", ["'", "tis", "dogs", "'", "-", "x", "a", "-", "-", "b"]),
        ("3.14 12:30 x² 2nd½", ["3", ".", "14", "12", ":", "30", "x²", "2nd½"]),
        ("snake_case _x_", ["snake", "_", "case", "_", "x", "_"]),
        ("(a) [b] <c>", ["(", "a", ")", "[", "b", "]", "<", "c", ">"]),
        ("a\r\nb\n\n c", ["a", "\n", "b", "\n", "\n", "c"]),
        ("a\u00a0b\u3000c\u2028d", ["a", "b", "c", "d"]),
        ("cafe" + ACUTE + "'s", ["cafe" + ACUTE + "'s"]),
        ("a'" + ACUTE + "b " + ACUTE + "c", ["a", "'", ACUTE, "b", ACUTE, "c"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("私は、学生（男）です。", ["私は", "、", "学生", "（", "男", "）", "です", "。"]),
        ("Привет, мир… שלום مرحبا؟", ["Привет", ",", "мир", "…", "שלום", "مرحبا", "؟"]),
        ("hi😀❤" + EMOJI_STYLE, ["hi", "😀", "❤", EMOJI_STYLE]),
        ("1" + EMOJI_STYLE + KEYCAP, ["1" + EMOJI_STYLE + KEYCAP]),
    ],
)
def test_words_marks_and_line_breaks(text, expected):
    assert split_words(text) == expected == split_by_hand(text)


@settings(max_examples=200)
@given(texts)
@example("a-" * 1000 + "-" + "'" * 1000 + " " * 1000)
def test_splitting_equals_the_definition_by_hand(text):
    assert split_words(text) == split_by_hand(text)


def test_the_marks_that_belong_to_a_word_are_those_of_unicode():
    symbols = [chr(code) for code in range(0x110000)]
    marks = [symbol for symbol in symbols if unicodedata.category(symbol)[0] == "M"]
    words = split_words(" ".join(f"a{symbol}" for symbol in symbols))
    assert [word[1] for word in words if len(word) == 2 and not word[1].isalnum()] == marks


@settings(max_examples=200)
@given(texts)
def test_joining_then_splitting_the_words_of_a_text_gives_them_back(text):
    words = split_words(text)
    assert split_words(join_words(words)) == words


@settings(max_examples=200)
@given(st.lists(tokens, max_size=12))
def test_joining_then_splitting_any_words_gives_them_back(words):
    assert all(split_by_hand(word) == [word] for word in words)
    assert split_by_hand(join_words(words)) == words


def test_joining_loses_and_merges_nothing_in_any_order():
    for words in itertools.product(MIXING, repeat=3):
        assert split_words(join_words(words)) == list(words)
    for left, right in itertools.product(MIXING, repeat=2):
        words = ["a", left, right, "b", left, right, "7"]
        assert split_words(join_words(words)) == words
    for symbol in SINGLE:
        words = ["a", symbol, "b", symbol, symbol, "12", symbol, "345", symbol]
        assert split_words(join_words(words)) == words


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.",
        "He didn't say \"no\"; he said, 'Not yet!' (and left).",
        "“Don’t,” she said, “be so well-mannered…”",
        "In all, 1,234,567 people paid $3.50 at 12:30: that is 99%!",
        "Choose 1, 2, 3 or 10, 20, 30 [see #4, or ask @ann].",
        "He came—late—and/or tired - or so 1914 – 1918 went.",
        'One line,\nand "another\n"one" of \'quotes\'\n\n(the last).',
        'She wrote: "\'Why?\' is a question." Then "so".',
        "«Привет, мир!» Нет: «Привет»—да.",
        "Er sagte: „Das ist ‚gut‘ und wahr“ oder „ja“; sie “so”.",
        "¿Qué tal? ¡Muy bien! Costó €5 (5 € cada uno).",
        f"नमस्ते दुनिया। कैसे हो? می{ZWNJ}خواهم، بله؟",
        "私は「学生」です。（本当、本当！）《書》",
        f"Nice 😀😀 and ❤{EMOJI_STYLE}❤{EMOJI_STYLE} from 🇩🇪 or 👍🏽👍🏽.",
        f"A mother 👩{ZWJ}👧 presses key 1{EMOJI_STYLE}{KEYCAP} now.",
        f"Il a bu un cafe{ACUTE} a\u0300 l'e{ACUTE}te{ACUTE}.",
        "She ran--fast--on a _very_ hot day... at 30° in `code`.",
    ],
)
def test_ordinary_prose_comes_back_unchanged(text):
    assert join_words(split_words(text)) == text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ""),
        (["\n"], "\n"),
        (["a", "'", "b"], "a 'b"),
        (["a", "’", "b"], "a’ b"),
        (["‚", "a", "’", "b", "’", "b"], "‚a’ b’ b"),
        (["a", "-", "b"], "a - b"),
        (["a", "–", "b", "—", "c"], "a – b—c"),
        (["a", ACUTE], "a " + ACUTE),
        (["x", ",", "100", ",", "10", ",", "y"], "x, 100, 10, y"),
        (["in", "2020", ",", "300", "people"], "in 2020, 300 people"),
        (["1", ".", "x", ".", "1", ":", "y"], "1. x. 1: y"),
        (['"', "a", "\n", '"', "b", '"', "c", "'"], '"a\n"b" c \''),
        (["<unk>", "<unk>", ",", "(", "<unk>", ")"], "<unk> <unk>, (<unk>)"),
        (["'", "<unk>", "'", "$", "<unk>"], "'<unk>' $<unk>"),
        (["<unk>", ACUTE, "-", "<unk>", "’", "<unk>"], f"<unk> {ACUTE} - <unk>’ <unk>"),
    ],
)
def test_spaces_stand_where_people_put_them(words, expected):
    assert join_words(words) == join_words(tuple(words)) == expected
