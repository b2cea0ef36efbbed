"""The splits of a mapped corpus, shuffled on the disk: all files are read and written in order.

Each item is first appended to the file of the bucket that its place falls into; then each bucket,
which fits in memory, is put into its order. Imports no jax.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8

from mm_jax.data.corpus import Corpus, hash_blocks, item_hashes, placed
from mm_jax.data.splits import Splits, ordered_splits

BUCKET_BYTES = 2**26
MAX_BUCKETS = 256  # files that are open at once


def write_shuffled(folder: Path, whole: Corpus, scheme: str, seed: int) -> None:
    """Write train.ids, dev.ids and test.ids of a corpus: those that ``split`` would return.

    Raise InputError for too few items.
    """
    lengths = np.concatenate(
        [each.astype(np.int32) + 1 for each, _ in hash_blocks(whole, hashed=False)]
    )  # with the boundary
    hashes = item_hashes(whole) if scheme == "unique" else None
    splits = ordered_splits(len(lengths), seed, hashes)
    del hashes
    size = max(BUCKET_BYTES // whole.ids.itemsize, -(-len(whole.ids) // MAX_BUCKETS))
    starts, split_of = _starts(splits, lengths)
    del splits
    for split, name in enumerate(Splits._fields):
        _write_split(folder, name, whole, lengths, starts, split_of == split, size)


def _starts(
    splits: Splits, lengths: Int32[np.ndarray, " items"]
) -> tuple[Int64[np.ndarray, " items"], UInt8[np.ndarray, " items"]]:
    """Return where each item begins in its split, and which that is; 3: it was dropped."""
    starts, split_of = np.zeros(len(lengths), np.int64), np.full(len(lengths), 3, np.uint8)
    for split, order in enumerate(splits):
        total = 0
        for first in range(0, len(order), 2**20):
            some = order[first : first + 2**20]
            ends = np.cumsum(lengths[some], dtype=np.int64) + total
            starts[some] = ends - lengths[some]
            split_of[some], total = split, int(ends[-1])
    return starts, split_of


def _write_split(
    folder: Path,
    name: str,
    whole: Corpus,
    lengths: Int32[np.ndarray, " items"],
    starts: Int64[np.ndarray, " items"],
    chosen: Bool[np.ndarray, " items"],
    size: int,
) -> None:
    num_buckets = int(starts[chosen].max(initial=0)) // size + 1
    paths = [folder / f"bucket-{i}.ids" for i in range(num_buckets)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for first, last, ids in _item_blocks(whole, lengths):
            buckets = starts[first:last] // size
            for bucket in np.unique(buckets[chosen[first:last]]).tolist():
                mask = chosen[first:last] & (buckets == bucket)
                files[bucket].write(ids[np.repeat(mask, lengths[first:last])].tobytes())
    with (folder / f"{name}.ids").open("wb") as file:
        file.write(np.zeros(1, whole.ids.dtype).tobytes())
        for bucket, path in enumerate(paths):
            mine = np.flatnonzero(chosen & (starts // size == bucket))
            ids, own_lengths = np.fromfile(path, whole.ids.dtype), lengths[mine].astype(np.int64)
            offsets = np.concatenate([[0], np.cumsum(own_lengths)])
            for block in placed(ids, offsets[:-1], own_lengths, np.argsort(starts[mine])):
                file.write(block.tobytes())
            path.unlink()


def _item_blocks(
    whole: Corpus, lengths: Int32[np.ndarray, " items"]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the numbers of the first and last items of blocks, with their ids."""
    first = 0
    place = 1
    for each, _ in hash_blocks(whole, hashed=False):
        last = first + len(each)
        end = place + int(lengths[first:last].sum(dtype=np.int64))
        yield first, last, whole.ids[place:end]
        first, place = last, end
