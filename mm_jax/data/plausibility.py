"""The bytes of a file that should be UTF-8 text -> what they look like, where they are not.

A help for users, not a detector of everything. Imports no jax.
"""

import codecs
from pathlib import Path

from mm_jax.config.base import InputError

SAMPLE_BYTES = 4096  # a multiple of 4
ANY_FILE = "--unit byte reads any file"
MARKS = {  # the mark of UTF-32LE begins with that of UTF-16LE
    "UTF-32LE": codecs.BOM_UTF32_LE,
    "UTF-32BE": codecs.BOM_UTF32_BE,
    "UTF-16LE": codecs.BOM_UTF16_LE,
    "UTF-16BE": codecs.BOM_UTF16_BE,
}
PLACES = {  # of each four bytes: where nearly all are NUL in Latin text, and where hardly any
    "UTF-32LE": ((2, 3), (0,)),
    "UTF-32BE": ((0, 1), (3,)),
    "UTF-16LE": ((1, 3), (0, 2)),
    "UTF-16BE": ((0, 2), (1, 3)),
}
HINTS = {  # by the first bytes
    b"\x1f\x8b": "it looks like a gzip file; unpack it first",
    b"PK\x03\x04": "it looks like a zip file, as .xlsx and .docx are too; unpack it, or save it "
    "as text, first",
    b"\x89PNG\r\n\x1a\n": f"it looks like a PNG image; {ANY_FILE}",
    b"%PDF-": "it looks like a PDF file; extract its text first, for example with pdftotext",
}


def refuse_binary(path: Path, data: bytes, offset: int = 0) -> None:
    """Raise InputError where the bytes of a file, from byte ``offset`` on, have a NUL."""
    first = data.find(b"\0")
    if first < 0:
        return
    hint = _hint_of_beginning(data) if offset == 0 else ""
    encoding = _encoding_without_mark(data, offset)
    if not hint and encoding:
        hint = f"it looks like {encoding} without a mark; {_convert(encoding)}"
    hint = hint or f"it looks like a binary file; {ANY_FILE}"
    raise InputError(f"{path} has NUL bytes, the first at byte {offset + first}: {hint}")


def encoding_hint(data: bytes) -> str:
    r"""Return what to do about a file that begins with these bytes, or "" if they are UTF-8.

    >>> encoding_hint(b"caf\xe9")
    'convert it, for example with iconv -f LATIN1 -t UTF-8; --unit byte reads any file'
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        latin = f"convert it, for example with iconv -f LATIN1 -t UTF-8; {ANY_FILE}"
        return _hint_of_beginning(data) or latin
    return ""


def _convert(encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8"


def _hint_of_beginning(data: bytes) -> str:
    """Return a hint for a file that begins with a mark or with the number of a known format."""
    for encoding, mark in MARKS.items():
        if data.startswith(mark):
            # The name without LE or BE makes iconv remove the mark.
            return f"it looks like {encoding} with a byte order mark; {_convert(encoding[:-2])}"
    return next((hint for magic, hint in HINTS.items() if data.startswith(magic)), "")


def _encoding_without_mark(data: bytes, offset: int) -> str:
    """Return the encoding for which NULs are where Latin text has them, or ""."""
    start = -offset % 4
    sample = data[start : start + SAMPLE_BYTES]
    for encoding, (nul, other) in PLACES.items():
        decoded = sample.decode(encoding, "ignore")
        if (
            decoded
            and _share_of_nul(sample, nul) >= 0.5
            and _share_of_nul(sample, other) <= 0.05
            and all(symbol.isprintable() or symbol.isspace() for symbol in decoded)
        ):
            return encoding
    return ""


def _share_of_nul(sample: bytes, places: tuple[int, ...]) -> float:
    """Return the share of NULs among the bytes at some places of each four."""
    chosen = b"".join(sample[place::4] for place in places)
    return chosen.count(0) / max(1, len(chosen))
