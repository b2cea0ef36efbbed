"""The lecture's number beside ours: whether they agree, as text, and as a table."""

import io
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

ROUNDING = 4 * 2.0**-23  # relative error of a float32 after a few operations


class Row(NamedTuple):
    """A number of the lecture and ours, as text; a row of the closing table."""

    what: str
    lecture: str
    ours: str
    must: bool  # whether they must agree; otherwise they may differ
    agrees: bool | None  # None where there is no tolerance to decide by
    why: str  # they may differ, or what the tolerance is


def to_python(value: Any) -> Any:
    """Return arrays as numbers or lists of them."""
    if isinstance(value, list | tuple):
        return [to_python(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def agree(lecture: Any, ours: Any, within: float | None = None) -> bool:
    """Return whether two values agree, numbers ``within`` a tolerance.

    By default that is the lecture's last digit, or the rounding of float32.

    >>> agree(2.4540145, 2.45401448), agree(2.454, 2.4546), agree([1, 2], [1, 2])
    (True, False, True)
    """
    if isinstance(lecture, list | tuple):
        pairs = zip(lecture, ours, strict=False)
        return len(lecture) == len(ours) and all(agree(a, b, within) for a, b in pairs)
    if not isinstance(lecture, float) or not math.isfinite(lecture):
        return lecture == ours
    if within is None:
        within = max(0.5 * 10.0 ** -decimals(lecture), ROUNDING * abs(lecture))
    return abs(lecture - ours) <= within * (1 + 1e-9)


def decimals(number: float) -> int:
    """Return how many decimals a number has; 2.45 has two."""
    exponent = Decimal(repr(number)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def format_value(value: Any, like: Any, *, finer: bool = False) -> str:
    """Return a value as text with the decimals of ``like``, at least four where ``finer``."""
    if isinstance(value, list | tuple):
        longest = max((x for x in like if isinstance(x, float)), key=decimals, default=None)
        likes = [longest if isinstance(x, float) else x for x in value]
        return " ".join(format_value(x, y, finer=finer) for x, y in zip(value, likes, strict=True))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    digits = decimals(like) if isinstance(like, float) else 4
    return f"{value:.{max(digits, 4 * finer)}f}"


def row_lines(row: Row) -> Iterator[str]:
    """Yield the lines of a row: our number beside the lecture's, and why they differ."""
    one_line = f"  {row.what + ':':44} {row.ours:>12}   (lecture: {row.lecture})"
    if len(row.what) < 44 and len(one_line) <= 88:
        yield one_line
    else:
        yield f"  {row.what}:"
        yield f"    ours     {row.ours}"
        yield f"    lecture  {row.lecture}"
    if row.must and not row.agrees:
        yield "    these must agree, and do not"
    if row.why and row.ours != row.lecture:
        yield f"    {row.why}"


def verdict(row: Row) -> str:
    """Return whether a row must agree, and whether it does, in words."""
    if row.must:
        return "must, and does" if row.agrees else "must, and DOES NOT"
    return {None: "may differ", True: "may differ; near", False: "may differ; not near"}[row.agrees]


def table(rows: list[Row], width: int) -> Iterator[str]:
    """Yield the lines of a table of rows, at most ``width`` wide."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    min_widths = {"lecture": 28, "ours": 28, "agree": 20} if width >= 140 else {}
    for name, ratio in (("what", 8), ("lecture", 5), ("ours", 5), ("agree", 4), ("why", 5)):
        grid.add_column(name, ratio=ratio, min_width=min_widths.get(name), overflow="fold")
    for row in rows:
        texts = (row.what, row.lecture, row.ours, verdict(row), row.why)
        grid.add_row(*(Text(text) for text in texts))
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_jupyter=False).print(grid)
    yield from (line.rstrip() for line in text.getvalue().splitlines())
