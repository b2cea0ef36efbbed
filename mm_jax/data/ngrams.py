"""N-grams as numbers, and how often each occurs: arrays of keys and counts, or a dense table.

An n-gram is written as one number whose digits in base V are its symbols, the oldest first. A line
has as many n-grams as predictions; before its first symbol are boundaries. Imports no jax.
"""

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from mm_jax.config.base import InputError
from mm_jax.data.vocab import Vocab
from mm_jax.runtime.hardware import memory_bytes

NUM_SPLITS = 2  # train and dev are counted together, so keys need room for two of each


class Counts(NamedTuple):
    """The n-grams that occur, sorted by their numbers, and how often each does."""

    vocab_size: int
    order: int
    keys: Int64[np.ndarray, " ngrams"]
    counts: Int64[np.ndarray, " ngrams"]

    @property
    def total(self) -> int:
        """Number of n-grams, repetitions included."""
        return int(self.counts.sum())

    def lower(self, order: int) -> "Counts":
        """Return the counts of a lower order: summed over the oldest symbols."""
        if order == self.order:
            return self
        keys, counts = sum_by(self.keys % self.vocab_size**order, self.counts)
        return Counts(self.vocab_size, order, keys, counts)

    def contexts(self) -> "Counts":
        """Return how often each context occurs: summed over the newest symbol."""
        keys, counts = sum_by(self.keys // self.vocab_size, self.counts)
        return Counts(self.vocab_size, self.order - 1, keys, counts)

    def find(self, keys: Int64[np.ndarray, " queries"]) -> Int64[np.ndarray, " queries"]:
        """Return how often each of these n-grams occurs."""
        position, occurs = find(self.keys, keys)
        return np.where(occurs, self.counts[position], 0) if len(self.keys) else np.zeros_like(keys)

    def spell(self, key: int, vocab: Vocab) -> str:
        """Return the symbols of an n-gram."""
        powers = self.vocab_size ** np.arange(self.order)[::-1]
        return vocab.spell((int(key) // powers % self.vocab_size).tolist())

    def dense(self) -> Int32[np.ndarray, "..."]:
        """Return a table with one axis of V per symbol. Raise InputError if it is too large."""
        check_fits(self.vocab_size, self.order)
        if len(self.counts) and self.counts.max() > np.iinfo(np.int32).max:
            raise InputError(
                f"an n-gram occurs {self.counts.max():,} times, more than 32 bits can hold"
            )
        table = np.zeros(self.vocab_size**self.order, np.int32)
        table[self.keys] = self.counts
        return table.reshape((self.vocab_size,) * self.order)


def sum_by(
    keys: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return the distinct keys, sorted, and the sum of the values of each."""
    order = np.argsort(keys)
    keys, values = keys[order], values[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])
    return keys[first], np.add.reduceat(values, first) if len(first) else values


def find(
    keys: Int64[np.ndarray, " n"], queries: Int64[np.ndarray, " queries"]
) -> tuple[Int64[np.ndarray, " queries"], Bool[np.ndarray, " queries"]]:
    """Return the position of each query among sorted keys, and whether it is among them."""
    position = np.minimum(np.searchsorted(keys, queries), max(len(keys) - 1, 0))
    return position, keys[position] == queries if len(keys) else np.zeros(len(queries), bool)


def ngram_keys(
    ids: Integer[np.ndarray, " n"], order: int, vocab_size: int
) -> Int64[np.ndarray, " n"]:
    """Return the number of the n-gram that ends at each position; lines end with a 0.

    >>> ngram_keys(np.array([2, 1, 0, 3, 0]), order=2, vocab_size=10).tolist()
    [2, 21, 10, 3, 30]
    """
    keys = ids.astype(np.int64)
    previous = keys
    for distance in range(1, order):
        older = np.zeros_like(keys)
        older[distance:] = ids[:-distance]
        if distance > 1:
            older[previous == 0] = 0  # beyond a boundary is another line
        previous = older
        keys = keys + older * vocab_size**distance
    return keys


def highest_order(vocab_size: int) -> int:
    """Return the highest order whose n-grams 64 bits can number, at most 30."""
    return max(n for n in range(1, 31) if n == 1 or NUM_SPLITS * vocab_size**n < 2**62)


def check_fits(vocab_size: int, order: int) -> None:
    """Raise InputError where a table of ``order`` does not fit in memory; it says which do."""
    if fits(vocab_size, order):
        return
    highest = max((n for n in range(1, order) if fits(vocab_size, n)), default=0)
    which = f"orders 1 to {highest} fit"
    if highest < 2:
        which = "only order 1 fits" if highest else "none fits"
    cells = Decimal(vocab_size) ** order  # may be too large for a float
    size, max_size = (f"{4 * number / 10**9:,.3g} GB" for number in (cells, max_cells()))
    raise InputError(
        f"a table of order {order} has {vocab_size}^{order} = {cells:.3g} counts, {size}; "
        f"at most {max_size} can be used here, so {which}"
    )


def fits(vocab_size: int, order: int) -> bool:
    """Check whether a table of ``order`` fits in memory."""
    return vocab_size**order <= max_cells()


def max_cells() -> int:
    """Return how many counts a table may have: four copies in memory, and 32-bit indices."""
    return min(2**31 - 1, memory_bytes() // (4 * 4))
