"""A file of any size -> its clean text in pieces, as often as it is needed: the one reader.

UTF-8 with or without a byte order mark; how it is cut into items: items.py. One piece of the file
is in memory. Imports no jax.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.items import (
    BYTE_SPACES,
    SPACES,
    Meter,
    cut_document,
    cut_lines,
    cut_paragraphs,
    cut_rows,
)
from mm_jax.data.plausibility import encoding_hint, refuse_binary
from mm_jax.data.table import table_rows
from mm_jax.runtime.paths import DATA_SETS, find_data

LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
PIECE_BYTES = 2**18  # so that results of one piece stay in the cache of the processor
MARK = "\ufeff"  # a byte order mark; inside a file it is left over from files that were joined


class Stream:
    """The text of a data set or file (see paths.find_data for the names), in clean pieces.

    A file that can be read only once, such as a pipe, is kept in memory; so are bytes that are
    given as ``kept``, for which the name stands in messages only. With ``--unit byte`` the
    symbols of the text are bytes, U+0000 to U+00FF, and nothing is decoded.
    """

    def __init__(
        self,
        data: DataConfig | str | os.PathLike[str],
        piece_bytes: int = PIECE_BYTES,
        kept: bytes | None = None,
    ) -> None:
        self.config = data if isinstance(data, DataConfig) else DataConfig(os.fspath(data))
        self.piece_bytes = piece_bytes
        self.kept: bytes | None
        if kept is not None:
            self.path, self.kept, self.num_bytes = Path(self.config.data), kept, len(kept)
            return
        self.path = find_data(self.config.data)
        try:
            status = self.path.stat()
            regular = stat.S_ISREG(status.st_mode)
            self.kept = None if regular else self.path.read_bytes()
        except OSError as error:
            raise unreadable(self.path, error) from None
        self.stamp = status.st_size, status.st_mtime_ns
        self.num_bytes = status.st_size if self.kept is None else len(self.kept)

    def pieces(self, meter: Meter | None = None) -> Iterator[str]:
        """Yield clean pieces in order; ``meter`` counts and hashes what is read.

        Raise InputError where the file cannot be read, is no text, and where it has changed since
        the stream was made.
        """
        meter = Meter() if meter is None else meter
        try:
            for piece in self._cut(meter):
                yield piece.lower() if self.config.lower else piece
            if self.kept is not None:
                return
            status = self.path.stat()
        except OSError as error:
            raise unreadable(self.path, error) from None
        if self.stamp != (status.st_size, status.st_mtime_ns):
            raise InputError(f"{self.path} has changed while it was read; start again")

    def sha256(self) -> str:
        """Return the hash of the file. Raise InputError where it cannot be read."""
        digest = hashlib.sha256()
        try:
            with self._open() as file:
                while data := file.read(2**20):
                    digest.update(data)
        except OSError as error:
            raise unreadable(self.path, error) from None
        return digest.hexdigest()

    def _cut(self, meter: Meter) -> Iterator[str]:
        config, in_bytes = self.config, self.config.unit == "byte"
        spaces = BYTE_SPACES if in_bytes else SPACES
        if config.column is not None:
            texts = self._decoded(meter)
            rows = table_rows(self.path, texts, config.column, config.weights)
            yield from cut_rows(rows, meter, self.piece_bytes, in_bytes=in_bytes)
            return
        texts = self._as_symbols(meter) if in_bytes else self._decoded(meter)
        if config.items == "line":
            yield from cut_lines(texts, meter, spaces)
        elif config.items == "paragraph":
            yield from cut_paragraphs(texts, meter, spaces)
        elif in_bytes:
            for text in texts:
                meter.num_items = 1
                yield text
        else:
            # What the last letter of a word is as a small one depends on the rest of it.
            yield from cut_document(texts, meter, in_words=config.lower or config.unit == "word")

    def _as_symbols(self, meter: Meter) -> Iterator[str]:
        for data in self._raw(meter):
            yield data.decode("latin-1")

    def _decoded(self, meter: Meter) -> Iterator[str]:
        """Yield the text of the file without byte order marks."""
        offset = 0
        for data in self._raw(meter):
            refuse_binary(self.path, data, offset)
            text = decode_utf8(self.path, data, offset)
            if not text.isascii():
                text = text.removeprefix(MARK * (offset == 0))
                if MARK in text:
                    meter.num_marks += text.count(MARK)
                    text = text.replace(MARK, "")
            offset += len(data)
            yield text

    def _raw(self, meter: Meter) -> Iterator[bytes]:
        """Yield the bytes of whole lines; only the last piece may lack the end of its line.

        A piece of a document ends anywhere between two symbols.
        """
        find_cut = _last_symbol if self.config.items == "document" else _last_line_end
        held: list[bytes] = []
        with self._open() as file:
            while data := file.read(self.piece_bytes):
                if meter.hashes:
                    meter.hash.update(data)
                cut = find_cut(data)
                if not cut:
                    held.append(data)
                    continue
                yield b"".join([*held, data[:cut]])
                held = [data[cut:]] if cut < len(data) else []
        if held:
            yield b"".join(held)

    def _open(self) -> io.RawIOBase | io.BytesIO:
        return io.BytesIO(self.kept) if self.kept is not None else self.path.open("rb", buffering=0)


def _last_line_end(data: bytes) -> int:
    """Return the place behind the last line that ends in ``data``."""
    # A \r at the very end may be half of \r\n, so it waits for the next piece.
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1


def _last_symbol(data: bytes) -> int:
    """Return the place behind the last symbol of UTF-8 that surely ends in ``data``."""
    for place in range(len(data) - 1, max(-1, len(data) - 5), -1):
        if data[place] < 0x80:
            return place + 1
        if data[place] >= 0xC0:  # it begins a symbol, which may go on in the next piece
            return place
    return len(data) if len(data) >= 4 else 0  # less may be a part of a symbol that goes on


def decode_utf8(path: Path, data: bytes, offset: int = 0) -> str:
    """Decode the bytes of a file from byte ``offset`` on. Raise InputError with the position."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {offset + error.start} (0x{data[error.start]:02x})"
        raise InputError(f"{path} is not UTF-8 at {byte}; {encoding_hint(data)}") from None


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be read."""
    missing = error.errno == errno.ENOENT
    hint = f" (--data takes a path, or {', '.join(DATA_SETS)})" if missing else ""
    return InputError(f"cannot read {path}: {error.strerror or error}{hint}")


def check_lecture_file(name: str, path: Path, sha256: str) -> None:
    """Raise InputError where lecture-names is another file than the lectures' own."""
    if name == "lecture-names" and sha256 != LECTURE_SHA256:
        raise InputError(f"{path} is not the lecture's names.txt: its sha256 is {sha256}")


def check_not_empty(path: Path, num_items: int, num_raw: int) -> None:
    """Raise InputError where a file has only blank lines."""
    if not num_items:
        what = f"{num_raw} blank lines and nothing else" if num_raw else "nothing in it"
        raise InputError(f"{path} has {what}; there is nothing to learn from")
