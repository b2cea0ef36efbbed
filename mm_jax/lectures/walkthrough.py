"""A walk through a lecture: the lecture's numbers, ours, and which of them must agree.

Enters: a script of percent cells (scripts/lecture_1.py, lecture_2.py) and a file of names. Leaves:
its text and numbers, figures in a folder, and a Row for each number that it compares.
"""

import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
from safetensors.numpy import load_file

from mm_jax.config.base import InputError
from mm_jax.data.streaming import LECTURE_SHA256
from mm_jax.data.text import read_lines
from mm_jax.lectures.comparison import Row, agree, format_value, row_lines, table, to_python
from mm_jax.models.base import Params
from mm_jax.reports.plots import save
from mm_jax.runtime.console import terminal_width
from mm_jax.runtime.paths import LECTURE_VARIABLE, lecture_path, shipped

DRAWN = "JAX draws other numbers than PyTorch"
OTHER_FILE = "other names than the lecture's"
QUICK = "too few steps to compare (--quick)"


class SavedFigure(NamedTuple):
    """A figure that was saved; a notebook shows it."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Walk:
    """What a script uses: the names, and methods that compare numbers and save figures.

    ``must`` is for numbers that follow from mathematics or from the lecture's own arrays;
    ``on_file`` for numbers that must agree if the names are the lecture's; ``may`` for numbers that
    depend on random draws; ``trained`` for the results of training, which depend on them too.
    """

    def __init__(
        self,
        number: int,
        data: str | None = None,
        out: str | None = None,
        *,
        quick: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self.number, self.quick, self.say = number, quick, say
        self.data = data or default_data()
        self.text = read_lines(self.data)
        self.names = self.text.lines
        self.is_lecture_file = self.text.sha256 == LECTURE_SHA256
        if out == "":
            raise InputError("--out is empty; give a folder")
        self.out = Path(out or f"figures/lecture-{number}")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.out}: {error.strerror}") from None
        if not os.access(self.out, os.W_OK | os.X_OK):
            raise InputError(f"--out {self.out} cannot be written to")
        self.rows: list[Row] = []
        self.figures: list[Path] = []

    def steps(self, num: int) -> int:
        """Return the number of steps to take for the lecture's ``num``: fewer with --quick."""
        return max(20, num // 1000) if self.quick else num

    def must(
        self, what: str, lecture: Any, ours: Any, *, within: float | None = None, why: str = ""
    ) -> None:
        """Compare values that must agree: exactly, to float32, or ``within`` (say why)."""
        self._note(what, lecture, ours, within, must=True, why=why)

    def on_file(
        self, what: str, lecture: Any, ours: Any, *, within: float | None = None, why: str = ""
    ) -> None:
        """Compare values that must agree on the lecture's names, and may differ on others."""
        if self.is_lecture_file:
            self.must(what, lecture, ours, within=within, why=why)
        else:
            self.may(what, lecture, ours, why=OTHER_FILE)

    def may(
        self, what: str, lecture: Any, ours: Any, *, within: float | None = None, why: str = DRAWN
    ) -> None:
        """Compare values that may differ, and say why; closer than ``within`` they are near."""
        self._note(what, lecture, ours, within, must=False, why=why)

    def trained(
        self, what: str, lecture: Any, ours: Any, *, within: float | None = None, why: str = DRAWN
    ) -> None:
        """Compare results of training, which may differ."""
        if self.quick:
            within, why = None, QUICK
        self.may(what, lecture, ours, within=within, why=why)

    def draw(self, name: str, figure: Figure) -> SavedFigure:
        """Save a figure in the folder of this walk."""
        path = self.out / f"{name}.png"
        save(figure, path)
        self.figures.append(path)
        self.say(f"  figure: {path}")
        return SavedFigure(path)

    def table(self) -> None:
        """Print the closing table."""
        if not self.is_lecture_file:
            note = (
                f"The names are {self.data!r}, not the lecture's file: counts, and what was "
                "trained on them, are near the lecture's, not equal. For its file: "
                "mm-jax data lecture-names"
            )
            for line in prose(note, terminal_width(100, 100)):
                self.say(line)
        for line in table(self.rows, max(80, terminal_width(140, 140))):
            self.say(line)

    def _note(
        self, what: str, lecture: Any, ours: Any, within: float | None, *, must: bool, why: str
    ) -> None:
        lecture, ours = to_python(lecture), to_python(ours)
        agrees = agree(lecture, ours, within) if must or within is not None else None
        left = format_value(lecture, lecture)
        right = format_value(ours, lecture, finer=not must)
        if within is not None:
            why = f"within {within:.3g}" + (f": {why}" if why else "")
        elif must and agrees and left != right:
            why = why or "to the rounding of float32"
        row = Row(what, left, right, must, agrees, why)
        self.rows.append(row)
        for line in row_lines(row):
            self.say(line)


def lecture_arrays(name: str) -> Params:
    """Return the lecture's own initial parameters, of ``bigram`` or of ``mlp``."""
    arrays = load_file(shipped("data/lecture_arrays.safetensors"))
    return {
        key.removeprefix(f"{name}."): jnp.asarray(array)
        for key, array in arrays.items()
        if key.startswith(f"{name}.")
    }


def default_data() -> str:
    """Return lecture-names where the lecture's file is available, otherwise names."""
    is_available = os.environ.get(LECTURE_VARIABLE) or lecture_path().is_file()
    return "lecture-names" if is_available else "names"


# Running a script of cells


class Cell(NamedTuple):
    """A cell of a script in the percent format, which notebooks and editors can open."""

    text: str  # prose, or code
    is_code: bool
    line: int  # lines of the file before the cell


def cells(source: str) -> Iterator[Cell]:
    r"""Split a script into its cells.

    >>> [cell.text for cell in cells("# %% [markdown]\n# Adding\n# %%\n1 + 1\n")]
    ['Adding', '1 + 1']
    """
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    line = parts[0].count("\n")
    for kind, body in zip(parts[1::2], parts[2::2], strict=True):
        line += 1
        is_code = "[markdown]" not in kind
        text = body if is_code else re.sub(r"^# ?", "", body, flags=re.MULTILINE).lstrip("\n")
        yield Cell(text.rstrip("\n"), is_code, line)
        line += body.count("\n")


def prose(text: str, width: int) -> Iterator[str]:
    """Yield the headings and wrapped paragraphs of a cell as lines for a terminal."""
    for paragraph in re.split(r"\n\s*\n", text):
        yield ""
        heading = re.match(r"(#+) (.*)", paragraph)
        if heading:
            yield heading[2]
            yield "=-"[len(heading[1]) > 1] * len(heading[2])
        else:
            yield from textwrap.wrap(paragraph, width)
    yield ""


_walk: ContextVar[Walk | None] = ContextVar("walk", default=None)


def begin(number: int) -> Walk:
    """Return the walk that ``mm-jax lecture`` has begun, or a new one for a notebook."""
    walk = _walk.get()
    if walk is None:
        jax.config.update("jax_default_matmul_precision", "highest")
        walk = Walk(number)
    return walk


def walk_through(walk: Walk) -> None:
    """Run the script of a lecture, cell by cell: print its prose, run its code.

    JAX is set to its defaults where another setting would break what the lectures show: that shapes
    broadcast, that types mix, and that a loss can be NaN. Products of float32 are computed in
    float32 on every device.
    """
    path = shipped(f"scripts/lecture_{walk.number}.py")
    width = terminal_width(100, 100)
    namespace = {"__name__": path.stem, "__file__": str(path)}
    token = _walk.set(walk)
    try:
        with (
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.default_matmul_precision("highest"),
        ):
            for cell in cells(path.read_text("utf-8")):
                if cell.is_code:
                    code = compile("\n" * cell.line + cell.text, str(path), "exec")
                    exec(code, namespace)
                else:
                    for line in prose(cell.text, width):
                        walk.say(line)
    finally:
        _walk.reset(token)
