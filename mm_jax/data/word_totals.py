"""A file of words, read a second time: how often each split has each word, and its characters.

Enters: the file, a vocabulary of all its words, and the split of each item. Leaves: the words that
train has often, and what each split holds in all. Memory holds a piece of the file. Imports no jax.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from mm_jax.data.encoder import Encoder
from mm_jax.data.items import Meter
from mm_jax.data.splits import DROPPED, TRAIN
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab, word_vocab

RECORDED = {"split_words", "split_unknown", "split_characters"}
CHUNK = re.compile(r"\S*\s|\S+")  # up to the next white space


class TextTotals(NamedTuple):
    """What a split of a file of words holds."""

    predictions: int  # words, and ends of items
    words: int
    unknown: int  # of the words
    characters: int  # code points of the text, line ends included

    @property
    def unknown_rate(self) -> float:
        """The share of words that are unknown; 0 where there are none."""
        return self.unknown / max(1, self.words)


def totals_record(totals: Sequence[TextTotals]) -> dict[str, list[int]]:
    """Return what config.json keeps of the totals of train, dev and test."""
    return {
        "split_words": [each.words for each in totals],
        "split_unknown": [each.unknown for each in totals],
        "split_characters": [each.characters for each in totals],
    }


def recorded_totals(data: Mapping[str, Any], *, is_document: bool) -> list[TextTotals] | None:
    """Return the totals that the data of config.json have; None where tokens are no words.

    So it is of runs that were written before there were totals.
    """
    if not data.keys() >= RECORDED:
        return None
    ends = [0, 0, 0] if is_document else data["split_lines"]
    rows = zip(ends, *(data[name] for name in sorted(RECORDED, reverse=True)), strict=True)
    return [
        TextTotals(number + words, words, unknown, characters)
        for number, words, unknown, characters in rows
    ]


class WordCounts(NamedTuple):
    """How often each word occurs in each split, and the characters of that."""

    counts: Int64[np.ndarray, "splits V"]  # of TRAIN, DEV, TEST and DROPPED; id 0: ends of items
    characters: Int64[np.ndarray, " splits"]

    def frequent_words(self, vocab: Vocab, min_count: int) -> Vocab:
        """Return the vocabulary of words that train has so often. Raise InputError for none."""
        counts = dict(zip(vocab.symbols[1:], self.counts[TRAIN, 1:].tolist(), strict=True))
        return word_vocab(counts, min_count, lower=vocab.lower, tokenizer=vocab.tokenizer)

    def totals(self, counted: Vocab, vocab: Vocab) -> tuple[TextTotals, ...]:
        """Return the totals of train, dev and test in ``vocab``, of ``counted`` words."""
        is_unknown = np.array([word not in vocab.ids for word in counted.symbols])
        if counted.unknown is not None:
            is_unknown[counted.unknown] = True
        is_unknown[0] = False
        return tuple(
            TextTotals(
                int(counts.sum()),
                int(counts[1:].sum()),
                int(counts[is_unknown].sum()),
                int(characters),
            )
            for counts, characters in zip(self.counts[:DROPPED], self.characters, strict=False)
        )


def count_words(
    stream: Stream,
    vocab: Vocab,
    split_of: UInt8[np.ndarray, " items"] | None,
    ends: tuple[int, int] | None = None,
) -> WordCounts:
    """Read a file; return how often each split has each word of ``vocab``, which knows all.

    ``split_of`` has the split of each item, None where all are TRAIN; ``ends`` says after which
    tokens train and dev of a document end. Of its characters, white space goes with the word before
    it, and what stands between two spaces, a part of which is in one split, with the later one.
    """
    counts = np.zeros((DROPPED + 1, len(vocab)), np.int64)
    characters = np.zeros(DROPPED + 1, np.int64)
    items = stream.config.items
    encoder, meter = Encoder(vocab, items), Meter()
    first = 0  # items, or tokens of a document, before this piece
    for piece in stream.pieces(meter):
        ids = encoder(piece, meter)
        if items == "document":
            _add_document(
                counts, characters, vocab, piece, ids, [end - first for end in ends or ()]
            )
            first += len(ids)
            continue
        lengths = np.diff(np.flatnonzero(ids == 0), prepend=-1)  # with the boundary
        splits = np.zeros(len(lengths), np.int64)
        if split_of is not None:  # a file that has grown has more items, as pieces() says later
            some = split_of[first : first + len(lengths)]
            splits = np.resize(some, len(lengths)).astype(np.int64)
        np.add.at(counts, (np.repeat(splits, lengths), ids), 1)
        np.add.at(characters, splits, _item_characters(piece, items))
        first += len(lengths)
    return WordCounts(counts, characters)


def _item_characters(piece: str, items: str) -> Int64[np.ndarray, " items"]:
    """Return the characters of each item of a piece, with the line breaks that end it."""
    if piece.isascii():
        breaks = np.frombuffer(piece.encode("ascii"), np.uint8) == ord("\n")
    else:
        breaks = np.frombuffer(piece.encode("utf-32-le"), np.uint32) == ord("\n")
    if items == "paragraph":
        breaks = np.concatenate([[False], breaks[1:] & breaks[:-1]])
    return np.diff(np.flatnonzero(breaks), prepend=-1)


def _add_document(
    counts: Int64[np.ndarray, "splits V"],
    characters: Int64[np.ndarray, " splits"],
    vocab: Vocab,
    piece: str,
    ids: Any,
    ends: list[int],
) -> None:
    """Add a piece of a document whose first two splits end after so many of its tokens."""
    cuts = [0, *(min(max(0, end), len(ids)) for end in ends), len(ids)]
    places = [0, *(_place_of(vocab, piece, end, len(ids)) for end in ends), len(piece)]
    for split, (begin, end) in enumerate(pairwise(cuts)):
        np.add.at(counts[split], ids[begin:end], 1)
    for split, (begin, end) in enumerate(pairwise(places)):
        characters[split] += end - begin


def _place_of(vocab: Vocab, piece: str, end: int, num_tokens: int) -> int:
    """Return the place in a piece behind the last white space before which ``end`` tokens end."""
    if not 0 <= end < num_tokens:
        return 0 if end < 0 else len(piece)
    place = 0
    for chunk in CHUNK.findall(piece):
        end -= len(vocab.tokenizer.split(chunk))
        if end < 0:
            break
        place += len(chunk)
    return place
