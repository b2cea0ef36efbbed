"""N-grams as numbers that NumPy sorts and finds: how to make them, cut them and read them.

The number of an n-gram has its symbols as digits in base V, the oldest first; before the first
symbol of a line are boundaries. Where 64 bits are too few it is a complex number: its imaginary
part has the newest digits, as many as a float64 holds exactly, and its real part has those before.
NumPy orders complex numbers by their real part and then by their imaginary one. Imports no jax.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer, Num

NUM_SPLITS = 2  # train and dev are counted together, so there are numbers for two of each n-gram


def num_newest(vocab_size: int) -> int:
    """Return how many digits the imaginary part has."""
    return max(n for n in range(1, 31) if n == 1 or NUM_SPLITS * vocab_size**n <= 2**53)


def is_wide(vocab_size: int, order: int) -> bool:
    """Check whether 64 bits are too few for the n-grams of an order."""
    return NUM_SPLITS * vocab_size**order >= 2**62


def highest_order(vocab_size: int) -> int:
    """Return the highest order whose n-grams have numbers, at most 30."""
    most = 2 * num_newest(vocab_size)
    return max(n for n in range(1, 31) if n <= most or not is_wide(vocab_size, n))


class Numbering(NamedTuple):
    """The numbers of the n-grams of one order over V symbols."""

    vocab_size: int
    order: int

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the numbers: int64, or complex128 where 64 bits are too few."""
        return np.dtype(np.complex128 if is_wide(*self) else np.int64)

    @property
    def num_older(self) -> int:
        """How many digits the real part of a complex number has; of an integer all."""
        return self.order - num_newest(self.vocab_size) if is_wide(*self) else self.order

    def at_ends(self, ids: Integer[np.ndarray, " n"]) -> Num[np.ndarray, " n"]:
        """Return the number of the n-gram that ends at each position; lines end with a 0.

        >>> Numbering(10, 2).at_ends(np.array([2, 1, 0, 3, 0])).tolist()
        [2, 21, 10, 3, 30]
        """
        num_newer = self.order - self.num_older
        newer, older = np.zeros((2, len(ids)), np.int64)
        previous = ids.astype(np.int64)
        for distance in range(self.order):
            if distance:
                symbol = np.zeros_like(previous)
                symbol[distance:] = ids[:-distance]
                if distance > 1:
                    symbol[previous == 0] = 0  # beyond a boundary is another line
                previous = symbol
            if distance < num_newer:
                newer += previous * self.vocab_size**distance
            else:
                older += previous * self.vocab_size ** (distance - num_newer)
        return self._join(older, newer)

    def suffix(self, keys: Num[np.ndarray, " n"], order: int) -> Num[np.ndarray, " n"]:
        """Return the number of the ``order`` newest symbols of each n-gram, of any split."""
        if not is_wide(*self):
            return keys % self.vocab_size**order
        older, newer = self._parts(keys)
        if order <= self.order - self.num_older:
            return newer % self.vocab_size**order
        older %= self.vocab_size ** (order - self.order + self.num_older)
        if is_wide(self.vocab_size, order):
            return self._join(older, newer)
        return older * self.vocab_size ** (self.order - self.num_older) + newer

    def context(self, keys: Num[np.ndarray, " n"]) -> Num[np.ndarray, " n"]:
        """Return the number of each n-gram without its newest symbol, of the order below."""
        V = self.vocab_size
        if not is_wide(*self):
            return keys // V
        (older, newer), num_newer = self._parts(keys), self.order - self.num_older
        if not is_wide(V, self.order - 1):
            return older * V ** (num_newer - 1) + newer // V
        return self._join(older // V, older % V * V ** (num_newer - 1) + newer // V)

    def symbol(self, keys: Num[np.ndarray, " n"], age: int) -> Int64[np.ndarray, " n"]:
        """Return one symbol of each n-gram: age 0 is the newest, order - 1 the oldest."""
        older, newer = self._parts(keys)
        num_newer = self.order - self.num_older
        part, place = (newer, age) if age < num_newer else (older, age - num_newer)
        return part // self.vocab_size**place % self.vocab_size

    def symbols(self, keys: Num[np.ndarray, " n"]) -> Int64[np.ndarray, "n order"]:
        """Return the symbols of each n-gram, the oldest first."""
        columns = [self.symbol(keys, age) for age in reversed(range(self.order))]
        return np.stack(columns, -1) if columns else np.zeros((len(keys), 0), np.int64)

    def of_split(
        self, keys: Num[np.ndarray, " n"], split: Integer[np.ndarray, " n"] | int
    ) -> Num[np.ndarray, " n"]:
        """Return the numbers of n-grams of a split, which come after all those of the one before.

        ``keys`` are numbers of the first split.
        """
        return keys + split * self.vocab_size**self.num_older

    def split(self, keys: Num[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Return which split each n-gram is of."""
        return self._parts(keys)[0] // self.vocab_size**self.num_older

    def _join(
        self, older: Int64[np.ndarray, " n"], newer: Int64[np.ndarray, " n"]
    ) -> Num[np.ndarray, " n"]:
        return older + 1j * newer if is_wide(*self) else older

    def _parts(
        self, keys: Num[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Return the older and the newer digits; all digits of an integer are the older ones."""
        if not is_wide(*self):
            return keys, np.zeros_like(keys)
        return keys.real.astype(np.int64), keys.imag.astype(np.int64)


def sum_by(
    keys: Num[np.ndarray, " n"], values: Int64[np.ndarray, " n"]
) -> tuple[Num[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return the distinct keys, sorted, and the sum of the values of each."""
    if (keys[1:] < keys[:-1]).any():  # contexts of sorted n-grams are sorted
        order = np.argsort(keys)
        keys, values = keys[order], values[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])
    return keys[first], np.add.reduceat(values, first) if len(first) else values


def find(
    keys: Num[np.ndarray, " n"], queries: Num[np.ndarray, " queries"]
) -> tuple[Int64[np.ndarray, " queries"], Bool[np.ndarray, " queries"]]:
    """Return the position of each query among sorted keys, and whether it is among them."""
    position = np.minimum(np.searchsorted(keys, queries), max(len(keys) - 1, 0))
    return position, keys[position] == queries if len(keys) else np.zeros(len(queries), bool)
