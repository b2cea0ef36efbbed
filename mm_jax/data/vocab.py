"""Lines <-> int32 ids: id 0 is the boundary, the other symbols follow in sorted order.

Symbols are Unicode code points, looked up in one table for a whole file at once. Imports no jax.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int, Int32

from mm_jax.config.base import InputError
from mm_jax.data.text import BOUNDARY


class SymbolError(InputError):
    """A symbol is not in the vocabulary; ``index`` is that of its line in the list."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


@dataclasses.dataclass(frozen=True)
class Vocab:
    """The symbols in the order of their ids; ``symbols[0]`` is the boundary."""

    symbols: tuple[str, ...]

    def __len__(self) -> int:
        """Return V, the boundary included."""
        return len(self.symbols)

    @cached_property
    def ids(self) -> Int32[np.ndarray, " codepoints"]:
        """The id of each code point up to the highest known one; -1 for unknown ones."""
        codes = [ord(symbol) for symbol in self.symbols]
        table = np.full(max(codes) + 1, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        table[ord(BOUNDARY)] = -1  # no line may contain it
        return table


class Encoded(NamedTuple):
    """Many lines as one array of ids, one line after another, and the length of each."""

    ids: Int32[np.ndarray, " symbols"]
    lengths: Int[np.ndarray, " lines"]


def build_vocab(lines: Iterable[str]) -> Vocab:
    """Return the vocabulary of ``lines``: the boundary, then the sorted set of symbols.

    >>> build_vocab(["emma", "ava"]).symbols
    ('.', 'a', 'e', 'm', 'v')
    """
    symbols = set().union(*lines) - {BOUNDARY}
    return Vocab((BOUNDARY, *sorted(symbols)))


def encode_lines(vocab: Vocab, lines: Sequence[str]) -> Encoded:
    """Return the ids of all lines, without boundaries.

    Raise SymbolError that names the first unknown symbol and its position.
    """
    codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    table = vocab.ids
    known = codes < len(table)
    ids = np.where(known, table[np.where(known, codes, 0)], np.int32(-1))
    if (ids < 0).any():
        first = int(np.argmax(ids < 0))
        ends = np.cumsum(lengths)
        index = int(np.searchsorted(ends, first, side="right"))
        column = first - int(ends[index] - lengths[index]) + 1
        symbol = chr(codes[first])
        why = "is the boundary" if symbol == BOUNDARY else "is not in the vocabulary"
        raise SymbolError(f"symbol {symbol!r} at place {column} of {lines[index]!r} {why}", index)
    return Encoded(ids, lengths)


def encode(vocab: Vocab, line: str) -> Int32[np.ndarray, " symbols"]:
    """Return the ids of one line, without boundaries.

    >>> encode(build_vocab(["emma", "ava"]), "emma").tolist()
    [2, 3, 3, 1]
    """
    return encode_lines(vocab, [line]).ids


def decode(vocab: Vocab, ids: Iterable[SupportsIndex]) -> str:
    """Return the line with these ids, up to the first boundary.

    >>> decode(build_vocab(["emma", "ava"]), [2, 3, 3, 1, 0, 4])
    'emma'
    """
    symbols = []
    for i in ids:
        if i == 0:
            break
        symbols.append(vocab.symbols[i])
    return "".join(symbols)


def decode_lines(vocab: Vocab, tokens: Int[Any, "lines length"]) -> list[str]:
    """Return the line of each row of ids."""
    return [decode(vocab, row) for row in np.asarray(tokens).tolist()]
