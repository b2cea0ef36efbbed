"""Clean pieces of text -> ids with their boundaries, and what is not in the vocabulary.

Imports no jax.
"""

from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from mm_jax.config.base import InputError
from mm_jax.data.items import Meter
from mm_jax.data.vocab import Vocab

NEWLINE = -2  # stands for a line break until it is known whether it ends an item
NUM_NAMED = 5  # unknown symbols that a message names
MAX_UNKNOWN = 1000  # of a piece that are looked at for that


class Encoder:
    """Clean pieces of text -> ids with their boundaries, without items that it does not know.

    An item with an unknown symbol is left out and counted; ``error`` says how many there are.
    """

    def __init__(self, vocab: Vocab, items: str) -> None:
        self.vocab, self.items = vocab, items
        self.num_items = self.num_tokens = 0  # that were seen
        self.num_affected = 0  # items, or tokens of a document, that are not known
        self.first = 0  # the number in the file of the first such item
        self.symbols: dict[str, None] = {}  # some of what is not known
        self.dropped: list[np.ndarray] = []  # the places of these items among all
        newline = "\\x0a" if vocab.unit == "byte" else "\n"
        other = -1 if vocab.unknown is None else vocab.unknown
        self.newline, self.other = vocab.ids.get(newline, other), other
        # The id of each byte, and 255 where there is none: ten times as fast as the table below.
        self.ascii_table = b""
        if vocab.unit == "word":
            self.ids_of_words = {**vocab.ids, "\n": NEWLINE}
            return
        codes = np.arange(1, 257) if vocab.unit == "byte" else vocab.table
        self.table = np.full(max(len(codes), 12), -1, np.int32)
        self.table[: len(codes)] = codes
        self.table[ord("\n")] = NEWLINE
        if vocab.unit == "char" and len(vocab) < 256 and items != "paragraph":
            ids = np.full(256, -1)
            ids[: len(self.table)] = self.table[:256]
            ids[ord("\n")] = 0 if items == "line" else self.newline
            self.ascii_table = np.where(ids < 0, 255, ids).astype(np.uint8).tobytes()

    def __call__(self, piece: str, meter: Meter) -> Integer[np.ndarray, " n"]:
        """Return the ids of the items of a piece, each with its boundary.

        ``meter.numbers`` are the places of these items in the file.
        """
        if self.ascii_table and piece.isascii():
            known = piece.encode("ascii").translate(self.ascii_table)
            if b"\xff" not in known:
                ids = np.frombuffer(known, np.uint8)
                self.num_tokens += len(ids)
                self.num_items += len(meter.numbers)
                return ids
        ids, codes = self._ids(piece)
        if self.items == "line":
            ids[ids == NEWLINE] = 0
        elif self.items == "document":
            ids[ids == NEWLINE] = self.newline
        else:
            ids, codes = self._end_paragraphs(ids, codes)
        self.num_tokens += len(ids)
        if len(ids) and ids.min() < 0:
            ids = self._without_unknown(ids, codes, meter)
        self.num_items += len(meter.numbers)
        return ids.astype(self.vocab.dtype)

    def error(self, path: Path, hint: str = "") -> InputError:
        """Return the error that says how much is not known."""
        what = "words" if self.vocab.unit == "word" else "symbols"
        named = ", ".join(map(repr, list(self.symbols)[:NUM_NAMED]))
        more = ", ..." * (len(self.symbols) > NUM_NAMED)
        if self.items == "document":
            return InputError(
                f"{path}: {self.num_affected:,} of {self.num_tokens:,} {what} are not in the "
                f"vocabulary: {named}{more}"
            )
        contain = "contains" if self.num_affected == 1 else "contain"
        return InputError(
            f"{path}: {self.num_affected:,} of {self.num_items:,} {self.items}s {contain} {what} "
            f"that are not in the vocabulary, {named}{more}; the first is {self.items} "
            f"{self.first:,}{hint}"
        )

    def _ids(self, piece: str) -> tuple[np.ndarray, Any]:
        """Return the ids of a piece, and what they stand for: words, or code points."""
        if self.vocab.unit == "word":
            words = self.vocab.tokenizer.split(piece)
            found = map(self.ids_of_words.get, words, repeat(self.other))
            return np.fromiter(found, np.int32, len(words)), words
        if piece.isascii():
            codes = np.frombuffer(piece.encode("ascii"), np.uint8)
        elif self.vocab.unit == "byte":
            codes = np.frombuffer(piece.encode("latin-1"), np.uint8)
        else:
            codes = np.frombuffer(piece.encode("utf-32-le"), np.uint32)
        # The last place of the table, which is what code points beyond it get, is unknown.
        return np.take(self.table, codes, mode="clip"), codes

    def _end_paragraphs(self, ids: np.ndarray, codes: Any) -> tuple[np.ndarray, Any]:
        """Make a boundary of each two line breaks."""
        breaks = ids == NEWLINE
        ends = breaks[:-1] & breaks[1:]
        ids[breaks] = self.newline
        ids[:-1][ends] = 0
        kept = np.ones(len(ids), bool)
        kept[1:][ends] = False
        codes = codes[kept] if isinstance(codes, np.ndarray) else np.array(codes, object)[kept]
        return ids[kept], codes

    def _without_unknown(self, ids: np.ndarray, codes: Any, meter: Meter) -> np.ndarray:
        unknown = ids < 0
        for place in np.flatnonzero(unknown)[:MAX_UNKNOWN].tolist():
            if len(self.symbols) <= NUM_NAMED:
                self.symbols[codes[place] if self.vocab.unit == "word" else chr(codes[place])] = (
                    None
                )
        if self.items == "document":
            self.num_affected += int(unknown.sum())
            return ids[~unknown]
        ends = ids == 0
        item_of = np.cumsum(ends) - ends
        affected = np.unique(item_of[unknown])
        if not self.num_affected:
            self.first = meter.numbers[int(affected[0])]
        self.num_affected += len(affected)
        self.dropped.append(affected + self.num_items)
        return ids[~np.isin(item_of, affected)]
