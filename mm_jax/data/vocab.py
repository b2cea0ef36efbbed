"""Text <-> ids of tokens: characters (code points), bytes, or words. Imports no jax.

Id 0 is the boundary, which is no symbol of any text; the other symbols follow in sorted order, and
last, where rare words were merged, the unknown word.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int, Int32

from mm_jax.config.base import InputError
from mm_jax.data.word_tokens import WordTokenizer

# The first that is no symbol of the data shows where items begin and end.
BOUNDARIES = (*".↵␄¶␃␞", "\ue000")
UNKNOWN = "<unk>"  # no word: it has three tokens
PLAIN = WordTokenizer()  # words as they stand in the text
BYTE_SYMBOLS = tuple(chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in range(256))


class SymbolError(InputError):
    """A symbol is not in the vocabulary; ``index`` is that of its line in the list."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


@dataclasses.dataclass(frozen=True)
class Vocab:
    """The symbols in the order of their ids, and what a symbol is: the tokenizer.

    ``symbols[0]`` is how the boundary is shown.
    """

    symbols: tuple[str, ...]
    unit: str = "char"  # char, byte or word
    lower: bool = False  # whether text is made small letters first
    merge_numbers: bool = False  # these two: as WordTokenizer has them
    sentence_ends: bool = False

    def __len__(self) -> int:
        """Return V, the boundary included."""
        return len(self.symbols)

    @cached_property
    def tokenizer(self) -> WordTokenizer:
        """How text becomes words, where these are the tokens."""
        return WordTokenizer(self.merge_numbers, self.sentence_ends)

    @cached_property
    def unknown(self) -> int | None:
        """The id of the unknown word; None where every token has to be known."""
        is_merged = self.unit == "word" and self.symbols[-1] == UNKNOWN
        return len(self.symbols) - 1 if is_merged else None

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each symbol but the boundary."""
        return {symbol: i for i, symbol in enumerate(self.symbols) if i}

    @cached_property
    def table(self) -> Int32[np.ndarray, " codepoints"]:
        """The id of each code point up to the highest known one, and one more; -1: unknown."""
        codes = [ord(symbol) for symbol in self.symbols[1:]]
        table = np.full(max(codes, default=0) + 2, -1, np.int32)
        table[codes] = np.arange(1, len(self.symbols), dtype=np.int32)
        return table

    @property
    def dtype(self) -> Any:
        """The smallest type that holds all ids: uint8, uint16 or int32."""
        return np.uint8 if len(self) <= 2**8 else np.uint16 if len(self) <= 2**16 else np.int32

    def split(self, text: str) -> Sequence[str]:
        """Return the tokens of text as strings."""
        if self.unit == "byte":
            return [BYTE_SYMBOLS[byte] for byte in utf8(text)]
        text = text.lower() if self.lower else text
        return self.tokenizer.split(text) if self.unit == "word" else text

    def join(self, ids: Iterable[int]) -> str:
        """Return the text that tokens are; bytes that are no UTF-8 become U+FFFD."""
        if self.unit == "byte":
            return bytes(i - 1 for i in ids).decode("utf-8", "replace")
        symbols = [self.symbols[i] for i in ids]
        return self.tokenizer.join(symbols) if self.unit == "word" else "".join(symbols)

    def spell(self, ids: Iterable[int]) -> str:
        """Return tokens as they are shown one by one, boundaries included."""
        between = " " if self.unit == "word" else ""
        return between.join(self.symbols[i] for i in ids)


class Encoded(NamedTuple):
    """Many lines as one array of ids, one line after another, and the length of each."""

    ids: Int32[np.ndarray, " symbols"]
    lengths: Int[np.ndarray, " lines"]


def utf8(text: str) -> bytes:
    """Return the bytes of text, also of such as came from outside and are no UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def make_vocab(symbols: Iterable[str], unit: str = "char", *, lower: bool = False) -> Vocab:
    """Return the vocabulary of distinct symbols, in their sorted order."""
    known = sorted(symbols)
    boundary = next(each for each in BOUNDARIES if each not in {*known})
    return Vocab((boundary, *known), unit, lower)


def byte_vocab() -> Vocab:
    """Return the vocabulary of all bytes: id 1 is byte 0."""
    return Vocab(("↵", *BYTE_SYMBOLS), "byte")


def word_vocab(
    counts: Mapping[str, int],
    min_count: int = 1,
    *,
    lower: bool = False,
    tokenizer: WordTokenizer = PLAIN,
) -> Vocab:
    """Return the vocabulary of counted words; rarer ones than ``min_count`` are the unknown one.

    Raise InputError where all words are rarer.
    """
    often = [word for word, count in counts.items() if count >= min_count]
    if counts and not often:
        word = max(counts, key=lambda word: (counts[word], word))
        times = "once" if counts[word] == 1 else f"{counts[word]:,} times"
        raise InputError(
            f"no word occurs {min_count:,} times, as --min-count asks; the most frequent one, "
            f"{word!r}, occurs {times}"
        )
    symbols = make_vocab(often).symbols
    return Vocab((*symbols, *[UNKNOWN] * (min_count > 1)), "word", lower, *tokenizer)


def build_vocab(
    lines: Iterable[str],
    unit: str = "char",
    *,
    min_count: int = 1,
    lower: bool = False,
    merge_numbers: bool = False,
    sentence_ends: bool = False,
) -> Vocab:
    """Return the vocabulary of ``lines``: the boundary, then the sorted set of symbols.

    ``unit`` is char, byte or word; words that occur less often than ``min_count`` become one
    unknown word, the last id. With ``lower`` all letters are small. Of words, with
    ``merge_numbers`` each number is "<num>", and with ``sentence_ends`` "</s>" follows a sentence.
    Raise InputError for another unit, and where all words are rarer than ``min_count``.

    >>> build_vocab(["emma", "ava"]).symbols
    ('.', 'a', 'e', 'm', 'v')
    >>> build_vocab(["the cat saw the dog"], "word", min_count=2).symbols
    ('.', 'the', '<unk>')
    """
    if unit == "byte":
        return byte_vocab()
    if unit not in ("char", "word"):
        raise InputError(f"unknown unit {unit!r}; choose char, byte or word")
    if lower:
        lines = (line.lower() for line in lines)
    if unit == "char":
        return make_vocab(set().union(*lines), lower=lower)
    counts: Counter[str] = Counter()
    tokenizer = WordTokenizer(merge_numbers, sentence_ends)
    for line in lines:
        counts.update(tokenizer.split(line))
    return word_vocab(counts, min_count, lower=lower, tokenizer=tokenizer)


def ids_of(vocab: Vocab, text: str) -> Int32[np.ndarray, " tokens"]:
    """Return the ids of text, -1 for each token that is not in the vocabulary."""
    if vocab.unit == "byte":
        return np.frombuffer(utf8(text), np.uint8).astype(np.int32) + 1
    if vocab.lower:
        text = text.lower()
    if vocab.unit == "char":
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return vocab.table[np.minimum(codes, len(vocab.table) - 1)]
    return word_ids(vocab, vocab.tokenizer.split(text))


def word_ids(vocab: Vocab, words: Sequence[str]) -> Int32[np.ndarray, " tokens"]:
    """Return the ids of words: for one that is not in the vocabulary the unknown id, or -1."""
    other = -1 if vocab.unknown is None else vocab.unknown
    return np.fromiter(map(vocab.ids.get, words, repeat(other)), np.int32, len(words))


def encode_lines(vocab: Vocab, lines: Sequence[str]) -> Encoded:
    """Return the ids of all lines, without boundaries.

    Raise SymbolError that names the first unknown symbol, its place, and how many lines have one.
    """
    if vocab.unit == "char" and not vocab.lower:
        ids = ids_of(vocab, "".join(lines))
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    else:
        each = [ids_of(vocab, line) for line in lines]
        ids = np.concatenate(each) if each else np.zeros(0, np.int32)
        lengths = np.fromiter(map(len, each), np.int64, len(lines))
    if (ids < 0).any():
        raise _unknown_symbol(vocab, lines, ids, lengths)
    return Encoded(ids, lengths)


def _unknown_symbol(
    vocab: Vocab, lines: Sequence[str], ids: np.ndarray, lengths: np.ndarray
) -> SymbolError:
    places, ends = np.flatnonzero(ids < 0), np.cumsum(lengths)
    affected = np.unique(np.searchsorted(ends, places, side="right"))
    index = int(affected[0])
    place = int(places[0] - (ends[index] - lengths[index]))
    symbol, what = vocab.split(lines[index])[place], "word" if vocab.unit == "word" else "symbol"
    found = f"{what} {symbol!r} at place {place + 1} of {lines[index]!r}"
    if len(affected) == 1:
        return SymbolError(f"{found} is not in the vocabulary", index)
    return SymbolError(
        f"{len(affected):,} of {len(lines):,} lines contain a {what} that is not in the "
        f"vocabulary; the first is {found}",
        index,
    )


def unknown_words(vocab: Vocab, lines: Iterable[str]) -> list[str]:
    """Return the words of lines that are read as the unknown word, where there is one.

    >>> unknown_words(build_vocab(["the the cat"], "word", min_count=2), ["the dog", "cat"])
    ['dog', 'cat']
    """
    if vocab.unknown is None:
        return []
    known = vocab.ids.keys() - {UNKNOWN}
    return [word for line in lines for word in vocab.split(line) if word not in known]


def encode(vocab: Vocab, line: str) -> Int32[np.ndarray, " symbols"]:
    """Return the ids of one line, without boundaries. Raise SymbolError as encode_lines does.

    >>> encode(build_vocab(["emma", "ava"]), "emma").tolist()
    [2, 3, 3, 1]
    """
    return encode_lines(vocab, [line]).ids


def decode(vocab: Vocab, ids: Iterable[SupportsIndex]) -> str:
    """Return the line with these ids, up to the first boundary.

    >>> decode(build_vocab(["emma", "ava"]), [2, 3, 3, 1, 0, 4])
    'emma'
    """
    before: list[int] = []
    for i in ids:
        if i == 0:
            break
        before.append(i.__index__())
    return vocab.join(before)


def decode_lines(vocab: Vocab, tokens: Int[Any, "lines length"]) -> list[str]:
    """Return the line of each row of ids."""
    return [decode(vocab, row) for row in np.asarray(tokens).tolist()]
