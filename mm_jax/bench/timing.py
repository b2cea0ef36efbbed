"""Alternating repetitions (A B A B ...), so that a drift of the machine's speed affects all alike.

A measurement is the median of its repetitions, with the lowest and the highest; comparisons are
ratios of medians. Imports no jax.
"""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from mm_jax.config.base import InputError
from mm_jax.runtime import compilation_cache
from mm_jax.runtime.console import Console
from mm_jax.runtime.environment import processor
from mm_jax.runtime.hardware import num_cores

COMMAND = [sys.executable, "-m", "mm_jax"]


class Row(NamedTuple):
    """One measurement."""

    section: str
    what: str
    unit: str
    values: list[float]  # one per repetition
    beside: str = ""  # a comparison with another row, or a note

    @property
    def median(self) -> float:
        """The value to report."""
        return statistics.median(self.values)


class Bench:
    """One run of the bench: the number of repetitions, and where progress is printed."""

    def __init__(self, repeats: int, console: Console, *, with_torch: bool) -> None:
        self.repeats, self.console, self.with_torch = repeats, console, with_torch

    def alternate(self, functions: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
        """Call all ``functions`` in turn, once per repetition; return their results."""
        results: dict[str, list[Any]] = {name: [] for name in functions}
        for repeat in range(self.repeats):
            for name, function in functions.items():
                self.console.note(f"bench {repeat + 1}/{self.repeats}  {name}")
                results[name].append(function())
        return results

    def seconds(
        self, functions: Mapping[str, Callable[[], Any]], *, steps: int = 1
    ) -> dict[str, list[float]]:
        """Return the seconds per step of each function; a first call compiles and is not timed."""
        for function in functions.values():
            function()

        def timed(function: Callable[[], Any]) -> float:
            begun = time.perf_counter()
            function()
            return (time.perf_counter() - begun) / steps

        return self.alternate({name: partial(timed, each) for name, each in functions.items()})


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process, without this one's cache of compiled programs."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in compilation_cache.VARIABLES
    }
    return {**inherited, **more}


def run(*command: str, **environment: str) -> tuple[float, str]:
    """Return the seconds that a process took from start to end, and its stdout.

    Raises InputError, with the last line that it wrote to stderr, where it failed.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=child_environment(environment)
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"{' '.join(command[1:])} failed: {why}")
    return seconds, done.stdout


def job(name: str, /, **options: Any) -> dict[str, Any]:
    """Run a job of jobs.py in a process of its own; return its result with its whole_seconds."""
    module = [sys.executable, "-m", "mm_jax.bench.jobs", name, json.dumps(options)]
    seconds, output = run(*module)
    return {**json.loads(output), "whole_seconds": seconds}


def first_line(beginning: str, *command: str, **environment: str) -> float:
    """Return the seconds from the start of a process to its first line with that beginning.

    Raises InputError where the process failed, or wrote no such line.
    """
    begun = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    seconds = []
    with subprocess.Popen(
        command, **pipes, text=True, env=child_environment(environment)
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(beginning):
                seconds.append(time.perf_counter() - begun)
    if process.returncode or not seconds:
        raise InputError(f"{' '.join(command[1:])} failed")
    return seconds[0]


def times(base: float, other: float) -> str:
    """Return the ratio ``other / base`` as text: ``5.9 times``."""
    ratio = other / base
    return f"{ratio:.1f} times" if ratio < 100 else f"{ratio:.0f} times"


def has_torch() -> bool:
    """Return whether PyTorch is installed, to be measured too."""
    return importlib.util.find_spec("torch") is not None


def machine() -> dict[str, Any]:
    """Return what the measurements were made on: cores, processor, versions, devices."""
    import jax

    names = ("jax", "jaxlib", "numpy", "torch")
    libraries = {name: version(name) for name in names if importlib.util.find_spec(name)}
    return {
        "cores": num_cores(),
        "cpu": processor(),
        "device": f"{jax.devices()[0].device_kind} x {jax.device_count()}",
        "python": platform.python_version(),
        **libraries,
    }


def number(value: float) -> str:
    """Return a number with three digits or all of its whole ones: 0.0512, 5.12, 51.2, 5,120."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def markdown(rows: list[Row], machine: dict[str, Any], repeats: int) -> Iterator[str]:
    """Yield all rows as one Markdown table that is also legible in a terminal."""
    cells = [("", "median", "min", "max", "unit", "beside it")]
    section = None
    for row in rows:
        if row.section != section:
            cells.append((f"**{row.section}**", "", "", "", "", ""))
            section = row.section
        spread = (number(row.median), number(min(row.values)), number(max(row.values)))
        cells.append((row.what, *spread, row.unit, row.beside))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for i, line in enumerate(cells):
        padded = [
            each.rjust(width) if 1 <= place <= 3 else each.ljust(width)
            for place, (each, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield f"| {' | '.join(padded)} |"
        if not i:
            marks = ["-" * (w - 1) + ":" if 1 <= p <= 3 else "-" * w for p, w in enumerate(widths)]
            yield f"| {' | '.join(marks)} |"
    yield ""
    about = ", ".join(f"{name} {value}" for name, value in machine.items() if name != "cores")
    yield f"Medians of {repeats} alternating repetitions on {machine['cores']} cores: {about}."
