"""What counting needs to know of a file that it does not keep: the split of each item.

Imports no jax.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt64

from mm_jax.data.corpus import Corpus, item_hashes
from mm_jax.data.encoder import Encoder
from mm_jax.data.encoding import FileInfo, encoded_pieces, summarize_file
from mm_jax.data.splits import (
    DEV,
    DROPPED,
    TRAIN,
    Splits,
    document_ends,
    held_out_items,
    named_errors,
    num_held_out,
    ordered_splits,
)
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab
from mm_jax.data.word_totals import TextTotals, count_words


@dataclasses.dataclass
class FileSummary:
    """A file: its vocabulary, and the split of each item, or where a document is cut."""

    info: FileInfo
    split_of: UInt8[np.ndarray, " items"] | None  # TRAIN, DEV, ... of each; None: all TRAIN
    ends: tuple[int, int] | None = None  # after which tokens train and dev of a document end
    dev_lines_in_train: float = 0.0  # this and the next are known once the items are counted
    longest: int = 0  # tokens of the longest item of train

    @property
    def vocab(self) -> Vocab:
        """Its symbols."""
        return self.info.vocab

    @property
    def has_dev(self) -> bool:
        """Whether items are held out for dev."""
        return self.split_lines[1] > 0

    @property
    def split_lines(self) -> list[int]:
        """The number of items in train, dev and test."""
        if self.ends is not None:
            return [min(1, number) for number in self.split_tokens]
        if self.split_of is None:
            return [self.info.num_items, 0, 0]
        return np.bincount(self.split_of, minlength=4)[:3].tolist()

    @property
    def split_tokens(self) -> list[int]:
        """The number of tokens of a document in train, dev and test."""
        ends = self.ends or (0, 0)
        return np.diff([0, *ends, self.info.num_tokens or 0]).tolist()

    def note_overlap(self, hashes: UInt64[np.ndarray, " items"]) -> None:
        """Take the hashes of all items in their order: which of dev are in train too."""
        if self.split_of is not None:
            dev, train = (hashes[self.split_of == split] for split in (DEV, TRAIN))
            self.dev_lines_in_train = float(np.isin(dev, train).mean())

    @property
    def record(self) -> dict[str, Any]:
        """What config.json keeps of the data; the same as ``Dataset.record``."""
        return self.info.record(self.split_lines, self.dev_lines_in_train, self.longest)


def summarize_splits(stream: Stream) -> FileSummary:
    """Read a file; return its vocabulary and its splits.

    It is read once more to find repeated items, and once more to count the words of each split.
    Raise InputError where summarize_file does, and where there are too few items to split.
    """
    info = summarize_file(stream, all_words=stream.config.counts_words_in_train)
    summary = _split(stream, info)
    if stream.config.unit == "word":
        summary.info = with_totals(stream, summary)
    return summary


def _split(stream: Stream, info: FileInfo) -> FileSummary:
    """Return the splits of a file whose vocabulary is in ``info``."""
    config = stream.config
    with named_errors(info.path):
        if info.is_document:
            first, second = document_ends(info.num_tokens or 0, config.split)
            return FileSummary(info, None, (first, second), longest=first)
        if config.split == "none":
            return FileSummary(info, None)
        splits = _split_items(stream, info)
    return FileSummary(info, _split_of(info, *splits))


def hold_out_of_train(stream: Stream, summary: FileSummary) -> FileSummary:
    """Return a file of which a tenth of train is dev and the rest of it train, and nothing else.

    They are what ``hold_out`` makes of the training items. Raise InputError for too few of them.
    """
    info, config = summary.info, stream.config
    with named_errors(info.path):
        if summary.ends is not None:
            end = summary.ends[0]
            return dataclasses.replace(summary, ends=(end - num_held_out(end, "tokens"), end))
        if config.split == "none":
            train = np.arange(info.num_items)
        else:
            train = _split_items(stream, info).train
        num_held_out(len(train), "lines")
    is_held_out = held_out_items(len(train))
    split_of = _split_of(info, train[~is_held_out], train[is_held_out])
    return dataclasses.replace(summary, split_of=split_of)


def _split_items(stream: Stream, info: FileInfo) -> Splits:
    """Return the numbers of the items of each split, in their order."""
    hashes = hashes_of(stream, info) if stream.config.split == "unique" else None
    return ordered_splits(info.num_items, stream.config.split_seed, hashes)


def _split_of(info: FileInfo, *splits: np.ndarray) -> UInt8[np.ndarray, " items"]:
    """Return the split of each item, from the numbers of the items of each."""
    split_of = np.full(info.num_items, DROPPED, np.uint8)
    for split, items in enumerate(splits):
        split_of[items] = split
    return split_of


def with_totals(stream: Stream, summary: FileSummary) -> FileInfo:
    """Read a file of words once more; return its info with the totals of each split.

    Where only words that train has often are known, the vocabulary is then these. Items of a table
    that have weights have no totals.
    """
    info, config = summary.info, stream.config
    counted = vocab = info.vocab
    found = count_words(stream, counted, summary.split_of, summary.ends)
    if config.counts_words_in_train:
        with named_errors(f"train of {info.path}"):
            vocab = found.frequent_words(counted, config.min_count)
    totals = None if info.weights is not None else found.totals(counted, vocab)
    return info._replace(vocab=vocab, totals=totals)


def summarize(stream: Stream, vocab: Vocab | None = None) -> FileInfo:
    """Read a file as often as is needed for its vocabulary, unless ``vocab`` is given.

    Raise InputError where summarize_splits does.
    """
    if vocab is None and stream.config.unit == "word":
        return summarize_splits(stream).info
    return summarize_file(stream, vocab)


def totals_in_splits(
    stream: Stream, info: FileInfo, splits: Splits
) -> tuple[TextTotals, ...] | None:
    """Return the totals of the splits of a file; None where tokens are no words.

    The file is read once more where ``info`` lacks them, since its vocabulary was given.
    """
    if info.totals is not None or info.weights is not None or stream.config.unit != "word":
        return info.totals
    num_tokens = sum(part.num_predictions for part in splits)
    summary = _split(stream, info._replace(num_tokens=num_tokens))
    found = count_words(stream, info.vocab, summary.split_of, summary.ends)
    return found.totals(info.vocab, info.vocab)


def hashes_of(stream: Stream, info: FileInfo) -> UInt64[np.ndarray, " items"]:
    """Read a file once more; return the hash of each item."""
    encoder = Encoder(info.vocab, stream.config.items)
    return np.concatenate([hash_items(ids, info.vocab) for ids in encoded_pieces(stream, encoder)])


def hash_items(ids: np.ndarray, vocab: Vocab) -> UInt64[np.ndarray, " items"]:
    """Return the hash of each item of a piece, which ends with a boundary."""
    return item_hashes(Corpus(np.concatenate([np.zeros(1, ids.dtype), ids]), vocab))
