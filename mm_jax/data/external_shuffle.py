"""The splits of a mapped corpus, shuffled on the disk: all files are read and written in order.

Each item is first appended to the file of the bucket that its place falls into; then each bucket,
which fits in memory, is put into its order. Imports no jax.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt8

from mm_jax.data.corpus import Corpus, hash_blocks, item_hashes, placed
from mm_jax.data.splits import Splits, ordered_splits

BUCKET_BYTES = 2**26
MAX_BUCKETS = 256  # files that are open at once
BLOCK_ITEMS = 2**20  # that are looked at at once


class Places(NamedTuple):
    """Where each item of a corpus goes: 13 bytes an item, which memory has to hold."""

    lengths: Int32[np.ndarray, " items"]  # with its boundary
    split_of: UInt8[np.ndarray, " items"]  # its split; 3: it is dropped
    starts: Int64[np.ndarray, " items"]  # where it begins in its split
    totals: list[int]  # ids of each split

    def bucket(self, split: int, bucket: int, size: int) -> Int64[np.ndarray, " m"]:
        """Return the items that begin in one bucket of a split, in the order of the corpus."""
        found = []
        for first in range(0, len(self.lengths), BLOCK_ITEMS):
            some = slice(first, first + BLOCK_ITEMS)
            chosen = (self.split_of[some] == split) & (self.starts[some] // size == bucket)
            found.append(np.flatnonzero(chosen) + first)
        return np.concatenate(found)


def write_shuffled(folder: Path, whole: Corpus, scheme: str, seed: int) -> None:
    """Write train.ids, dev.ids and test.ids of a corpus: those that ``split`` would return.

    Raise InputError for too few items.
    """
    places = _places(whole, scheme, seed)
    size = max(BUCKET_BYTES // whole.ids.itemsize, -(-len(whole.ids) // MAX_BUCKETS))
    for split, name in enumerate(Splits._fields):
        paths = [folder / f"bucket-{i}.ids" for i in range(places.totals[split] // size + 1)]
        _fill_buckets(paths, whole, places, split, size)
        with (folder / f"{name}.ids").open("wb") as file:
            file.write(np.zeros(1, whole.ids.dtype).tobytes())
            for bucket, path in enumerate(paths):
                items = places.bucket(split, bucket, size)
                lengths, ids = places.lengths[items].astype(np.int64), _read(path, whole)
                order = np.argsort(places.starts[items])
                for block in placed(ids, np.cumsum(lengths) - lengths, lengths, order):
                    file.write(block.tobytes())
                path.unlink()


def _read(path: Path, whole: Corpus) -> Integer[np.ndarray, " n"]:
    return np.fromfile(path, whole.ids.dtype)


def _places(whole: Corpus, scheme: str, seed: int) -> Places:
    lengths = np.concatenate(
        [each.astype(np.int32) + 1 for each, _ in hash_blocks(whole, hashed=False)]
    )
    hashes = item_hashes(whole) if scheme == "unique" else None
    splits = ordered_splits(len(lengths), seed, hashes)
    del hashes
    starts, split_of = np.zeros(len(lengths), np.int64), np.full(len(lengths), 3, np.uint8)
    totals = []
    for split, order in enumerate(splits):
        total = 0
        for first in range(0, len(order), BLOCK_ITEMS):
            some = order[first : first + BLOCK_ITEMS]
            ends = np.cumsum(lengths[some], dtype=np.int64) + total
            starts[some] = ends - lengths[some]
            split_of[some], total = split, int(ends[-1])
        totals.append(total)
    return Places(lengths, split_of, starts, totals)


def _fill_buckets(paths: list[Path], whole: Corpus, places: Places, split: int, size: int) -> None:
    """Append each item of a split to the file of its bucket."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for items, ids in _item_blocks(whole):
            lengths = places.lengths[items]
            buckets = np.where(places.split_of[items] == split, places.starts[items] // size, -1)
            order = np.argsort(buckets, kind="stable")
            sorted_buckets = buckets[order]
            starts = np.cumsum(lengths, dtype=np.int64) - lengths
            for bucket in np.unique(sorted_buckets[sorted_buckets >= 0]).tolist():
                first, last = np.searchsorted(sorted_buckets, [bucket, bucket + 1])
                chosen = order[first:last]
                for block in placed(ids, starts, lengths.astype(np.int64), chosen):
                    files[bucket].write(block.tobytes())


def _item_blocks(whole: Corpus) -> Iterator[tuple[slice, Integer[np.ndarray, " n"]]]:
    """Yield the items of blocks and their ids, each with its boundary."""
    first, place = 0, 1
    for lengths, _ in hash_blocks(whole, hashed=False):
        last, end = first + len(lengths), place + int(lengths.sum()) + len(lengths)
        yield slice(first, last), whole.ids[place:end]
        first, place = last, end
