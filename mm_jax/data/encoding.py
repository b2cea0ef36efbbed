"""A file -> a corpus: once through it for the vocabulary, once more for the ids. Imports no jax."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import Corpus
from mm_jax.data.items import Meter
from mm_jax.data.streaming import Stream, check_lecture_file, check_not_empty
from mm_jax.data.table import looks_like_a_table
from mm_jax.data.vocab import Vocab, byte_vocab, make_vocab, word_vocab
from mm_jax.data.words import split_words
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes

NEWLINE = -2  # stands for a line break until it is known whether it ends an item
NUM_NAMED = 5  # unknown symbols that a message names
MAX_UNKNOWN = 1000  # of a piece that are looked at for that


class FileInfo(NamedTuple):
    """What reading a file once has found."""

    path: Path
    sha256: str
    vocab: Vocab
    num_items: int  # without blank ones
    num_blank: int
    weights: Int64[np.ndarray, " items"] | None  # of each item, where a table has them
    notes: tuple[str, ...]  # what its user should know
    is_document: bool = False


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
        self.ascii_table = (
            b""  # the id of each byte, and 255 where there is none: ten times as fast
        )
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
        """Return the ids of the items of a piece, each with its boundary."""
        if self.ascii_table and piece.isascii():
            known = piece.encode("ascii").translate(self.ascii_table)
            if b"\xff" not in known:
                ids = np.frombuffer(known, np.uint8)
                self.num_tokens += len(ids)
                self.num_items += int(np.count_nonzero(ids == 0)) * (self.items != "document")
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
        elif self.items != "document":
            self.num_items += int((ids == 0).sum())
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
            words = split_words(piece)
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
        self.num_items += int(ends.sum())
        return ids[~np.isin(item_of, affected)]


def summarize_file(stream: Stream, vocab: Vocab | None = None) -> FileInfo:
    """Read a file once: its hash, its items, and its vocabulary, unless one is given.

    Raise InputError where the file cannot be read, has only blank items, or is not the lecture's
    file though it is called so.
    """
    meter, config = Meter(), stream.config
    symbols = _SymbolsSeen(config)
    for piece in stream.pieces(meter):
        if vocab is None:
            symbols.add(piece)
    check_not_empty(stream.path, meter.num_items, meter.num_raw)
    sha256 = meter.hash.hexdigest()
    check_lecture_file(config.data, stream.path, sha256)
    notes = []
    if meter.num_marks:
        marks = "byte order mark" if meter.num_marks == 1 else "byte order marks"
        notes.append(f"{stream.path}: {meter.num_marks:,} {marks} (U+FEFF) inside it left out")
    if config.items == "line" and config.column is None and config.unit != "byte":
        table = looks_like_a_table(meter.first_lines)
        if table is not None:
            notes.append(table.note(stream.path))
    weights = None
    if config.weights is not None:
        weights = np.array(meter.weights, np.int64)
        if not weights.any():
            raise InputError(f"{stream.path}: all weights in {config.weights} are 0")
    return FileInfo(
        stream.path,
        sha256,
        symbols.vocab() if vocab is None else vocab,
        meter.num_items,
        meter.num_blank,
        weights,
        tuple(notes),
        config.items == "document",
    )


class _SymbolsSeen:
    """The distinct symbols, or counted words, of pieces."""

    def __init__(self, config: DataConfig) -> None:
        self.config, self.symbols, self.known = config, set[str](), bytearray()
        self.counts: Counter[str] = Counter()

    def add(self, piece: str) -> None:
        """Take the symbols of a piece."""
        if self.config.items == "paragraph":
            # What stands between them is no symbol.
            piece = piece.replace("\n\n", " " if self.config.unit == "word" else "")
        if self.config.unit == "word":
            self.counts.update(split_words(piece))
        elif self.config.unit == "char":
            new: set[str] | str = piece
            if piece.isascii():  # deleting all known symbols leaves the new ones: mostly nothing
                new = set(piece.encode("ascii").translate(None, self.known).decode())
            self.symbols.update(new)
            self.known = bytearray("".join(s for s in self.symbols if s < "\x80").encode())

    def vocab(self) -> Vocab:
        """Return the vocabulary of all pieces."""
        config = self.config
        if config.unit == "byte":
            return byte_vocab()
        if config.items == "line":
            self.counts.pop("\n", None)
            self.symbols.discard("\n")
        if config.unit == "word":
            return word_vocab(self.counts, config.min_count, lower=config.lower)
        return make_vocab(self.symbols, lower=config.lower)


def encoded_pieces(stream: Stream, encoder: Encoder) -> Iterator[Integer[np.ndarray, " n"]]:
    """Yield the ids of a file piece by piece, each item with its boundary."""
    meter = Meter()
    for piece in stream.pieces(meter):
        yield encoder(piece, meter)


def encode_file(
    stream: Stream, info: FileInfo, *, skip_unknown: bool = False
) -> tuple[Corpus, int]:
    """Return a file as a corpus in memory, and how many of its items were left out.

    Raise InputError where it does not fit in memory, or a symbol is not in the vocabulary; with
    ``skip_unknown`` items with such symbols are left out, unless these are all items.
    """
    encoder = Encoder(info.vocab, stream.config.items)
    corpus = corpus_of(stream, encoder)
    check_encoder(stream, encoder, skip_unknown=skip_unknown)
    weights = info.weights
    if weights is not None:
        if encoder.dropped:
            weights = np.delete(weights, np.concatenate(encoder.dropped))
        corpus = dataclasses.replace(corpus, weights=weights.astype(np.float32))
    return corpus, encoder.num_affected


def corpus_of(stream: Stream, encoder: Encoder) -> Corpus:
    """Return what an encoder makes of a file, all of it in memory. Raise InputError."""
    config, vocab = stream.config, encoder.vocab
    longest = stream.num_bytes + 2  # each token takes at least a byte of the file
    check_fits(stream, np.dtype(vocab.dtype).itemsize * longest)
    ids = np.empty(longest, vocab.dtype)  # what is not written to takes no memory
    ids[0], count = 0, 1
    for each in encoded_pieces(stream, encoder):
        ids[count : count + len(each)] = each
        count += len(each)
    return Corpus(ids[:count], vocab, None, config.items == "document", config.block)


def check_encoder(stream: Stream, encoder: Encoder, *, skip_unknown: bool) -> None:
    """Raise InputError where symbols were not known, unless their items may be left out."""
    skips = skip_unknown and encoder.items != "document"
    if encoder.num_affected and (not skips or encoder.num_affected == encoder.num_items):
        can_skip = not skips and encoder.items != "document"
        raise encoder.error(stream.path, "; --skip-unknown leaves them out" * can_skip)


def check_fits(stream: Stream, needed_bytes: int) -> None:
    """Raise InputError where a file's ids do not fit in memory."""
    available_bytes = memory_bytes()
    if needed_bytes > available_bytes:
        raise InputError(
            f"{stream.path} takes {size_text(needed_bytes)} of memory, of "
            f"{size_text(available_bytes)}"
        )


def read_corpus(
    name: str | os.PathLike[str] = DataConfig.data,
    *,
    items: Literal["line", "paragraph", "document"] = DataConfig.items,
    unit: Literal["char", "byte", "word"] = DataConfig.unit,
    vocab: Vocab | None = None,
    **options: Any,
) -> Corpus:
    """Read a data set or file as a corpus in memory; see find_data for the names.

    ``items`` and ``unit`` say what is learned as a whole and what a token is; ``options`` are the
    other choices of DataConfig: lower, min_count, column, weights, block. With ``vocab``, that of
    another corpus, its tokenizer is used. Raise InputError where the file cannot be read, or a
    symbol is not in ``vocab``.

    >>> len(read_corpus("names"))
    32178
    """
    if vocab is not None:
        unit, options = vocab.unit, {**options, "lower": vocab.lower}  # type: ignore[assignment]
    stream = Stream(DataConfig(os.fspath(name), items=items, unit=unit, **options))
    return encode_file(stream, summarize_file(stream, vocab))[0]
