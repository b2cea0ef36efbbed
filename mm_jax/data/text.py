"""A path, or the name of a data set -> its clean lines as Python strings. Imports no jax."""

import os
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.items import Meter
from mm_jax.data.streaming import Stream, check_lecture_file, check_not_empty
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import memory_bytes

MEMORY_FACTOR = 14  # bytes of memory per byte of a file of names whose lines are Python strings


class Text(NamedTuple):
    """The lines of a file, and what messages and records need to name them."""

    path: Path
    lines: list[str]
    num_blank: int
    sha256: str


def read_lines(name: str | os.PathLike[str] = DataConfig.data) -> Text:
    """Read the lines of a data set or file as strings (see find_data for the names).

    A Corpus (read_corpus) takes a tenth of the memory. Raise InputError where the file does not
    exist, is not UTF-8, has only blank lines, or does not fit in memory.
    """
    stream, meter = Stream(name), Meter(hashes=True)
    needed, available = MEMORY_FACTOR * stream.num_bytes, memory_bytes()
    if needed > available:
        raise InputError(
            f"{stream.path} takes about {size_text(needed)} of memory as a list of lines, of "
            f"{size_text(available)}; read_corpus takes a tenth of it"
        )
    lines: list[str] = []
    for piece in stream.pieces(meter):
        lines += piece[:-1].split("\n")
    check_not_empty(stream.path, meter.num_items, meter.num_raw)
    sha256 = meter.hash.hexdigest()
    check_lecture_file(stream.config.data, stream.path, sha256)
    return Text(stream.path, lines, meter.num_blank, sha256)
