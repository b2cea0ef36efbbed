"""The style of figures, and how they become files and parts of a page.

mm_jax.mplstyle has sizes and lines; the colours with a meaning are here. In a page each of them is
a CSS variable, so that a figure follows its light or dark theme.
"""

import html
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from mm_jax.config.base import InputError
from mm_jax.reports.analysis import readable
from mm_jax.runtime.atomic_files import write_whole

STYLE = Path(__file__).with_name("mm_jax.mplstyle")
ENDINGS = (".png", ".svg", ".pdf")
# Okabe and Ito (2008): distinct for the colour-blind, and each of another lightness.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
AMBER = "#e69f00"
INK, GREY, FAINT, PAPER = "#222222", "#6b6b6b", "#d0d0d0", "#fefefe"
BLACK, WHITE, DIM = "#000000", "#ffffff", "#707070"  # on a coloured ground, whatever the theme
THEMED = {
    "ink": INK,
    "grey": GREY,
    "faint": FAINT,
    "paper": PAPER,
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "purple": PURPLE,
    "amber": AMBER,
}
LINES = (  # distinct in black and white, too
    (BLUE, "-"),
    (ORANGE, "--"),
    (GREEN, "-."),
    (PURPLE, ":"),
    (AMBER, (0, (6, 1, 1, 1, 1, 1))),
    (GREY, (0, (1, 1))),
)
CELLS = "cells"  # the id of what is many cells side by side
# A rectangle of one colour, which nothing clips, from (1, 2) to (3, 4).
CELL = r'd="M (\S+) (\S+)\s+L (\S+) \2\s+L \3 (\S+)\s+L \1 \4\s+L \1 \2\s+(?:z\s+)?" style="fill: #'
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style of this package, whatever matplotlib is set to elsewhere."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return drawn


def label(text: str) -> str:
    """Return text from a file as a label of a figure: readable, and not taken for a formula."""
    return escaped(readable(text))


def escaped(text: str) -> str:
    """Return text that is not taken for a formula."""
    return text.replace("$", r"\$")


def label_size(symbol: str, size: float, share: float = 0.45) -> float:
    """Return the font size of a symbol: smaller for one shown as a code point, such as U+200B."""
    return size if len(label(symbol)) <= 2 else share * size


def is_dark(color: Any) -> bool:
    """Return whether white is easier to read than black on a colour (red, green, blue, ...)."""
    return float(np.dot(color[:3], [0.299, 0.587, 0.114])) < 0.5


def stroke(number: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line, by its number, and of later ones dots on it."""
    color, dashes = LINES[number % len(LINES)]
    dots = {"marker": "o", "markersize": 3, "markevery": 0.08} if number >= len(LINES) else {}
    return {"color": color, "linestyle": dashes, **dots}


def num_columns(names: Iterable[str], letters: int, most: int) -> int:
    """Return into how many columns of a legend names fit, of so many ``letters`` together.

    >>> num_columns(["C", "W1"], 60, 6), num_columns(["layer1.qkv.W"], 60, 6)
    (6, 3)
    """
    longest = max((len(name) for name in names), default=0) + 5  # with the line beside it
    return max(1, min(most, letters // longest))


def check_path(path: str) -> Path:
    """Return the path of a figure; raise InputError where no figure can be written there."""
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"--figure {path} must end in one of {', '.join(ENDINGS)}")
    if target.is_dir():
        raise InputError(f"--figure {path} is a directory")
    if not target.parent.is_dir():
        raise InputError(f"--figure {path}: there is no directory {target.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f"--figure {path} cannot be written to")
    return target


def rendered(figure: Figure, ending: str, *, transparent: bool = False) -> bytes:
    """Return a figure as the bytes of a file. The same figure gives the same bytes."""
    undated = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
    file = io.BytesIO()
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # A symbol that the font lacks is a box in a PNG; an SVG has it as text.
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(
            file,
            format=ending.removeprefix("."),
            metadata=undated.get(ending),
            transparent=transparent,
        )
    return file.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its ending. Raises InputError where that is not possible."""
    write_whole(path, rendered(figure, path.suffix.lower()))


def to_page(figure: Figure, name: str, description: str) -> str:
    """Return a figure as SVG for a page: ids of its own, colours of the theme, a description.

    Its titles are removed, since the page has them.
    """
    name = re.sub(r"\W", "_", name)
    figure.suptitle("")
    for axes in figure.axes:
        for place in ("left", "center", "right"):
            axes.set_title("", loc=place)
    text = rendered(figure, ".svg", transparent=True).decode()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    begin = text.index("<svg ")
    head, body = text[begin:].split(">", 1)
    box = re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', head)
    assert box is not None
    width, height = (round(float(box[i]) * 4 / 3) for i in (3, 4))  # points to pixels
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" '
        f'{box[0]} role="img" aria-label="{html.escape(description, quote=True)}"'
    )
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', body)
    for variable, color in THEMED.items():
        body = body.replace(color, f"var(--{variable})")
    return f"{head}>{_shortened(body).strip()}"


def _shortened(svg: str) -> str:
    """Return an SVG without what has no visible effect; it takes its font from the page."""
    for pattern, rest in (
        (r"<!--.*?-->", ""),
        (r"font-family: [^;\"]*;? ?", ""),
        (r' transform="rotate\(-?0 [^"]*"', ""),
        (r'(<[^>]*) id="[^"]*[a-z]+2?d?_\d+"', r"\1"),  # nothing refers to these
        (r"<g>\s*(<text[^>]*>[^<]*</text>)\s*</g>", r"\1"),
        (f'<g id="[^"]*{CELLS}">', '<g shape-rendering="crispEdges">'),  # no gaps between them
        (CELL, r'd="M\1 \2H\3V\4H\1z" style="fill: #'),
        (r"\s*\n\s*", " "),
    ):
        svg = re.sub(pattern, rest, svg, flags=re.DOTALL)

    def rounded(tag: re.Match[str]) -> str:
        return re.sub(r"(\d\.\d)\d{3,}", r"\1", tag[0])

    return re.sub(r"<[^>]*>", rounded, svg)  # between tags is text
