"""A CSV or TSV file -> the items in one of its columns, and how often each was given.

Python's csv module does the parsing, strictly: a quote that is never closed is an error. Tab, comma
or semicolon divides cells; LF, CRLF or CR ends a line. Imports no jax.
"""

import csv
import io
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.base import InputError

MAX_WEIGHT = 2**31 - 1
MAX_CELL = 2**24  # symbols of a cell; csv's own limit of 2**17 is short for a document
MIN_LINES = 20  # fewer lines may have the same number of commas by chance
MAX_NAMES = 10  # named in a message, each with at most MAX_NAME symbols
MAX_NAME = 40


class Columns(NamedTuple):
    """Which cells of a row are read."""

    item: int
    weight: int | None
    num_names: int | None  # cells of the header; None: the first row is data


class TableGuess(NamedTuple):
    """The first row of a text file whose lines all look like rows of a table."""

    cells: list[str]

    @property
    def has_header(self) -> bool:
        """Whether the first row looks like names: short ones, no number, and no name twice."""
        names = [cell for cell in self.cells if cell]
        if any(len(name) > MAX_NAME or not name.isprintable() for name in names):
            return False
        return len(names) == len(set(names)) > 0 and not any(map(_is_number, names))

    def note(self, path: Path) -> str:
        """Return what to tell the user, in one line.

        >>> TableGuess(["first name", "count"]).note(Path("a.txt"))
        "a.txt looks like a table of 2 columns ('first name', count); \
--column 'first name' reads one of them"
        """
        column = _shown(next(filter(None, self.cells))) if self.has_header else "1"
        first_row = "" if self.has_header else "first row: "
        return (
            f"{path} looks like a table of {len(self.cells)} columns "
            f"({first_row}{_listed(self.cells)}); --column {column} reads one of them"
        )


def delimiter_of(line: str) -> str:
    """Return what divides the cells of a header line: a tab if there is one outside quotes.

    Otherwise the one of comma and semicolon that makes more cells, in doubt the comma.

    >>> delimiter_of('"last, first";count')
    ';'
    """
    if len(_cells(line, "\t")) > 1:
        return "\t"
    return max(",;", key=lambda delimiter: len(_cells(line, delimiter)))


def looks_like_a_table(lines: Sequence[str]) -> TableGuess | None:
    """Check whether there are enough lines, all of the same number (over 1) of cells.

    ``lines`` are the first ones of a text file, blank ones left out.
    """
    if len(lines) < MIN_LINES:
        return None
    for delimiter in "\t,":
        first = _cells(lines[0], delimiter)
        if len(first) > 1 and all(len(_cells(line, delimiter)) == len(first) for line in lines):
            return TableGuess([_one_line(cell) for cell in first])
    return None


def table_rows(
    path: Path, texts: Iterable[str], column: str, weights: str | None
) -> Iterator[tuple[str, int, int]]:
    """Yield the item, the weight and the first line in the file (from 1) of each row.

    ``texts`` are pieces of the decoded file, each ended by the end of a line. ``column`` and
    ``weights`` are names in the header or numbers from 1; without ``weights`` each weight is 1.
    Where both are numbers of columns, the first row is a header if its weight is not a number;
    without ``weights`` it is then data. In a header a name wins over a number. A row of empty cells
    is an empty item of weight 1. Raise InputError where the file or a column is not as it must be.
    """
    columns, num_rows = None, 0
    for line, cells in _records(path, texts):
        if not any(map(str.strip, cells)):
            yield "", 1, line
            continue
        try:
            if columns is None:
                columns = _find_columns(cells, column, weights)
                if columns.num_names is not None:
                    continue
            item, weight = _item_and_weight(cells, columns)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        num_rows += 1
        yield item, weight, line
    if not num_rows:
        what = "no rows" if columns is None else "a header and no rows"
        raise InputError(f"{path} has {what}; it needs one item per row")


def _records(path: Path, texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the cells of each row, a blank line included."""
    lines, head = _lines(texts), []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    if not head:
        return
    reader = csv.reader(chain(head, lines), delimiter=delimiter_of(head[-1]), strict=True)
    while True:
        first_line = reader.line_num + 1
        limit = csv.field_size_limit(MAX_CELL)  # of the whole process, so only for one row
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {first_line}: the row that begins here cannot be read ({error}); "
                "a cell that begins with a double quote must end with one, and one inside it is "
                "written twice"
            ) from None
        finally:
            csv.field_size_limit(limit)
        yield first_line, cells


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield lines with their ends, which csv needs inside a quoted cell."""
    for text in texts:
        yield from io.StringIO(text, newline="")


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line by itself; of a very long one, those at its beginning."""
    short = next(_lines([line[: 2**16]]), "")
    return next(csv.reader([short], delimiter=delimiter))


def _find_columns(first: list[str], column: str, weights: str | None) -> Columns:
    """Find the columns that are asked for in the first row, and whether it is a header."""
    names = [_one_line(cell) for cell in first]
    wanted = [column.strip()] if weights is None else [column.strip(), weights.strip()]
    header = not all(_is_position(name, len(names)) for name in wanted)
    if weights is not None and not header:
        header = not _is_number(names[int(wanted[1]) - 1])
    item, *weight = [_index(names, name, header) for name in wanted]
    return Columns(item, weight[0] if weight else None, len(names) if header else None)


def _index(names: list[str], name: str, header: bool) -> int:
    """Return the index of a column, which only a header knows by name."""
    if header and name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{names.count(name)} columns have the name {name!r}; rename all but one"
            )
        return names.index(name)
    if _is_position(name, len(names)):
        return int(name) - 1
    raise InputError(
        f"there is no column {name!r} among the {len(names)} of the first row: "
        f"{_listed(names)}; name one of these, or give its number, from 1"
    )


def _item_and_weight(cells: list[str], columns: Columns) -> tuple[str, int]:
    """Return what a row gives. Raise InputError where it has too few or too many cells."""
    needed = max(columns.item, columns.weight or 0) + 1
    if len(cells) < needed:
        raise InputError(
            f"the row has too few cells, {len(cells)} of the {needed} that are needed; "
            "complete or remove it"
        )
    if columns.num_names is not None and any(map(str.strip, cells[columns.num_names :])):
        raise InputError(
            f"the row has {len(cells)} cells under a header of {columns.num_names}; put "
            "double quotes round a cell with a delimiter in it"
        )
    item = _one_line(cells[columns.item])
    return item, 1 if columns.weight is None else _weight(cells[columns.weight].strip())


def _weight(cell: str) -> int:
    """Return the weight in a cell."""
    if cell.isascii() and cell.isdigit() and len(cell) <= MAX_NAME and int(cell) <= MAX_WEIGHT:
        return int(cell)
    raise InputError(
        f"the weight {cell[:MAX_NAME]!r} is not a whole number from 0 to {MAX_WEIGHT}; "
        "correct it, or take the weights from another column"
    )


def _one_line(cell: str) -> str:
    """Return a cell without outer white space, and a space for each run of line breaks."""
    if "\n" in cell or "\r" in cell:
        cell = re.sub(r"[\r\n]+", " ", cell)
    return cell.strip()


def _is_position(name: str, num_columns: int) -> bool:
    """Check whether a name is the number of a column, from 1."""
    return bool(re.fullmatch("[0-9]{1,9}", name)) and 1 <= int(name) <= num_columns


def _is_number(cell: str) -> bool:
    """Check whether a cell is a number of any kind, such as -1 or 2.5e3."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    """Return the first names as one would type them in a shell."""
    more = ", ..." if len(names) > MAX_NAMES else ""
    return ", ".join(map(_shown, names[:MAX_NAMES])) + more


def _shown(name: str) -> str:
    """Return a name as one would type it in a shell; a long one is cut."""
    printable = name if name.isprintable() else repr(name)[1:-1]
    cut = len(printable) > MAX_NAME
    return shlex.quote(printable[: MAX_NAME - 3] + "..." if cut else printable)
