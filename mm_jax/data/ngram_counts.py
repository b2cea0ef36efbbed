"""Lines -> counts of n-grams, in one vectorised pass, or in pieces for a large file.

``count_lines`` takes lines in memory, ``count_stream`` a file of any size, and counts its train and
dev lines apart. Imports no jax.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, Num

from mm_jax.config.base import InputError
from mm_jax.data.corpus import Corpus, as_corpus, encode_corpus
from mm_jax.data.encoder import Encoder
from mm_jax.data.encoding import encoded_pieces
from mm_jax.data.file_summary import FileSummary, hash_items
from mm_jax.data.ngram_numbers import NUM_SPLITS, Numbering, highest_order, sum_by
from mm_jax.data.ngrams import Counts, check_fits
from mm_jax.data.splits import DEV, TRAIN
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab

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
        self.added = Numbering(vocab_size, order)  # of what is added
        self.max_ngrams = MAX_NGRAMS if max_ngrams is None else max_ngrams
        cells = NUM_SPLITS * vocab_size**order
        self.table = np.zeros(cells, np.int64) if in_table or cells <= MAX_TABLE_CELLS else None
        nothing = np.zeros(0, self.added.dtype)
        self.numbering, self.sums = self.added, (nothing, np.zeros(0, np.int64))
        self.pending, self.num_pending = [self.sums], 0

    @property
    def order(self) -> int:
        """The order that is counted."""
        return self.numbering.order

    def add(
        self,
        keys: Num[np.ndarray, " n"],
        split: Integer[np.ndarray, " n"] | int,
        weights: Float32[np.ndarray, " n"] | Int64[np.ndarray, " n"] | None = None,
    ) -> None:
        """Count n-grams of the order that it began with, each in its split (0 or 1).

        With ``weights``, which are whole numbers, each as often as its weight says.
        """
        if self.table is not None:
            places = self.added.of_split(keys, split) if np.any(split) else keys
            counts = np.bincount(places, weights, minlength=len(self.table))
            self.table += counts.astype(np.int64)
            return
        keys = self.numbering.of_split(self.added.suffix(keys, self.order), split)
        if weights is None:
            self.pending.append(np.unique(keys, return_counts=True))
        else:
            self.pending.append(sum_by(keys, weights.astype(np.int64)))
        self.num_pending += len(self.pending[-1][0])
        if self.num_pending > max(2**20, len(self.sums[0])):
            self._merge()

    def _merge(self) -> None:
        """Add what is pending to the sums; lower the order while there are too many n-grams."""
        keys, counts = map(np.concatenate, zip(self.sums, *self.pending, strict=True))
        self.sums, self.pending, self.num_pending = sum_by(keys, counts), [], 0
        while len(self.sums[0]) > self.max_ngrams:
            (keys, counts), split = self.sums, self.numbering.split(self.sums[0])
            keys = self.numbering.suffix(keys, self.order - 1)
            self.numbering = self.numbering._replace(order=self.order - 1)
            self.sums = sum_by(self.numbering.of_split(keys, split), counts)

    def result(self) -> list[Counts]:
        """Return the counts of each split."""
        if self.table is not None:
            keys = np.flatnonzero(self.table)
            self.sums = keys, self.table[keys]
        elif self.pending:
            self._merge()
        keys, counts = self.sums
        keys, counts = keys[counts > 0], counts[counts > 0]  # a weight may be 0
        splits = np.arange(NUM_SPLITS + 1)
        first = self.numbering.of_split(np.zeros_like(splits, keys.dtype), splits)
        return [
            Counts(
                self.numbering.vocab_size,
                self.order,
                self.numbering.suffix(keys[a:b], self.order),
                counts[a:b],
            )
            for a, b in pairwise(np.searchsorted(keys, first).tolist())
        ]


def count_corpus(corpus: Corpus, order: int) -> Counts:
    """Return the counts of the n-grams of a corpus, those of an item as often as its weight says.

    Raise InputError where there are no numbers for the n-grams of that order.
    """
    vocab_size = len(corpus.vocab)
    if not 1 <= order <= highest_order(vocab_size):
        highest = highest_order(vocab_size)
        raise InputError(f"{vocab_size:,} symbols can have orders 1 to {highest}, not {order}")
    weights = corpus.prediction_weights
    if weights is not None and (weights != np.floor(weights)).any():
        raise InputError("n-grams can be counted with weights that are whole numbers only")
    tally = Tally(order, vocab_size, max_ngrams=len(corpus.ids))
    for first in range(1, len(corpus.ids), CHUNK_SYMBOLS):
        keys = _keys_of(corpus.ids, slice(first, first + CHUNK_SYMBOLS), tally.added)
        each = None if weights is None else weights[first - 1 : first - 1 + CHUNK_SYMBOLS]
        tally.add(keys, 0, each)
    return tally.result()[0]


def count_lines(lines: Sequence[str], vocab: Vocab, order: int) -> Counts:
    """Return the counts of the n-grams of lines.

    Raise InputError where there are no numbers for the n-grams of that order, SymbolError as
    encode_lines does.
    """
    return count_corpus(encode_corpus(lines, vocab), order)


def count_ngrams(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = 2
) -> Int32[np.ndarray, "..."]:
    """Return how often each n-gram occurs: a table with one axis of V per symbol, oldest first.

    ``data`` are lines with their ``vocab``, or a corpus. Raise InputError where the table does not
    fit in memory, SymbolError as encode_lines does.

    >>> from mm_jax.data.vocab import build_vocab
    >>> count_ngrams(["emma"], build_vocab(["emma"]), order=2).tolist()  # rows and columns . a e m
    [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]]
    """
    corpus = as_corpus(data, vocab)
    check_fits(len(corpus.vocab), order)
    return count_corpus(corpus, order).dense()


def count_stream(
    stream: Stream,
    summary: FileSummary,
    order: int,
    *,
    max_ngrams: int | None = None,
    in_table: bool = False,
) -> list[Counts]:
    """Return the counts of train and of dev; test is not counted.

    Memory is bounded: where there are more than ``max_ngrams`` different n-grams, MAX_NGRAMS if it
    is None, the counts are of a lower order, unless ``in_table`` asks for a table of all possible
    ones. Tells the summary what it learns of the items: their longest, and which of dev are in
    train too.
    """
    tally = Tally(order, len(summary.vocab), max_ngrams=max_ngrams, in_table=in_table)
    if summary.ends is not None:
        _count_document(stream, summary, summary.ends, tally)
    else:
        _count_items(stream, summary, tally)
    return tally.result()


def _count_items(stream: Stream, summary: FileSummary, tally: Tally) -> None:
    """Count the n-grams of items, each in its split."""
    vocab, split_of = summary.vocab, summary.split_of
    first, hashes = 0, []
    for ids in encoded_pieces(stream, Encoder(vocab, stream.config.items)):
        lengths = np.diff(np.flatnonzero(ids == 0), prepend=-1)  # with the boundary
        some = slice(first, first + len(lengths))
        first += len(lengths)
        split = weights = None
        if summary.info.weights is not None:
            weights = np.repeat(_resized(summary.info.weights[some], len(lengths)), lengths)
        if split_of is not None:
            hashes.append(hash_items(ids, vocab))
            of_items = _resized(split_of[some], len(lengths))
            split = np.repeat(of_items.astype(np.int64), lengths)
            lengths = lengths[of_items == TRAIN]
        summary.longest = max(summary.longest, int(lengths.max(initial=1)) - 1)
        for begin in range(0, len(ids), CHUNK_SYMBOLS):
            chunk = slice(begin, begin + CHUNK_SYMBOLS)
            keys = _keys_of(ids, chunk, tally.added)
            each = None if weights is None else weights[chunk]
            if split is None:
                tally.add(keys, TRAIN, each)
                continue
            counted = split[chunk] <= DEV
            each = None if each is None else each[counted]
            tally.add(keys[counted], split[chunk][counted], each)
    if hashes:
        summary.note_overlap(np.concatenate(hashes))


def _count_document(
    stream: Stream, summary: FileSummary, ends: tuple[int, int], tally: Tally
) -> None:
    """Count the n-grams of a document, of whose splits each begins anew."""
    order, vocab, place = tally.order, summary.vocab, 0
    before = np.zeros(0, vocab.dtype)  # the ids before a piece that its first n-grams need
    for piece in encoded_pieces(stream, Encoder(vocab, stream.config.items)):
        cuts = [0, *(min(max(0, end - place), len(piece)) for end in ends)]
        for split, (begin, end) in enumerate(pairwise(cuts)):
            if begin == end:
                continue
            if place + begin in (0, ends[0]):
                before = before[:0]
            ids = np.concatenate([before, piece[begin:end]])
            tally.add(tally.added.at_ends(ids)[len(before) :], split)
            before = ids[max(0, len(ids) - order + 1) :]
        place += len(piece)


def _keys_of(ids: np.ndarray, chunk: slice, numbering: Numbering) -> np.ndarray:
    """Return the n-grams that end in a chunk of ids."""
    shared = min(chunk.start, numbering.order - 1)
    return numbering.at_ends(ids[chunk.start - shared : chunk.stop])[shared:]


def _resized(array: np.ndarray, number: int) -> np.ndarray:
    """Return so many; a file that has grown has more items, as pieces() says at its end."""
    return array if len(array) == number else np.resize(array, number)
