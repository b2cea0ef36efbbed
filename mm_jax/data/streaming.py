"""A file of any size -> its clean lines in pieces, as often as they are needed.

The rules of cleaning and splitting are those of data/text.py and data/splits.py. One piece of the
file is in memory, and for a split about 30 bytes per line. Imports no jax.
"""

import array
import hashlib
import io
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.splits import split_ends
from mm_jax.data.text import (
    BOUNDARY,
    check_lecture_file,
    check_not_empty,
    clean,
    decode_utf8,
    unreadable,
)
from mm_jax.data.vocab import Vocab, build_vocab
from mm_jax.runtime.paths import find_data

PIECE_BYTES = 2**18  # so that results of one piece stay in the cache of the processor
BOM = b"\xef\xbb\xbf"
SPACES = [chr(code) for code in range(0x3001) if chr(code).isspace() and code != ord("\n")]
TRAIN, DEV, TEST, DROPPED = range(4)


class Stream:
    """The lines of a data set or file (see paths.find_data for the names).

    A file that can be read only once, such as a pipe, is kept in memory.
    """

    def __init__(self, name: str | os.PathLike[str], piece_bytes: int = PIECE_BYTES) -> None:
        self.name, self.path = os.fspath(name), find_data(os.fspath(name))
        self.piece_bytes = piece_bytes
        try:
            status = self.path.stat()
            regular = stat.S_ISREG(status.st_mode)
            self.kept = None if regular else self.path.read_bytes()
        except OSError as error:
            raise unreadable(self.path, error) from None
        self.stamp = status.st_size, status.st_mtime_ns
        self.num_bytes = status.st_size if self.kept is None else len(self.kept)

    def _open(self) -> io.RawIOBase | io.BytesIO:
        return io.BytesIO(self.kept) if self.kept is not None else self.path.open("rb", buffering=0)

    def _raw(self) -> Iterator[bytes]:
        """Yield the bytes of whole lines; only the last piece may lack the end of its line."""
        held: list[bytes] = []
        with self._open() as file:
            while data := file.read(self.piece_bytes):
                # A \r at the very end may be half of \r\n, so it waits for the next piece.
                cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
                if not cut:
                    held.append(data)
                    continue
                yield b"".join([*held, data[:cut]])
                held = [data[cut:]] if cut < len(data) else []
        if held:
            yield b"".join(held)

    def pieces(self, meter: "Meter | None" = None) -> Iterator[str]:
        """Yield pieces of clean lines in order, each line ended by a newline.

        A ``meter`` counts and hashes what is read. Raise InputError where text.read_lines does, and
        where the file has changed since the stream was made.
        """
        offset, metered = 0, meter is not None
        meter = meter or Meter()
        try:
            for data in self._raw():
                if metered:
                    meter.hash.update(data)
                marked = offset == 0 and data.startswith(BOM)
                decoded = decode_utf8(self.path, data, offset).removeprefix("\ufeff" * marked)
                offset += len(data)
                if decoded and not decoded.endswith(("\n", "\r")):
                    decoded += "\n"
                if _is_clean(decoded):
                    num_raw = num_lines = decoded.count("\n")
                else:
                    lines, _, num_raw = clean(self.path, decoded, meter.num_raw)
                    num_lines, decoded = len(lines), "".join(line + "\n" for line in lines)
                meter.num_raw += num_raw
                meter.num_lines += num_lines
                if decoded:
                    yield decoded
            status = self.path.stat()
        except OSError as error:
            raise unreadable(self.path, error) from None
        if self.kept is None and self.stamp != (status.st_size, status.st_mtime_ns):
            raise InputError(f"{self.path} has changed while it was read; start again")


class Meter:
    """The hash and the number of lines of what ``Stream.pieces`` has read."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.num_raw = self.num_lines = 0


def _is_clean(text: str) -> bool:
    """Check whether ``clean`` would change nothing; these searches are twenty times as fast."""
    if not text or "\r" in text or BOUNDARY in text or "\n\n" in text or text[0] == "\n":
        return False
    return not any(
        space in text and (text[0] == space or "\n" + space in text or space + "\n" in text)
        for space in SPACES
    )


class FileSummary(NamedTuple):
    """What one pass over a file finds: its vocabulary, its lines and their splits."""

    path: Path
    vocab: Vocab
    num_lines: int  # without blank ones
    num_blank: int
    sha256: str
    split_of: UInt8[np.ndarray, " lines"] | None  # TRAIN, DEV, ... of each line; None: all TRAIN
    dev_lines_in_train: float  # the share of dev that is in train too

    @property
    def split_lines(self) -> list[int]:
        """The number of lines in train, dev and test."""
        if self.split_of is None:
            return [self.num_lines, 0, 0]
        return np.bincount(self.split_of, minlength=4)[:3].tolist()

    @property
    def record(self) -> dict[str, Any]:
        """What config.json keeps of the data; the same as ``Dataset.record``."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "num_lines": self.num_lines,
            "num_blank": self.num_blank,
            "split_lines": self.split_lines,
            "dev_lines_in_train": self.dev_lines_in_train,
        }


def summarize_file(stream: Stream, config: DataConfig) -> FileSummary:
    """Read all lines once: their symbols, and the split of each (as splits.split_lines has it).

    Equal lines are found by their 64-bit hashes; with ``split="none"`` nothing is kept of a line.
    Raise InputError where text.read_lines does.
    """
    meter, symbols, hashes = Meter(), {BOUNDARY}, array.array("q")
    known = bytearray(b"\n")
    for text in stream.pieces(meter):
        # Deleting all known symbols leaves the new ones: mostly nothing.
        new = set(text.encode("ascii").translate(None, known).decode() if text.isascii() else text)
        symbols |= new
        known += "".join(symbol for symbol in new if symbol.isascii()).encode()
        if config.split != "none":
            hashes.extend(map(hash, text[:-1].split("\n")))
    check_not_empty(stream.path, meter.num_lines, meter.num_raw)
    sha256 = meter.hash.hexdigest()
    check_lecture_file(stream.name, stream.path, sha256)
    vocab = build_vocab(symbols - {"\n"})
    split_of, shared = None, 0.0
    if config.split != "none":
        lines = np.frombuffer(hashes, np.int64)
        try:
            split_of = _assign(lines, config)
        except InputError as error:
            raise InputError(f"{stream.path}: {error}") from None
        shared = float(np.isin(lines[split_of == DEV], lines[split_of == TRAIN]).mean())
    num_blank = meter.num_raw - meter.num_lines
    return FileSummary(stream.path, vocab, meter.num_lines, num_blank, sha256, split_of, shared)


def _assign(lines: Int64[np.ndarray, " lines"], config: DataConfig) -> UInt8[np.ndarray, " lines"]:
    """Return the split of each line, as split_lines has it, which shuffles by index alone."""
    kept = np.arange(len(lines))
    if config.split == "unique":
        kept = np.sort(np.unique(lines, return_index=True)[1])
    first, second = split_ends(len(kept))
    indices = array.array("Q", range(len(kept)))
    random.Random(config.split_seed).shuffle(indices)
    shuffled = kept[np.frombuffer(indices, np.uint64)]
    split_of = np.full(len(lines), DROPPED, np.uint8)
    split_of[shuffled[:first]] = TRAIN
    split_of[shuffled[first:second]] = DEV
    split_of[shuffled[second:]] = TEST
    return split_of
