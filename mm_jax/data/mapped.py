"""A large file -> memory-mapped corpora in the cache directory, encoded once. Imports no jax.

A folder is named by the sha256 of the data and of the choices that decide ids and splits. It is
written beside its place and renamed, so that it is whole or not there; a second process waits.
Memory does not grow with the file, but for some 20 bytes an item while these are shuffled.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import BinaryIO, NamedTuple

import filelock
import numpy as np
from jaxtyping import Integer

from mm_jax.config.base import InputError
from mm_jax.config.data import WORD_CHOICES, DataConfig
from mm_jax.data.corpus import Corpus, hash_blocks, release
from mm_jax.data.encoder import Encoder
from mm_jax.data.encoding import FileInfo, check_encoder, encoded_pieces
from mm_jax.data.external_shuffle import write_shuffled
from mm_jax.data.file_summary import summarize, totals_in_splits
from mm_jax.data.splits import Splits, document_ends, named_errors, overlap
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab
from mm_jax.data.word_totals import TextTotals
from mm_jax.runtime.atomic_files import check_space, sync_dir
from mm_jax.runtime.half_written import half_written
from mm_jax.runtime.paths import cache_dir

MAPPED_BYTES = 2**28  # of a file, from which on its ids stay on the disk
FORMAT = 2  # of these folders; another one is another folder
META = "corpus.json"
CHOICES = ("items", "unit", "lower", *WORD_CHOICES, "column", "split", "split_seed")


class MappedData(NamedTuple):
    """What ``load_dataset`` makes a Dataset of."""

    info: FileInfo
    splits: Splits
    dev_lines_in_train: float
    num_skipped: int


def corpora_dir() -> Path:
    """Return the folder of all mapped corpora."""
    return cache_dir() / "corpora"


def is_too_large(stream: Stream) -> bool:
    """Check whether the ids of a file stay on the disk: it is large, and can be read again."""
    return stream.kept is None and stream.num_bytes >= MAPPED_BYTES


def map_file(stream: Stream, vocab: Vocab | None, *, skip_unknown: bool = False) -> MappedData:
    """Return the corpora of a file, which is encoded first if that has not been done before.

    Raise InputError where encode_file does, where the disk is too small, and for weights.
    """
    config = stream.config
    if config.weights is not None:
        raise InputError(f"{stream.path} is too large for --weights")
    folder = corpora_dir() / _key(stream, vocab, skip_unknown)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not (folder / META).exists():
                _make(folder, stream, vocab, skip_unknown)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None
    return _load(folder, stream)


def _key(stream: Stream, vocab: Vocab | None, skip_unknown: bool) -> str:
    choices = {name: getattr(stream.config, name) for name in CHOICES}
    given = None if vocab is None else dataclasses.astuple(vocab)
    what = [FORMAT, stream.sha256(), choices, given, skip_unknown]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _make(folder: Path, stream: Stream, vocab: Vocab | None, skip_unknown: bool) -> None:
    advice = "set XDG_CACHE_HOME to another disk"
    check_space(folder.parent, 3 * stream.num_bytes, advice)
    info = summarize(stream, vocab)
    itemsize = np.dtype(info.vocab.dtype).itemsize
    needed = 3 * itemsize * stream.num_bytes
    check_space(folder.parent, needed, advice)
    partial = folder.with_suffix(".part")
    with half_written(partial):
        encoder = Encoder(info.vocab, stream.config.items)
        with (partial / "all.ids").open("wb") as file:
            file.write(np.zeros(1, info.vocab.dtype).tobytes())
            for ids in encoded_pieces(stream, encoder):
                file.write(ids.tobytes())
        check_encoder(stream, encoder, skip_unknown=skip_unknown)
        splits, totals = _split(partial, info, stream.config), info.totals
        if not encoder.num_affected:
            totals = totals_in_splits(stream, info, splits)
        record = {
            "path": str(stream.path),
            "sha256": info.sha256,
            "vocab": dataclasses.astuple(info.vocab),
            "num_items": info.num_items,
            "num_blank": info.num_blank,
            "notes": info.notes,
            "num_tokens": info.num_tokens,
            "totals": totals,
            "num_skipped": encoder.num_affected,
            "splits": [{"num_items": len(part), "longest": part.longest} for part in splits],
            "dev_lines_in_train": overlap(splits.dev, splits.train),
        }
        (partial / META).write_text(json.dumps(record))
        for path in partial.iterdir():
            with path.open("rb") as written:
                os.fsync(written.fileno())
        partial.rename(folder)
        sync_dir(folder.parent)


def _split(partial: Path, info: FileInfo, config: DataConfig) -> Splits:
    """Write the ids of each split; return them, with how many items each has."""
    whole = _mapped(partial / "all.ids", info, config)
    if config.split == "none" or info.is_document:
        ends = [whole.num_predictions] * 2
        if config.split != "none":
            with named_errors(info.path):
                ends = document_ends(whole.num_predictions, config.split)
        limits = zip([0, *ends], [*ends, whole.num_predictions], strict=True)
        for name, (first, end) in zip(Splits._fields, limits, strict=True):
            with (partial / f"{name}.ids").open("wb") as file:
                file.write(whole.ids[:1].tobytes())
                copy(whole.ids, first + 1, end + 1, file)
    else:
        with named_errors(info.path):
            write_shuffled(partial, whole, config.split, config.split_seed)
    del whole
    (partial / "all.ids").unlink()
    parts = [_mapped(partial / f"{name}.ids", info, config) for name in Splits._fields]
    for part in parts:
        number, longest = _count_items(part)
        part.__dict__.update(num_items=number, longest=longest)  # not counted from offsets
    return Splits(*parts)


def copy(ids: Integer[np.ndarray, " n"], first: int, end: int, file: BinaryIO) -> None:
    """Write a range of mapped ids to a file, a little at a time."""
    for place in range(first, end, 2**22):
        file.write(ids[place : min(place + 2**22, end)].tobytes())
        release(ids)


def _count_items(corpus: Corpus) -> tuple[int, int]:
    """Return how many items a corpus has, and the tokens of the longest."""
    if corpus.is_document:
        return 1, corpus.num_predictions
    number, longest = 0, 0
    for lengths, _ in hash_blocks(corpus, hashed=False):
        number, longest = number + len(lengths), max(longest, int(lengths.max(initial=0)))
    return number, longest


def _mapped(path: Path, info: FileInfo, config: DataConfig) -> Corpus:
    ids = np.memmap(path, info.vocab.dtype, "r")
    return Corpus(ids, info.vocab, None, info.is_document, config.block)


def _load(folder: Path, stream: Stream) -> MappedData:
    try:
        record = json.loads((folder / META).read_text())
        symbols, *choices = record["vocab"]
        totals = record["totals"]
        info = FileInfo(
            stream.path,
            record["sha256"],
            Vocab(tuple(symbols), *choices),
            record["num_items"],
            record["num_blank"],
            None,
            tuple(record["notes"]),
            stream.config.items == "document",
            record["num_tokens"],
            None if totals is None else tuple(TextTotals(*each) for each in totals),
        )
        parts = []
        for name, numbers in zip(Splits._fields, record["splits"], strict=True):
            part = _mapped(folder / f"{name}.ids", info, stream.config)
            part.__dict__.update(numbers)  # or they would be counted again
            parts.append(part)
        return MappedData(info, Splits(*parts), record["dev_lines_in_train"], record["num_skipped"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder} is damaged ({error}); remove it: mm-jax data clean") from None


def clean() -> tuple[int, int]:
    """Remove all mapped corpora but those that are being made; return how many and their bytes.

    Raise InputError where they cannot be removed.
    """
    number = size = 0
    for lock in sorted(corpora_dir().glob("*.lock")):
        folder = lock.with_suffix("")
        try:
            with filelock.FileLock(lock, timeout=0):
                for path in (folder, lock.with_suffix(".part")):
                    if path.is_dir():
                        size += sum(file.stat().st_size for file in path.iterdir())
                        shutil.rmtree(path)
                        number += 1
                lock.unlink(missing_ok=True)
        except filelock.Timeout:
            continue
        except OSError as error:
            raise InputError(f"cannot remove {folder}: {error.strerror or error}") from None
    return number, size
