"""Lines -> how often each n-gram occurs, in one vectorised pass, or in pieces for a large file.

An n-gram is written as one number, its symbols the digits in base V, the oldest first. A line has
as many n-grams as predictions; what comes before its first symbol are boundaries. Imports no jax.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from mm_jax.config.base import InputError
from mm_jax.data.streaming import DEV, FileSummary, Stream
from mm_jax.data.vocab import Vocab, encode_lines
from mm_jax.runtime.hardware import memory_bytes

MAX_TABLE_CELLS = 2**20  # cells up to which n-grams are counted in a table, not by sorting
MAX_NGRAMS = 2**23  # distinct n-grams that are held: 0.13 GB, five times that while they are merged
NUM_SPLITS = 2  # train and dev
CHUNK_SYMBOLS = 2**20  # symbols that are counted at once


class Counts(NamedTuple):
    """The n-grams that occur, in the order of their numbers, and how often each does."""

    vocab_size: int
    order: int
    keys: Int64[np.ndarray, " ngrams"]
    counts: Int64[np.ndarray, " ngrams"]

    @property
    def total(self) -> int:
        """How many n-grams there are, repetitions included."""
        return int(self.counts.sum())

    def lower(self, order: int) -> "Counts":
        """Return the counts of a lower order: the oldest symbols are forgotten."""
        if order == self.order:
            return self
        keys, counts = sum_by(self.keys % self.vocab_size**order, self.counts)
        return Counts(self.vocab_size, order, keys, counts)

    def contexts(self) -> "Counts":
        """Return how often each context occurs: the newest symbol is forgotten."""
        keys, counts = sum_by(self.keys // self.vocab_size, self.counts)
        return Counts(self.vocab_size, self.order - 1, keys, counts)

    def find(self, keys: Int64[np.ndarray, " queries"]) -> Int64[np.ndarray, " queries"]:
        """Return how often each of these n-grams occurs."""
        place, found = find(self.keys, keys)
        return np.where(found, self.counts[place], 0) if len(self.keys) else np.zeros_like(keys)

    def spell(self, key: int, vocab: Vocab) -> str:
        """Return the symbols of an n-gram."""
        powers = self.vocab_size ** np.arange(self.order)[::-1]
        return "".join(vocab.symbols[i] for i in int(key) // powers % self.vocab_size)

    def dense(self) -> Int32[np.ndarray, "..."]:
        """Return a table with an axis of V a symbol. Raises InputError if it is too large."""
        check_fits(self.vocab_size, self.order)
        if len(self.counts) and self.counts.max() > np.iinfo(np.int32).max:
            raise InputError(
                f"an n-gram occurs {self.counts.max():,} times, more than 32 bits hold"
            )
        table = np.zeros(self.vocab_size**self.order, np.int32)
        table[self.keys] = self.counts
        return table.reshape((self.vocab_size,) * self.order)


def sum_by(
    keys: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return the distinct keys in order, and the sum of the values of each."""
    order = np.argsort(keys)
    keys, values = keys[order], values[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])
    return keys[first], np.add.reduceat(values, first) if len(first) else values


def find(
    keys: Int64[np.ndarray, " n"], queries: Int64[np.ndarray, " queries"]
) -> tuple[Int64[np.ndarray, " queries"], Bool[np.ndarray, " queries"]]:
    """Return where each query stands among sorted keys, and whether it does."""
    place = np.minimum(np.searchsorted(keys, queries), max(len(keys) - 1, 0))
    return place, keys[place] == queries if len(keys) else np.zeros(len(queries), bool)


def ngram_keys(
    ids: Integer[np.ndarray, " n"], order: int, vocab_size: int
) -> Int64[np.ndarray, " n"]:
    """Return the number of the n-gram that ends at each place of lines, each ended by a 0.

    >>> ngram_keys(np.array([2, 1, 0, 3, 0]), order=2, vocab_size=10).tolist()
    [2, 21, 10, 3, 30]
    """
    keys = ids.astype(np.int64)
    before = keys
    for place in range(1, order):
        older = np.zeros_like(keys)
        older[place:] = ids[:-place]
        if place > 1:
            older[before == 0] = 0  # what lies beyond a boundary belongs to another line
        before = older
        keys = keys + older * vocab_size**place
    return keys


class Tally:
    """Adds up n-grams that come in pieces, in a table where they are few, by sorting otherwise.

    Where more than ``most`` different ones would have to be held, it goes down to a lower order.
    """

    def __init__(
        self, order: int, vocab_size: int, most: int | None = None, *, in_table: bool = False
    ) -> None:
        self.order, self.vocab_size = order, vocab_size
        self.most = MAX_NGRAMS if most is None else most
        cells = NUM_SPLITS * vocab_size**order
        self.table = np.zeros(cells, np.int64) if in_table or cells <= MAX_TABLE_CELLS else None
        nothing = np.zeros(0, np.int64)
        self.sums, self.pending, self.waiting = (nothing, nothing), [(nothing, nothing)], 0

    def add(self, keys: Int64[np.ndarray, " n"], part: Integer[np.ndarray, " n"] | int) -> None:
        """Count n-grams of the order that it began with, each in its part."""
        size = self.vocab_size**self.order
        if self.table is not None:
            self.table += np.bincount(keys + part * size, minlength=len(self.table))
            return
        keys = keys % size + part * size
        self.pending.append(np.unique(keys, return_counts=True))
        self.waiting += len(self.pending[-1][0])
        if self.waiting > max(2**20, len(self.sums[0])):
            self._merge()

    def _merge(self) -> None:
        keys, counts = map(np.concatenate, zip(self.sums, *self.pending, strict=True))
        self.sums, self.pending, self.waiting = sum_by(keys, counts), [], 0
        while len(self.sums[0]) > self.most:
            size, less = self.vocab_size**self.order, self.vocab_size ** (self.order - 1)
            keys, counts = self.sums
            self.sums = sum_by(keys // size * less + keys % less, counts)
            self.order -= 1

    def result(self) -> list[Counts]:
        """Return the counts of each part."""
        if self.table is not None:
            keys = np.flatnonzero(self.table)
            self.sums = keys, self.table[keys]
        elif self.pending:
            self._merge()
        keys, counts = self.sums
        size = self.vocab_size**self.order
        ends = np.searchsorted(keys, np.arange(NUM_SPLITS + 1) * size)
        return [
            Counts(self.vocab_size, self.order, keys[a:b] % size, counts[a:b])
            for a, b in pairwise(ends.tolist())
        ]


def highest_order(vocab_size: int) -> int:
    """Return the highest order whose n-grams can be numbered with 64 bits, 30 at most."""
    return max(n for n in range(1, 31) if n == 1 or NUM_SPLITS * vocab_size**n < 2**62)


def count_lines(lines: Sequence[str], vocab: Vocab, order: int) -> Counts:
    """Return the counts of the n-grams of lines.

    Raises InputError where so many symbols cannot be numbered in n-grams of that order, SymbolError
    as encode_lines does.
    """
    if not 1 <= order <= highest_order(len(vocab)):
        most = highest_order(len(vocab))
        raise InputError(f"{len(vocab):,} symbols can have orders 1 to {most}, not {order}")
    ids, lengths = encode_lines(vocab, lines)
    tally = Tally(order, len(vocab))
    tally.add(ngram_keys(np.insert(ids, np.cumsum(lengths), 0), order, len(vocab)), 0)
    return tally.result()[0]


def count_ngrams(lines: Sequence[str], vocab: Vocab, order: int = 2) -> Int32[np.ndarray, "..."]:
    """Return how often each n-gram occurs: a table with an axis of V for each symbol, oldest first.

    Raises InputError where the table does not fit in memory, SymbolError as encode_lines does.

    >>> from mm_jax.data.vocab import build_vocab
    >>> count_ngrams(["emma"], build_vocab(["emma"]), order=2).tolist()  # rows and columns . a e m
    [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]]
    """
    check_fits(len(vocab), order)
    return count_lines(lines, vocab, order).dense()


def count_stream(
    stream: Stream, seen: FileSummary, order: int, *, in_table: bool = False
) -> list[Counts]:
    """Return the counts of train and of dev; test is not looked at.

    Memory is bounded: where there are more different n-grams than can be held (MOST), the counts
    are of a lower order, unless a table of all that could be is asked for.
    """
    vocab_size, split_of = len(seen.vocab), seen.split_of
    table = ascii_table(seen.vocab)
    tally, first = Tally(order, vocab_size, in_table=in_table), 0
    for text in stream.pieces():
        if text.isascii():
            ids = np.frombuffer(text.encode("ascii").translate(table), np.uint8)
        else:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            known = seen.vocab.ids
            ids = np.maximum(known[np.minimum(codes, len(known) - 1)], 0)
        for begin in range(0, len(ids), CHUNK_SYMBOLS):  # a single line may be longer
            shared = min(begin, order - 1)
            part_ids = ids[begin - shared : begin + CHUNK_SYMBOLS]
            keys = ngram_keys(part_ids, order, vocab_size)[shared:]
            if split_of is None:
                tally.add(keys, 0)
                continue
            ends = part_ids[shared:] == 0
            ended = np.cumsum(ends)
            # Lines that were not there before are an error, but pieces() says so at its end.
            part = split_of[np.minimum(first + ended - ends, len(split_of) - 1)]
            first += int(ended[-1])
            wanted = part <= DEV
            tally.add(keys[wanted], part[wanted].astype(np.int64))
    return tally.result()


def ascii_table(vocab: Vocab) -> bytes:
    """Return the id of each byte for bytes.translate; 0, the boundary's, for a newline."""
    table = bytearray(256)
    for i, symbol in enumerate(vocab.symbols):
        if i and symbol.isascii():
            table[ord(symbol)] = i  # below 128, since sorted symbols begin with those of ASCII
    return bytes(table)


def check_fits(vocab_size: int, order: int) -> None:
    """Raise InputError where a table of ``order`` does not fit in memory, saying which do."""
    if fits(vocab_size, order):
        return
    most = max((n for n in range(1, order) if fits(vocab_size, n)), default=0)
    which = f"orders 1 to {most} fit" if most > 1 else "only order 1 fits" if most else "none fits"
    cells = Decimal(vocab_size) ** order  # which no float may hold
    size, most_size = (f"{4 * number / 10**9:,.3g} GB" for number in (cells, most_cells()))
    raise InputError(
        f"a table of order {order} has {vocab_size}^{order} = {cells:.3g} counts, {size}; "
        f"at most {most_size} can be worked with here, so {which}"
    )


def fits(vocab_size: int, order: int) -> bool:
    """Tell whether a table of ``order`` can be worked with."""
    return vocab_size**order <= most_cells()


def most_cells() -> int:
    """Return how many counts a table may have: in memory four times, and numbered by 32 bits."""
    return min(2**31 - 1, memory_bytes() // (4 * 4))
