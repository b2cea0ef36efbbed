"""A file -> a corpus: once through it for the vocabulary, once more for the ids. Imports no jax."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import Corpus
from mm_jax.data.encoder import Encoder
from mm_jax.data.items import Meter
from mm_jax.data.splits import named_errors
from mm_jax.data.streaming import Stream, check_lecture_file, check_not_empty
from mm_jax.data.table import looks_like_a_table
from mm_jax.data.vocab import Vocab, byte_vocab, make_vocab, word_vocab
from mm_jax.data.word_tokens import WordTokenizer
from mm_jax.data.word_totals import TextTotals, totals_record
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes


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
    num_tokens: int | None = None  # known where the vocabulary was made from them
    totals: tuple[TextTotals, ...] | None = None  # of each split, where they were split into words

    def record(
        self, split_lines: list[int], dev_lines_in_train: float, longest: int
    ) -> dict[str, Any]:
        """Return what config.json keeps of the data; ``longest`` is in tokens, of train."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "num_lines": self.num_items,
            "num_blank": self.num_blank,
            "split_lines": split_lines,
            "dev_lines_in_train": dev_lines_in_train,
            "longest": longest,
            **({} if self.totals is None else totals_record(self.totals)),
        }


def summarize_file(
    stream: Stream, vocab: Vocab | None = None, *, all_words: bool = False
) -> FileInfo:
    """Read a file once: its hash, its items, and its vocabulary, unless one is given.

    With ``all_words`` the vocabulary has also those that occur less often than --min-count. Raise
    InputError where the file cannot be read, has only blank items or rare words, or is not the
    lecture's file though it is called so.
    """
    meter, config = Meter(hashes=True), stream.config
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
    if vocab is None:
        with named_errors(stream.path):
            found = symbols.vocab(1 if all_words else config.min_count)
    return FileInfo(
        stream.path,
        sha256,
        found if vocab is None else vocab,
        meter.num_items,
        meter.num_blank,
        weights,
        tuple(notes),
        config.items == "document",
        symbols.num_tokens if vocab is None else None,
    )


class _SymbolsSeen:
    """The distinct symbols, or counted words, of pieces."""

    def __init__(self, config: DataConfig) -> None:
        self.config, self.symbols, self.known = config, set[str](), bytearray()
        self.tokenizer = WordTokenizer(config.merge_numbers, config.sentence_ends)
        self.counts: Counter[str] = Counter()
        self.num_tokens = 0

    def add(self, piece: str) -> None:
        """Take the symbols of a piece."""
        if self.config.items == "paragraph":
            # What stands between them is no symbol.
            piece = piece.replace("\n\n", " " if self.config.unit == "word" else "")
        if self.config.unit == "word":
            words = self.tokenizer.split(piece)
            self.num_tokens += len(words)
            self.counts.update(words)
            return
        self.num_tokens += len(piece)
        if self.config.unit == "char":
            new: set[str] | str = piece
            if piece.isascii():  # deleting all known symbols leaves the new ones: mostly nothing
                new = set(piece.encode("ascii").translate(None, self.known).decode())
            self.symbols.update(new)
            self.known = bytearray("".join(s for s in self.symbols if s < "\x80").encode())

    def vocab(self, min_count: int) -> Vocab:
        """Return the vocabulary of all pieces. Raise InputError where all words are rarer."""
        config = self.config
        if config.unit == "byte":
            return byte_vocab()
        if config.items == "line":
            self.counts.pop("\n", None)
            self.symbols.discard("\n")
        if config.unit == "word":
            return word_vocab(self.counts, min_count, lower=config.lower, tokenizer=self.tokenizer)
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
    other choices of DataConfig: lower, min_count, merge_numbers, sentence_ends, column, weights,
    block. Words are counted in all of the file, which is not split here. With ``vocab``, that of
    another corpus, its tokenizer is used. Raise InputError where the file cannot be read, or a
    symbol is not in ``vocab``.

    >>> len(read_corpus("names"))
    32178
    """
    if vocab is not None:
        unit, options = vocab.unit, {**options, "lower": vocab.lower}  # type: ignore[assignment]
    stream = Stream(DataConfig(os.fspath(name), items=items, unit=unit, **options))
    return encode_file(stream, summarize_file(stream, vocab))[0]
