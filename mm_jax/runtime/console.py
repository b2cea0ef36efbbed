"""Lines and progress -> the terminal: what a command prints while it works.

With --json stdout holds one JSON object and nothing else, so text goes to stderr.
"""

import contextlib
import os
import shutil
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

RECENT_CHUNKS = 10  # of steps, from which the speed is taken
PROGRESS_LINES = 20  # printed in all, where there is no terminal for a bar
CONTROL_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}  # of control, surrogate and line-break symbols
DIRECTION_SYMBOLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reverse text


def printable(line: str) -> str:
    r"""Escape symbols that control a terminal, since text from a file is not trusted.

    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    if line.isprintable():  # most lines are, and there may be a million
        return line

    def is_control(symbol: str) -> bool:
        return symbol in DIRECTION_SYMBOLS or (
            symbol != "\t" and unicodedata.category(symbol) in CONTROL_CATEGORIES
        )

    return "".join(ascii(symbol)[1:-1] if is_control(symbol) else symbol for symbol in line)


def format_loss(loss_nats: float) -> str:
    """Return a loss with four decimals, or with three digits where it is very large."""
    return f"{loss_nats:.4f}" if abs(loss_nats) < 1e6 else f"{loss_nats:.3g}"


def terminal_width(most: int, unknown: int) -> int:
    """Return the columns of the terminal, up to ``most``; ``unknown`` where there is none."""
    return max(30, min(shutil.get_terminal_size((unknown, 24)).columns, most))


class Console:
    """Where text goes: ``say`` prints a line, ``note`` one on stderr, ``progress`` a bar."""

    def __init__(self, *, json: bool) -> None:
        self.stream: TextIO = sys.stderr if json else sys.stdout
        self.errors: TextIO = sys.stderr

    @property
    def at_terminal(self) -> bool:
        """Whether text goes to stdout and that is a terminal."""
        return self.stream is sys.stdout and self.stream.isatty()

    def reserve_stdout(self) -> None:
        """Send to stderr what C++ libraries such as Gloo write to stdout."""
        sys.stdout.flush()
        ours = os.fdopen(os.dup(1), "w", errors="backslashreplace")
        os.dup2(2, 1)
        self.stream = ours if self.stream is sys.stdout else self.stream
        sys.stdout = ours

    def silence(self) -> None:
        """Print nothing from here on: another process does."""
        self.stream = self.errors = Path(os.devnull).open("w")  # noqa: SIM115

    def say(self, line: str = "") -> None:
        """Print one line, with control symbols escaped."""
        self._print(printable(line))

    def _print(self, text: str) -> None:
        try:
            print(text, file=self.stream, flush=True)
        except BrokenPipeError:  # the reader has left, as head does; work continues
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def say_samples(
        self, texts: Sequence[str], cut: Sequence[bool], in_train: Sequence[bool] | None
    ) -> None:
        """Print samples, marked where they were cut or are among the training lines.

        Samples of several lines have blank lines between them.
        """
        shown = []
        for i, text in enumerate(texts):
            marks = "\t(cut)" * cut[i] + "\t(in train)" * bool(in_train and in_train[i])
            shown.append("\n".join(map(printable, text.split("\n"))) + marks)
        between = "\n\n" if any("\n" in text for text in texts) else "\n"
        if shown:
            self._print(between.join(shown))

    def note(self, line: str) -> None:
        """Print one line on stderr: something to know beside the results."""
        print(printable(line), file=self.errors, flush=True)

    @contextlib.contextmanager
    def progress(
        self, total: int, *, first: int = 0, lines: bool = True
    ) -> Iterator[Callable[[int, float], None]]:
        """Yield ``update(step, loss_nats)``, which shows progress from ``first`` to ``total``.

        Without a terminal for a bar, progress is shown in plain lines if ``lines`` is true.
        """
        if not (lines or self.stream.isatty()):
            yield lambda *_: None
            return
        show = self._bar if self.stream.isatty() else self._plain
        with show(total, first) as update:
            yield update

    @contextlib.contextmanager
    def _bar(self, total: int, first: int) -> Iterator[Callable[[int, float], None]]:
        """Show progress as a bar with the loss, the speed and the time left."""
        from rich import progress
        from rich.console import Console as RichConsole
        from rich.table import Column

        def text(format_string: str) -> progress.TextColumn:
            return progress.TextColumn(format_string, table_column=Column(no_wrap=True))

        columns = (
            progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
            text("{task.completed:,.0f}/{task.total:,.0f} steps"),
            text("loss {task.fields[loss]}"),
            text("{task.fields[speed]} steps/s"),
            progress.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        )
        with progress.Progress(*columns, console=RichConsole(file=self.stream), expand=True) as bar:
            task = bar.add_task("", total=total, completed=first, loss="?", speed="compiling; ?")

            def update(step: int, loss_nats: float) -> None:
                speed = bar.tasks[task].speed
                rate = f"{speed:,.0f}" if speed else "?"
                bar.update(task, completed=step, loss=format_loss(loss_nats), speed=rate)

            yield update

    @contextlib.contextmanager
    def _plain(self, total: int, first: int) -> Iterator[Callable[[int, float], None]]:
        """Show progress in a number of plain lines, with the speed of the last chunks of steps.

        The first chunk, in which everything is compiled, has none.
        """
        printed = first * PROGRESS_LINES // max(total, 1)
        recent: deque[tuple[float, int]] = deque(maxlen=RECENT_CHUNKS + 1)

        def update(step: int, loss_nats: float) -> None:
            nonlocal printed
            recent.append((time.perf_counter(), step))
            if step * PROGRESS_LINES // max(total, 1) > printed:
                printed = step * PROGRESS_LINES // total
                seconds, steps = recent[-1][0] - recent[0][0], step - recent[0][1]
                line = f"step {step:>{len(f'{total:,}')},}/{total:,}  loss {format_loss(loss_nats)}"
                if steps and seconds:
                    left = (total - step) * seconds / steps
                    line += f"  {steps / seconds:,.0f} steps/s  {left:.0f} s left"
                self.say(line)

        yield update
