"""Decoded text in pieces -> clean pieces of whole items: lines, paragraphs, or a document.

Lines each end with a newline, paragraphs with a blank line; a document is cut anywhere between two
words. White space around items is removed, and items that are then blank are dropped and counted.
Imports no jax.
"""

import array
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool

SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace() and code != ord("\n"))
BYTE_SPACES = " \t\r\x0b\x0c"  # what bytes.strip removes, but for the newline
ITEM_NAMES = {"line": "lines", "paragraph": "paragraphs", "document": "tokens"}  # what is counted
FIRST_LINES = 100  # that are kept to see what they look like
LONGEST_WORD = 2**16  # symbols without white space after which a document is cut all the same


class Meter:
    """What was read so far."""

    def __init__(self, *, hashes: bool = False) -> None:
        self.hash, self.hashes = hashlib.sha256(), hashes  # of the file, where that is wanted
        self.num_raw = 0  # lines of the file
        self.num_items = self.num_blank = 0
        self.num_marks = 0  # U+FEFF inside the file, which were dropped
        self.weights = array.array("I")  # of the items of a table
        self.first_lines: list[str] = []
        self.numbers: Sequence[int] = ()  # in the file, from 1, of each item of the last piece


def one_kind_of_line_end(text: str) -> str:
    """Return text whose lines all end with LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def clean_lines(
    text: str, before: int = 0, spaces: str = SPACES
) -> tuple[list[str], list[int] | range, int]:
    """Return the lines that are not blank, the number of each in the file, and the count of all.

    ``before`` is the number of lines of the file before ``text``.
    """
    raw = one_kind_of_line_end(text).split("\n")
    if not raw[-1]:
        raw.pop()  # nothing follows the final newline
    lines = [line.strip(spaces) for line in raw]
    numbers: list[int] | range = range(before + 1, before + len(lines) + 1)
    if not all(lines):
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line]
        lines = [line for line in lines if line]
    return lines, numbers, len(raw)


def is_clean(text: str, spaces: str = SPACES) -> bool:
    """Check whether clean_lines would change nothing; these searches are fifty times as fast."""
    if not text or "\r" in text or text[0] == "\n":
        return False
    newlines = are_newlines(text)
    if (newlines[1:] & newlines[:-1]).any():
        return False
    return not any(
        space in text and (text[0] == space or "\n" + space in text or space + "\n" in text)
        for space in spaces
    )


def are_newlines(text: str) -> Bool[np.ndarray, " bytes"]:
    """Return which bytes of text are newlines: ten times as fast as str.count where many are."""
    return np.frombuffer(text.encode("utf-8"), np.uint8) == ord("\n")


def cut_lines(texts: Iterator[str], meter: Meter, spaces: str = SPACES) -> Iterator[str]:
    """Yield the lines of texts that end at ends of lines; each then ends with a newline."""
    for text in texts:
        if text and not text.endswith(("\n", "\r")):
            text += "\n"
        if is_clean(text, spaces):
            num_raw = num_items = int(np.count_nonzero(are_newlines(text)))
            meter.numbers = range(meter.num_raw + 1, meter.num_raw + num_raw + 1)
        else:
            lines, meter.numbers, num_raw = clean_lines(text, meter.num_raw, spaces)
            num_items, text = len(lines), "".join(line + "\n" for line in lines)
        if len(meter.first_lines) < FIRST_LINES:
            meter.first_lines += text[: 2**14].split("\n")[:-1][:FIRST_LINES]
        meter.num_raw += num_raw
        meter.num_items += num_items
        meter.num_blank += num_raw - num_items
        if text:
            yield text


def cut_rows(
    rows: Iterable[tuple[str, int, int]], meter: Meter, size: int, *, in_bytes: bool
) -> Iterator[str]:
    """Yield the items of a table as lines, some ``size`` symbols at once; keep their weights."""
    held: list[str] = []
    numbers: list[int] = []
    length = 0
    for item, weight, number in rows:
        meter.num_raw += 1
        if not item:
            meter.num_blank += 1
            continue
        meter.num_items += 1
        meter.weights.append(weight)
        held += [item.encode().decode("latin-1") if in_bytes else item, "\n"]
        numbers.append(number)
        length += len(item)
        if length >= size:
            meter.numbers = numbers
            yield "".join(held)
            held, numbers, length = [], [], 0
    if held:
        meter.numbers = numbers
        yield "".join(held)


def clean_paragraphs(text: str, spaces: str = SPACES) -> list[str]:
    """Return the paragraphs of text: blank lines between them, no white space at ends of lines."""
    lines = one_kind_of_line_end(text).split("\n")
    text = "\n".join(line.rstrip(spaces) for line in lines).strip("\n")
    return re.split(r"\n{2,}", text) if text else []


def cut_paragraphs(texts: Iterator[str], meter: Meter, spaces: str = SPACES) -> Iterator[str]:
    """Yield the paragraphs of texts that end at ends of lines; each then ends with a blank line."""
    held: list[str] = []  # of a paragraph that may go on
    blank = re.compile(rf"(?<=\n)[{re.escape(spaces)}]*\n")
    for text in itertools.chain(texts, [None]):
        if text is None:
            complete, held = "".join(held), []
        else:
            meter.num_raw += one_kind_of_line_end(text).count("\n")
            ends = [end.start() for end in blank.finditer(text)]
            if not ends:
                held.append(text)
                continue
            complete, held = "".join([*held, text[: ends[-1]]]), [text[ends[-1] :]]
        found = clean_paragraphs(complete, spaces)
        meter.numbers = range(meter.num_items + 1, meter.num_items + len(found) + 1)
        meter.num_items += len(found)
        if found:
            yield "".join(paragraph + "\n\n" for paragraph in found)


def cut_document(texts: Iterator[str], meter: Meter, *, in_words: bool) -> Iterator[str]:
    """Yield texts of a document; no word is cut where tokens are words, and no CR LF ever."""
    held = ""
    for text in texts:
        text = held + text
        cut = len(text) - text.endswith("\r")
        if in_words:
            cut = min(cut, _last_space(text))
        held, text = text[cut:], one_kind_of_line_end(text[:cut])
        if text:
            meter.num_items = 1
            yield text
    if held:
        meter.num_items = 1
        yield one_kind_of_line_end(held)


def _last_space(text: str) -> int:
    """Return the place behind the last white space; the end where the last word is too long."""
    for place in range(len(text), max(0, len(text) - LONGEST_WORD), -1):
        if text[place - 1].isspace():
            return place
    return len(text) if len(text) > LONGEST_WORD else 0
