"""Whole items one after another in rows of one length: which row each item is in. Imports no jax.

Most items are shorter than the longest one, so that rows of one item each are padded by half and
more. A model begins anew at each boundary, so its predictions are the same in a shared row.
"""

import numpy as np
from jaxtyping import Int64

from mm_jax.config.base import InputError

BLOCK_ITEMS = 2**20  # that are worked on at once


def pack(offsets: Int64[np.ndarray, " boundaries"], row_length: int) -> Int64[np.ndarray, " rows"]:
    """Return where each row begins, and the end: each has as many items as ``row_length`` holds.

    ``offsets`` are the places of the boundaries; item i takes those from offsets[i] up to
    offsets[i + 1]. Items stay in their order. Raises InputError where one is longer than a row.

    >>> pack(np.array([0, 5, 9, 12, 15]), 9).tolist()
    [0, 9, 15]
    """
    too_long = np.diff(offsets) > row_length
    if too_long.any():
        raise InputError(
            f"{too_long.sum():,} of {len(too_long):,} items have more than {row_length - 1} "
            f"symbols, and do not fit in rows of {row_length} tokens: the longest needs "
            f"--row-length {np.diff(offsets).max()}"
        )
    starts, item, num_items = [0], 0, len(offsets) - 1
    block = max(BLOCK_ITEMS, row_length + 1)  # more items than a row can have
    while item < num_items:
        first = item
        ends = offsets[first : first + block + 1]
        # The item that begins the next row, were a row to begin with this one.
        following = np.searchsorted(ends, ends[:-1] + row_length, "right") - 1 + first
        is_sure = (following < first + len(ends) - 1) | (first + len(ends) - 1 == num_items)
        num_sure = int(is_sure.sum())  # the others depend on items of the next block
        jumps = following[:num_sure].tolist()
        while item - first < num_sure:
            item = jumps[item - first]
            starts.append(item)
    return offsets[np.array(starts)]
