"""What a command says while it works: text, and progress as a bar or as plain lines.

With --json stdout belongs to one JSON object, so all else goes to stderr.
"""

import contextlib
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

PLAIN_LINES = 20  # of progress, where there is no terminal for a bar
STEERING = {"Cc", "Cs", "Zl", "Zp"}  # categories of control, surrogate and line-break symbols
BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn text around


def printable(line: str) -> str:
    """Escape what could steer a terminal: text from a file is never trusted to be harmless."""
    if line.isprintable():  # most lines are, and there may be a million
        return line
    return "".join(
        ascii(c)[1:-1] if c in BIDI or (c != "\t" and unicodedata.category(c) in STEERING) else c
        for c in line
    )


def shown(loss_nats: float) -> str:
    """Write a loss with four decimals, or short where it is so large that they say nothing."""
    return f"{loss_nats:.4f}" if abs(loss_nats) < 1e6 else f"{loss_nats:.3g}"


def terminal_width(most: int, unknown: int) -> int:
    """Return how many columns to write: the terminal's, up to ``most``; or ``unknown``."""
    return max(30, min(shutil.get_terminal_size((unknown, 24)).columns, most))


class Console:
    """Where text goes; ``say`` prints a line of it."""

    def __init__(self, *, json: bool) -> None:
        self.stream: TextIO = sys.stderr if json else sys.stdout
        self.errors: TextIO = sys.stderr

    @property
    def at_terminal(self) -> bool:
        """Whether somebody looks on: stdout is a terminal, and what is said goes there."""
        return self.stream is sys.stdout and self.stream.isatty()

    def keep_stdout(self) -> None:
        """Send to stderr what others than Python write to stdout, as the library of Gloo does."""
        sys.stdout.flush()
        ours = os.fdopen(os.dup(1), "w", errors="backslashreplace")
        os.dup2(2, 1)
        self.stream = ours if self.stream is sys.stdout else self.stream
        sys.stdout = ours

    def hush(self) -> None:
        """Say nothing from here on: another process speaks."""
        self.stream = self.errors = Path(os.devnull).open("w")  # noqa: SIM115

    def say(self, line: str = "") -> None:
        """Print one line, made harmless."""
        self._print(printable(line))

    def _print(self, text: str) -> None:
        try:
            print(text, file=self.stream, flush=True)
        except BrokenPipeError:  # the reader has left, as head does; the work goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def say_samples(self, samples: list[str], train: set[str] | None) -> None:
        """Print samples, one a line; those that stand in the training lines are marked."""
        seen = train or ()
        lines = (printable(line) + ("\t(in train)" if line in seen else "") for line in samples)
        if samples:
            self._print("\n".join(lines))

    def note(self, line: str) -> None:
        """Print one line on stderr, beside what the command was asked for."""
        print(printable(line), file=self.errors, flush=True)

    @contextlib.contextmanager
    def progress(
        self, total: int, *, first: int = 0, lines: bool = True
    ) -> Iterator[Callable[[int, float], None]]:
        """Show progress over ``total`` steps, ``first`` of them taken; yields update(step, loss).

        Where there is no terminal for a bar it is ``lines`` of text, or nothing.
        """
        if not (lines or self.stream.isatty()):
            yield lambda *_: None
            return
        show = self._bar if self.stream.isatty() else self._plain
        with show(total, first) as update:
            yield update

    @contextlib.contextmanager
    def _bar(self, total: int, first: int) -> Iterator[Callable[[int, float], None]]:
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
                bar.update(task, completed=step, loss=shown(loss_nats), speed=rate)

            yield update

    @contextlib.contextmanager
    def _plain(self, total: int, first: int) -> Iterator[Callable[[int, float], None]]:
        begun, printed = time.perf_counter(), first * PLAIN_LINES // max(total, 1)

        def update(step: int, loss_nats: float) -> None:
            nonlocal printed
            if step * PLAIN_LINES // max(total, 1) > printed:
                printed = step * PLAIN_LINES // total
                seconds = time.perf_counter() - begun
                speed = (step - first) / seconds
                self.say(
                    f"step {step:>{len(f'{total:,}')},}/{total:,}  loss {shown(loss_nats)}  "
                    f"{speed:,.0f} steps/s  {(total - step) / speed:.0f} s left"
                )

        yield update
