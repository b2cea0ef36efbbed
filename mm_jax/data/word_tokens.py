"""Text -> words and back, where numbers are one symbol and sentences end with one of their own.

As words.py, and the laws are the same: split(join(words)) == words for all words that ``split``
can return. Both symbols are put into the text as single characters, which split_words returns
like any mark. After Bengio et al. (2003), section 4. Imports no jax.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mm_jax.data.words import find_spaces, join_words, split_words

NUMBER, SENTENCE_END = "<num>", "</s>"  # no words: each has three or four tokens
# Unicode keeps these two for use inside a program; in a text they mean nothing and are dropped.
NUMBER_MARK, END_MARK = "\ufdd0", "\ufdd1"
# A number has points and commas between its digits, and is no part of a word: not 1st, not B-52.
# The first digit comes before what may stand in front of it, which saves half of the time.
_NUMBER = re.compile(
    r"\d(?<![^\W_].)(?<![^\W\d_]['’\-].)\d*+(?:[.,]\d++)*+(?![^\W_])(?!['’\-][^\W\d_])"
    f"|{NUMBER}"
)
MARKS = frozenset(".!?")  # that end a sentence
CLOSING = frozenset("\"'”’)]}»")  # what may follow them inside it
_END = re.compile(rf"([.!?]+)[{re.escape(''.join(sorted(CLOSING)))}]*(?=\s|\Z)")
# Words, in small letters, whose dot ends no sentence; no single letter's does, as in U.S.
_ABBREVIATIONS = """
mr mrs ms dr messrs st jr sr no nos vol pp gen col maj capt lt gov hon sen rep rev sec vs viz cf
cent cts etc co corp inc bros mt ft jan feb aug sept oct nov dec
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
_LONGEST = 64  # symbols before a dot that are looked at for the word there


class WordTokenizer(NamedTuple):
    """How text becomes words, and words text."""

    merge_numbers: bool = False  # whether each number is NUMBER
    sentence_ends: bool = False  # whether SENTENCE_END follows each sentence

    def split(self, text: str) -> list[str]:
        """Return the words, marks, line breaks and symbols of ``text``, in order.

        >>> WordTokenizer(True, True).split("Mr. Day paid $1,250.50. All?")
        ['Mr', '.', 'Day', 'paid', '$', '<num>', '.', '</s>', 'All', '?', '</s>']
        """
        if not (self.merge_numbers or self.sentence_ends):
            return split_words(text)
        text = text.replace(NUMBER_MARK, "").replace(END_MARK, "")
        shown = {}
        if self.merge_numbers:
            shown[NUMBER_MARK] = NUMBER
            text = _NUMBER.sub(NUMBER_MARK, text)
        if self.sentence_ends:
            shown[END_MARK] = SENTENCE_END
            text = _END.sub(_marked, text)
        words = split_words(text)
        return [shown.get(word, word) for word in words]

    def join(self, words: Sequence[str]) -> str:
        """Return the text of words, with spaces where people put them; sentence ends are left out.

        >>> WordTokenizer(sentence_ends=True).join(["Who", "?", "</s>", "Mr", ".", "Day"])
        'Who? Mr. Day'
        """
        return _join_sentences(words) if self.sentence_ends else join_words(words)


def _marked(end: re.Match[str]) -> str:
    """Return the end of a sentence with a mark behind it, or an abbreviation's dot as it is."""
    if end[1] == ".":
        before = end.string[max(0, end.start() - _LONGEST) : end.start()]
        word = before.rpartition(" ")[2]
        if not word.isalpha() and word and not word[-1].isspace():
            word = split_words(word)[-1]  # mostly it is one word, and this would take longer
        if is_abbreviation(word):
            return end[0]
    return end[0] + END_MARK


def is_abbreviation(word: str) -> bool:
    """Check whether a dot behind a word ends no sentence: of an initial, or of an abbreviation."""
    return word.lower() in ABBREVIATIONS if len(word) > 1 else word.isalpha()


def _join_sentences(words: Sequence[str]) -> str:
    """Join words so that their sentences end where SENTENCE_END says and nowhere else."""
    kept: list[str] = []
    ends = set[int]()  # the number of words before each end
    for word in words:
        if word == SENTENCE_END:
            ends.add(len(kept))
        else:
            kept.append(word)
    spaces = find_spaces(kept)
    in_end = False  # whether white space here would end a sentence
    for i, word in enumerate(kept):
        in_end = word in MARKS or (in_end and not spaces[i] and word in CLOSING)
        if word == "." and i and is_abbreviation(kept[i - 1]):
            spaces[i] = in_end = _ends_behind(kept, i, ends)  # away from the word it ends one
        if in_end and i + 1 < len(kept):
            spaces[i + 1] = i + 1 in ends and kept[i + 1] != "\n"
    return "".join(" " * space + word for space, word in zip(spaces, kept, strict=True))


def _ends_behind(words: list[str], i: int, ends: set[int]) -> bool:
    """Check whether a sentence ends behind the mark ``words[i]`` and what closes behind it."""
    while i + 1 < len(words) and i + 1 not in ends and words[i + 1] in CLOSING:
        i += 1
    return i + 1 in ends
