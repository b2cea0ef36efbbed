"""A path, or the name of a data set -> its clean lines.

UTF-8 with or without a byte order mark; LF, CRLF or CR ends a line; white space around a line is
removed; blank lines are dropped and counted. A symbol is a Unicode code point. Imports no jax.
"""

import errno
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes
from mm_jax.runtime.paths import find_data

BOUNDARY = "."  # marks the beginning and end of lines in the models, so no line may contain it
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
MEMORY_FACTOR = 6  # bytes of memory per byte of a file while it is read


class Text(NamedTuple):
    """The lines of a file, and what messages and records need to name them."""

    path: Path
    lines: list[str]
    numbers: list[int] | range  # the number of each line in the file, from 1
    num_blank: int
    sha256: str

    def where(self, index: int) -> str:
        """Return file and line number of ``lines[index]``."""
        return f"{self.path}, line {self.numbers[index]}"


def read_lines(name: str | os.PathLike[str] = DataConfig.data) -> Text:
    """Read the lines of a data set or file (see find_data for the names).

    Raise InputError where the file does not exist, is not UTF-8, has only blank lines, or has the
    boundary symbol in a line.
    """
    path = find_data(os.fspath(name))
    try:
        needed, available = MEMORY_FACTOR * path.stat().st_size, memory_bytes()
        if needed > available:
            raise InputError(
                f"{path} takes about {size_text(needed)} of memory to read whole, of "
                f"{size_text(available)}; mm-jax count reads it in pieces"
            )
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    sha256 = hashlib.sha256(data).hexdigest()
    check_lecture_file(os.fspath(name), path, sha256)
    lines, numbers, num_raw = clean(path, decode_utf8(path, data).removeprefix("\ufeff"))
    check_not_empty(path, len(lines), num_raw)
    return Text(path, lines, numbers, num_raw - len(lines), sha256)


def clean(path: Path, decoded: str, before: int = 0) -> tuple[list[str], list[int] | range, int]:
    """Return the lines that are not blank, the number of each in the file, and the count of all.

    ``before`` is the number of lines of the file before ``decoded``.
    """
    raw = decoded.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not raw[-1]:
        raw.pop()  # nothing follows the final newline
    lines = [line.strip() for line in raw]
    numbers: list[int] | range = range(before + 1, before + len(lines) + 1)
    if not all(lines):
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line]
        lines = [line for line in lines if line]
    if BOUNDARY in decoded:
        index = next(i for i, line in enumerate(lines) if BOUNDARY in line)
        raise InputError(
            f"{path}, line {numbers[index]}: {BOUNDARY!r} marks the ends of lines in the models; "
            "remove or replace it"
        )
    return lines, numbers, len(raw)


def decode_utf8(path: Path, data: bytes, offset: int = 0) -> str:
    """Decode the bytes of a file from byte ``offset`` on. Raise InputError with the position."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {offset + error.start} (0x{data[error.start]:02x})"
        raise InputError(
            f"{path} is not UTF-8 at {byte}; convert it, for example with iconv"
        ) from None


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be read."""
    missing = error.errno == errno.ENOENT
    hint = " (--data takes a path, names or lecture-names)" if missing else ""
    return InputError(f"cannot read {path}: {error.strerror or error}{hint}")


def check_lecture_file(name: str, path: Path, sha256: str) -> None:
    """Raise InputError where lecture-names is another file than the lectures' own."""
    if name == "lecture-names" and sha256 != LECTURE_SHA256:
        raise InputError(f"{path} is not the lecture's names.txt: its sha256 is {sha256}")


def check_not_empty(path: Path, num_lines: int, num_raw: int) -> None:
    """Raise InputError where a file has only blank lines."""
    if not num_lines:
        what = f"{num_raw} blank lines and nothing else" if num_raw else "nothing in it"
        raise InputError(f"{path} has {what}; it needs one item per line")


def num_predictions(lines: list[str]) -> int:
    """Return the number of predictions in ``lines``: one per symbol and one per end of line."""
    return sum(map(len, lines)) + len(lines)
