"""All items of a data set as one flat array of ids, in memory or memory-mapped. Imports no jax.

A boundary, then each item and its boundary: every id but the first is a prediction, and what comes
before it, back to the last boundary, is what it is predicted from.
"""

import dataclasses
import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer, UInt64

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.vocab import Vocab, encode_lines

BLOCK_IDS = 2**20  # that are worked on at once, so that memory does not grow with the data
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
MODULUS = 2**64
INVERSE = pow(BASE, -1, MODULUS)


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """The items of a data set as ids: a boundary (0), then each item and its boundary.

    A document is one item without an end: a boundary and its tokens. Ids are uint8, uint16 or
    int32, whatever holds all of the vocabulary.
    """

    ids: Integer[np.ndarray, " n"]
    vocab: Vocab
    weights: Float32[np.ndarray, " items"] | None = None  # of each item; None: all 1
    is_document: bool = False
    block: int = DataConfig.block  # tokens of a document in one example, for models of rows

    @property
    def num_predictions(self) -> int:
        """The number of symbols and ends of items."""
        return len(self.ids) - 1

    @property
    def is_mapped(self) -> bool:
        """Whether the ids stand in a file, of which memory holds what is being read."""
        return isinstance(self.ids, np.memmap)

    @cached_property
    def offsets(self) -> Int64[np.ndarray, " boundaries"]:
        """The place of each boundary: item i is ids[offsets[i] + 1 : offsets[i + 1]]."""
        if self.is_document:
            return np.array([0, len(self.ids)])
        found = []
        for first in range(0, len(self.ids), BLOCK_IDS):
            found.append(np.flatnonzero(self.ids[first : first + BLOCK_IDS] == 0) + first)
            release(self.ids)
        return np.concatenate(found)

    @cached_property
    def num_items(self) -> int:
        """The number of items; a document is one."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        """Return the number of items."""
        return self.num_items

    @property
    def lengths(self) -> Int64[np.ndarray, " items"]:
        """The number of tokens of each item."""
        return np.diff(self.offsets) - 1

    @cached_property
    def longest(self) -> int:
        """The number of tokens of the longest item."""
        return int(self.lengths.max(initial=0))

    @property
    def symbol_counts(self) -> Int64[np.ndarray, " V"]:
        """How often each symbol is to be predicted."""
        counts = np.zeros(len(self.vocab), np.int64)
        for first in range(1, len(self.ids), BLOCK_IDS):
            part = self.ids[first : first + BLOCK_IDS]
            counts += np.bincount(part, minlength=len(counts))
            release(self.ids)
        return counts

    @cached_property
    def prediction_weights(self) -> Float32[np.ndarray, " predictions"] | None:
        """The weight of each prediction, that of its item; None where all are 1."""
        return None if self.weights is None else np.repeat(self.weights, self.lengths + 1)

    def items(self) -> list[str]:
        """Return all items as text."""
        starts, ends = self.offsets[:-1] + 1, self.offsets[1:]
        if self.vocab.unit != "char":
            pairs = zip(starts.tolist(), ends.tolist(), strict=True)
            return [self.vocab.join(self.ids[start:end].tolist()) for start, end in pairs]
        taken = {*self.vocab.symbols}
        between = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in taken)
        codes = np.array([*map(ord, (between, *self.vocab.symbols[1:]))], np.uint32)
        text = codes[self.ids[1:]].tobytes().decode("utf-32-le", "surrogatepass")
        return [text] if self.is_document else text.split(between)[:-1]

    def take(self, order: Integer[np.ndarray, " m"]) -> "Corpus":
        """Return these items in this order, in memory."""
        lengths = self.lengths + 1  # with the boundary
        ids = np.zeros(int(lengths[order].sum()) + 1, self.ids.dtype)
        place = 1
        for block in placed(self.ids, self.offsets[:-1] + 1, lengths, order):
            ids[place : place + len(block)] = block
            place += len(block)
        weights = None if self.weights is None else self.weights[order]
        return dataclasses.replace(self, ids=ids, weights=weights)

    def contains(self, lines: Sequence[str]) -> list[bool]:
        """Return for each line whether it is one of the items; no line is a document."""
        if self.is_document:
            return [False] * len(lines)
        hashes = _hashes_of(lines, self.vocab)
        wanted = np.array(sorted({each for each in hashes if each is not None}), np.uint64)
        found = set(wanted[found_among(wanted, self)].tolist())
        return [each in found for each in hashes]


def _hashes_of(lines: Sequence[str], vocab: Vocab) -> list[int | None]:
    """Return the hash of each line; None where a symbol of it is not in the vocabulary."""
    try:
        return item_hashes(encode_corpus(lines, vocab)).tolist()
    except InputError:
        if len(lines) == 1:
            return [None]
    half = len(lines) // 2
    return _hashes_of(lines[:half], vocab) + _hashes_of(lines[half:], vocab)


def as_corpus(data: "Sequence[str] | Corpus", vocab: Vocab | None) -> Corpus:
    """Return a corpus as it is, lines with their vocabulary as one."""
    if isinstance(data, Corpus):
        return data
    if vocab is None:
        raise InputError("give the vocabulary of the lines, or a corpus in their place")
    return encode_corpus(data, vocab)


def release(ids: np.ndarray) -> None:
    """Let go of the memory that holds parts of a mapped file; they are read again if needed."""
    mapping = getattr(ids, "_mmap", None)
    if isinstance(mapping, mmap.mmap):
        mapping.madvise(mmap.MADV_DONTNEED)


def encode_corpus(
    lines: Sequence[str], vocab: Vocab, weights: Sequence[float] | np.ndarray | None = None
) -> Corpus:
    """Return lines as a corpus; ``weights`` are how much the loss of each counts.

    Raise SymbolError where a symbol is not in the vocabulary, InputError for other weights than
    finite numbers of at least 0, one for each line.

    >>> from mm_jax.data.vocab import build_vocab
    >>> encode_corpus(["emma", "ava"], build_vocab(["emma", "ava"])).ids.tolist()
    [0, 2, 3, 3, 1, 0, 1, 4, 1, 0]
    """
    ids, lengths = encode_lines(vocab, lines)
    flat = np.zeros(len(ids) + len(lengths) + 1, vocab.dtype)
    inside = np.ones(len(flat), bool)
    inside[0] = False
    inside[np.cumsum(lengths + 1)] = False
    flat[inside] = ids
    checked = None if weights is None else check_weights(np.asarray(weights), len(lines))
    return Corpus(flat, vocab, checked)


def check_weights(weights: np.ndarray, num_items: int) -> Float32[np.ndarray, " items"]:
    """Return weights as float32. Raise InputError where they cannot weight so many items."""
    if weights.shape != (num_items,):
        raise InputError(f"there are {weights.size:,} weights for {num_items:,} items")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError("a weight must be a finite number of at least 0")
    return weights.astype(np.float32)


def placed(
    ids: Integer[np.ndarray, " n"],
    starts: Int64[np.ndarray, " items"],
    lengths: Int64[np.ndarray, " items"],
    order: Integer[np.ndarray, " m"],
) -> Iterator[Integer[np.ndarray, " block"]]:
    """Yield the ids of items in this order, in blocks of about BLOCK_IDS ids.

    Item i is ids[starts[i] : starts[i] + lengths[i]].
    """
    ends = np.cumsum(lengths[order])
    first = 0
    while first < len(order):
        begin = ends[first] - lengths[order[first]]
        last = max(first + 1, int(np.searchsorted(ends, begin + BLOCK_IDS, "right")))
        some = order[first:last]
        counts = lengths[some]
        before = ends[first:last] - counts - begin
        places = np.repeat(starts[some] - before, counts) + np.arange(counts.sum())
        yield ids[places]
        first = last


def item_hashes(corpus: Corpus) -> UInt64[np.ndarray, " items"]:
    """Return a number of 64 bits for each item: the same for equal ones, for others hardly ever."""
    parts = [hashes for _, hashes in hash_blocks(corpus)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def found_among(
    wanted: UInt64[np.ndarray, " sorted"], corpus: Corpus
) -> Bool[np.ndarray, " sorted"]:
    """Return which of these sorted hashes an item of the corpus has; memory does not grow."""
    found = np.zeros(len(wanted), bool)
    if len(wanted):
        for _, hashes in hash_blocks(corpus):
            place = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
            found[place[wanted[place] == hashes]] = True
    return found


def hash_blocks(
    corpus: Corpus, *, hashed: bool = True
) -> Iterator[tuple[Int64[np.ndarray, " items"], UInt64[np.ndarray, " items"]]]:
    """Yield the lengths in tokens and the hashes of all items, some BLOCK_IDS ids at a time.

    A hash is the sum of a random number for each id times BASE**place, modulo 2**64. Without
    ``hashed`` there are none.
    """
    numbers = np.random.default_rng(0).integers(0, MODULUS, len(corpus.vocab), np.uint64)
    numbers[0] = 0
    count = min(BLOCK_IDS, len(corpus.ids)) if hashed else 0
    powers, inverses = (_powers(base, count) for base in (BASE, INVERSE))
    start, size = 1, BLOCK_IDS
    while start < len(corpus.ids):
        ids = corpus.ids[start : start + size]
        ends = np.flatnonzero(ids == 0)
        if not len(ends):  # one item that is longer than the block
            assert start + size < len(corpus.ids), "a document has no items to tell apart"
            size *= 2
            continue
        starts = np.concatenate([[0], ends[:-1] + 1])
        hashes = np.zeros(0, np.uint64)
        if hashed:
            if ends[-1] >= len(powers):
                longer = int(ends[-1]) + 1
                powers, inverses = (_powers(base, longer) for base in (BASE, INVERSE))
            sums = np.zeros(ends[-1] + 1, np.uint64)
            np.cumsum(numbers[ids[: ends[-1]]] * powers[: ends[-1]], out=sums[1:])
            hashes = (sums[ends] - sums[starts]) * inverses[starts]
        yield ends - starts, hashes
        start, size = start + int(ends[-1]) + 1, BLOCK_IDS
        release(corpus.ids)


def _powers(base: int, count: int) -> UInt64[np.ndarray, " count"]:
    """Return base**0 to base**(count - 1) modulo 2**64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
