"""Lines -> counts of n-grams, in one vectorised pass, or in pieces for a large file.

``count_lines`` takes lines in memory, ``count_stream`` a file of any size, and counts its train and
dev lines apart. Imports no jax.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int32, Int64, Integer

from mm_jax.config.base import InputError
from mm_jax.data.ngrams import NUM_SPLITS, Counts, check_fits, highest_order, ngram_keys, sum_by
from mm_jax.data.streaming import DEV, FileSummary, Stream
from mm_jax.data.vocab import Vocab, encode_lines

MAX_TABLE_CELLS = 2**20  # up to which n-grams are counted in a table, and beyond by sorting
MAX_NGRAMS = 2**23  # distinct n-grams that are held: 0.13 GB, five times that while merging
CHUNK_SYMBOLS = 2**20  # symbols that are counted at once


class Tally:
    """Sum of n-grams that come in pieces: in a table where few are possible, by sorting otherwise.

    Where more than ``max_ngrams`` different ones would have to be held, it falls to a lower order.
    """

    def __init__(
        self, order: int, vocab_size: int, max_ngrams: int | None = None, *, in_table: bool = False
    ) -> None:
        self.order, self.vocab_size = order, vocab_size
        self.max_ngrams = MAX_NGRAMS if max_ngrams is None else max_ngrams
        cells = NUM_SPLITS * vocab_size**order
        self.table = np.zeros(cells, np.int64) if in_table or cells <= MAX_TABLE_CELLS else None
        nothing = np.zeros(0, np.int64)
        self.sums, self.pending = (nothing, nothing), [(nothing, nothing)]
        self.num_pending = 0

    def add(self, keys: Int64[np.ndarray, " n"], split: Integer[np.ndarray, " n"] | int) -> None:
        """Count n-grams of the order that it began with, each in its split (0 or 1)."""
        size = self.vocab_size**self.order
        if self.table is not None:
            self.table += np.bincount(keys + split * size, minlength=len(self.table))
            return
        keys = keys % size + split * size
        self.pending.append(np.unique(keys, return_counts=True))
        self.num_pending += len(self.pending[-1][0])
        if self.num_pending > max(2**20, len(self.sums[0])):
            self._merge()

    def _merge(self) -> None:
        """Add what is pending to the sums; lower the order while there are too many n-grams."""
        keys, counts = map(np.concatenate, zip(self.sums, *self.pending, strict=True))
        self.sums, self.pending, self.num_pending = sum_by(keys, counts), [], 0
        while len(self.sums[0]) > self.max_ngrams:
            size, smaller = self.vocab_size**self.order, self.vocab_size ** (self.order - 1)
            keys, counts = self.sums
            self.sums = sum_by(keys // size * smaller + keys % smaller, counts)
            self.order -= 1

    def result(self) -> list[Counts]:
        """Return the counts of each split."""
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


def count_lines(lines: Sequence[str], vocab: Vocab, order: int) -> Counts:
    """Return the counts of the n-grams of lines.

    Raise InputError where 64 bits cannot number the n-grams of that order, SymbolError as
    encode_lines does.
    """
    if not 1 <= order <= highest_order(len(vocab)):
        highest = highest_order(len(vocab))
        raise InputError(f"{len(vocab):,} symbols can have orders 1 to {highest}, not {order}")
    ids, lengths = encode_lines(vocab, lines)
    tally = Tally(order, len(vocab))
    tally.add(ngram_keys(np.insert(ids, np.cumsum(lengths), 0), order, len(vocab)), 0)
    return tally.result()[0]


def count_ngrams(lines: Sequence[str], vocab: Vocab, order: int = 2) -> Int32[np.ndarray, "..."]:
    """Return how often each n-gram occurs: a table with one axis of V per symbol, oldest first.

    Raise InputError where the table does not fit in memory, SymbolError as encode_lines does.

    >>> from mm_jax.data.vocab import build_vocab
    >>> count_ngrams(["emma"], build_vocab(["emma"]), order=2).tolist()  # rows and columns . a e m
    [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]]
    """
    check_fits(len(vocab), order)
    return count_lines(lines, vocab, order).dense()


def count_stream(
    stream: Stream, summary: FileSummary, order: int, *, in_table: bool = False
) -> list[Counts]:
    """Return the counts of train and of dev; test is not counted.

    Memory is bounded: where there are more than MAX_NGRAMS different n-grams, the counts are of a
    lower order, unless ``in_table`` asks for a table of all possible ones.
    """
    vocab_size, split_of = len(summary.vocab), summary.split_of
    tally, first = Tally(order, vocab_size, in_table=in_table), 0
    for ids, shared in _chunks(stream, summary.vocab, order - 1):
        keys = ngram_keys(ids, order, vocab_size)[shared:]
        if split_of is None:
            tally.add(keys, 0)
            continue
        ends = ids[shared:] == 0
        ended = np.cumsum(ends)
        # A file that has grown has more lines than splits: pieces() says so at its end.
        split = split_of[np.minimum(first + ended - ends, len(split_of) - 1)]
        first += int(ended[-1])
        counted = split <= DEV
        tally.add(keys[counted], split[counted].astype(np.int64))
    return tally.result()


def _chunks(
    stream: Stream, vocab: Vocab, overlap: int
) -> Iterator[tuple[Integer[np.ndarray, " symbols"], int]]:
    """Yield the ids of the whole file in chunks, boundaries included, and their overlap.

    A single line may be longer than a chunk, so a chunk that does not begin a piece starts with the
    last ``overlap`` ids of the one before.
    """
    table = ascii_table(vocab)
    for text in stream.pieces():
        if text.isascii():
            ids = np.frombuffer(text.encode("ascii").translate(table), np.uint8)
        else:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            ids = np.maximum(vocab.ids[np.minimum(codes, len(vocab.ids) - 1)], 0)
        for begin in range(0, len(ids), CHUNK_SYMBOLS):
            shared = min(begin, overlap)
            yield ids[begin - shared : begin + CHUNK_SYMBOLS], shared


def ascii_table(vocab: Vocab) -> bytes:
    """Return the id of each byte for bytes.translate; 0, the boundary's, for a newline."""
    table = bytearray(256)
    for i, symbol in enumerate(vocab.symbols):
        if i and symbol.isascii():
            table[ord(symbol)] = i  # below 128, since sorted symbols begin with those of ASCII
    return bytes(table)
