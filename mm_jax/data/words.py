"""Text -> words, marks and line breaks; and those -> text, with spaces where people put them.

split_words(join_words(words)) == words for all lists of words that split_words can return: where
two words would merge, or a mark would become an inner one, a space stands. Imports no jax.
"""

import re
from collections.abc import Sequence
from functools import cache
from unicodedata import category

# Where combining marks may be: all but ideographs, Hangul, private use and unused planes, whose
# 95 % of all code points would take most of the time.
_MARK_BLOCKS = (
    range(0x300, 0x3400),
    range(0xA000, 0xAC00),
    range(0xF900, 0x17000),
    range(0x1B000, 0x20000),
    range(0xE0100, 0xE01F0),
)

_TIGHT = frozenset("\n/—―‐‑。，、！？；：「」『』（）《》〈〉【】〔〕")  # no space on either side
_TIGHT_BEFORE = frozenset(",.;:!?%…‰°′″।॥،؛؟")
_TIGHT_AFTER = frozenset("$#@¿¡")
_IN_TURN = frozenset("\"'_`")  # the first in a line opens, the next one closes
_CLOSES_LOW = {"“": "„", "”": "„", "‘": "‚", "’": "‚"}  # German: „so“


def split_words(text: str) -> list[str]:
    r"""Return the words, marks and line breaks of ``text``, in order; other white space is dropped.

    A word is a run of letters, digits and the combining marks on them, with single apostrophes
    and hyphens between letters or digits. Each other symbol and each line break is one by itself.

    >>> split_words("Don't\tpay well-known 'seers' $9.")
    ["Don't", 'pay', 'well-known', "'", 'seers', "'", '$', '9', '.']
    """
    return _pattern().findall(text)


def join_words(words: Sequence[str]) -> str:
    """Return the text of ``words``, with spaces where people put them.

    Words that split_words cannot return, like "<unk>", stand like words of letters.

    >>> join_words(["Don't", 'pay', 'well-known', "'", 'seers', "'", '$', '9', '.'])
    "Don't pay well-known 'seers' $9."
    """
    pairs = zip(find_spaces(words), words, strict=True)
    return "".join(" " + word if space else word for space, word in pairs)


def find_spaces(words: Sequence[str]) -> list[bool]:
    """Return whether a space stands before each word."""
    spaces: list[bool] = []
    opened: set[str] = set()  # the quotes that are open
    space_after = False
    for index, word in enumerate(words):
        before = words[index - 1] if index else "\n"
        after = words[index + 1] if index + 1 < len(words) else "\n"
        if word == "\n":
            opened.clear()
        space_before, next_space = _spaces(before, word, after, opened)
        spaces.append(space_after and space_before)
        space_after = next_space
    return spaces


@cache
def _pattern() -> re.Pattern[str]:
    """Compile what a word is, on first use: this takes some 30 ms.

    The first alternative and the space in front save a third of the time and change nothing: most
    words have ASCII letters only, and a space that matches is not tried as three other things.
    """
    letter = r"[^\W_]"  # what str.isalnum says
    marks = rf"(?=[^\0-\u02FF])[{_combining_marks()}]++"  # the look ahead stops most symbols early
    plain = r"[0-9A-Za-z]++(?![^\0-&(-,.-\x7F])"  # up to ASCII that is neither "'" nor "-"
    word = rf"{letter}++(?:['’\-]?{letter}++|{marks})*"
    return re.compile(rf" ?+({plain}|{word}|[\S\n])")


def _combining_marks() -> str:
    """Return the ranges of combining marks (categories Mn, Mc, Me), as a regular expression."""
    codes = [code for block in _MARK_BLOCKS for code in block]
    kinds = "".join(map(category, map(chr, codes)))  # two letters each; only marks have an M
    spans = [(run.start() // 2, run.end() // 2 - 1) for run in re.finditer("(?:M.)+", kinds)]
    return "".join(f"{chr(codes[first])}-{chr(codes[last])}" for first, last in spans)


def _spaces(before: str, word: str, after: str, opened: set[str]) -> tuple[bool, bool]:
    """Return whether ``word`` takes a space before and after it, and keep ``opened`` up to date.

    A space stands only where both neighbours take one. Words always do, so it is enough for the law
    of this module that "'", "’" and "-" take one on a side at least, and marks do after words.
    """
    if _is_word(word):
        return True, True
    if word in _TIGHT:
        return False, False
    if word in _IN_TURN:
        opened ^= {word}
        return word in opened, word not in opened
    if _CLOSES_LOW.get(word) in opened:
        opened.remove(_CLOSES_LOW[word])
        return False, True
    if word in _CLOSES_LOW.values():
        opened.add(word)
    if word == "-":  # several are a dash
        alone = word not in (before, after)
        return alone, alone
    if word in _TIGHT_BEFORE:
        return False, not _inside_number(before, word, after)
    return _spaces_by_category(before, word, after)


def _spaces_by_category(before: str, word: str, after: str) -> tuple[bool, bool]:
    """Return what _spaces does, for symbols that no list names."""
    match _category(word):
        case "Ps" | "Pi":  # opening brackets and quotes
            return True, False
        case "Pe" | "Pf":  # closing ones
            return False, True
        case "Cf":  # unseen, inside words and emoji: joiners, soft hyphens
            return False, False
        case "Mn" | "Mc" | "Me":  # marks on a symbol that is no letter, as in some emoji
            return _is_word(before), True
        case "So" | "Sk":  # emoji, flags (of two symbols), skin tones
            return _category(before) not in ("So", "Sk", "Mn"), True
        case "Sc":  # $5 and €5, but 5 € a piece
            return True, not (word in _TIGHT_AFTER or after[:1].isdecimal())
    return True, word not in _TIGHT_AFTER


def _is_word(word: str) -> bool:
    """Return whether ``word`` is one of letters, or an unknown one of several symbols."""
    return len(word) > 1 or word.isalnum()


def _category(word: str) -> str:
    """Return the Unicode category of a single symbol, and "" for a longer word."""
    return category(word) if len(word) == 1 else ""


def _inside_number(before: str, mark: str, after: str) -> bool:
    """Return whether ``mark`` is inside a number or a time: 3.14, 12:30, 1,000."""
    if not (before.isdecimal() and after.isdecimal()):
        return False
    return mark in (".", ":") or (mark == "," and len(before) <= 3 and len(after) == 3)
