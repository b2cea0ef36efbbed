"""How often n-grams occur: arrays of their numbers and counts, or a dense table.

A line has as many n-grams as predictions; before its first symbol are boundaries. Imports no jax.
"""

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, Num

from mm_jax.config.base import InputError
from mm_jax.data.ngram_numbers import Numbering, find, sum_by
from mm_jax.data.vocab import Vocab
from mm_jax.runtime.hardware import memory_bytes


class Counts(NamedTuple):
    """The n-grams that occur, sorted by their numbers, and how often each does."""

    vocab_size: int
    order: int
    keys: Num[np.ndarray, " ngrams"]
    counts: Int64[np.ndarray, " ngrams"]

    @property
    def numbering(self) -> Numbering:
        """How the n-grams are numbered."""
        return Numbering(self.vocab_size, self.order)

    @property
    def total(self) -> int:
        """Number of n-grams, repetitions included."""
        return int(self.counts.sum())

    def lower(self, order: int) -> "Counts":
        """Return the counts of a lower order: summed over the oldest symbols."""
        if order == self.order:
            return self
        keys, counts = sum_by(self.numbering.suffix(self.keys, order), self.counts)
        return Counts(self.vocab_size, order, keys, counts)

    @property
    def context_keys(self) -> Num[np.ndarray, " ngrams"]:
        """The number of the context of each n-gram."""
        return self.numbering.context(self.keys)

    def contexts(self) -> "Counts":
        """Return how often each context occurs: summed over the newest symbol."""
        keys, counts = sum_by(self.context_keys, self.counts)
        return Counts(self.vocab_size, self.order - 1, keys, counts)

    def find(self, keys: Num[np.ndarray, " queries"]) -> Int64[np.ndarray, " queries"]:
        """Return how often each of these n-grams occurs."""
        position, occurs = find(self.keys, keys)
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        return np.where(occurs, self.counts[position], 0)

    def spell(self, key: int | complex | np.number, vocab: Vocab) -> str:
        """Return the symbols of an n-gram, given its number."""
        keys = np.asarray([key], self.numbering.dtype)
        return vocab.spell(self.numbering.symbols(keys)[0].tolist())

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
