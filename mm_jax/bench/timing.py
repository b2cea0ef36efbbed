"""Repetitions that take turns (A B A B ...), so that a drift of the machine's speed is shared.

A figure is the median of its repetitions beside the lowest and the highest; what is compared is
compared as a ratio of medians. Imports no jax.
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
    """One figure."""

    section: str
    what: str
    unit: str
    values: list[float]  # one a repetition
    beside: str = ""  # how it compares with another row, or what it is not

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)


class Bench:
    """One run of the bench: how often all is repeated, and where progress is told."""

    def __init__(self, repeats: int, console: Console, *, with_torch: bool) -> None:
        self.repeats, self.console, self.with_torch = repeats, console, with_torch

    def alternate(self, ways: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
        """Do each of ``ways`` in turn, again and again; return what they returned."""
        found: dict[str, list[Any]] = {name: [] for name in ways}
        for repeat in range(self.repeats):
            for name, way in ways.items():
                self.console.note(f"bench {repeat + 1}/{self.repeats}  {name}")
                found[name].append(way())
        return found

    def seconds(
        self, ways: Mapping[str, Callable[[], Any]], *, steps: int = 1
    ) -> dict[str, list[float]]:
        """Return the seconds a step of each way; what it compiles is compiled before."""
        for way in ways.values():
            way()

        def timed(way: Callable[[], Any]) -> float:
            begun = time.perf_counter()
            way()
            return (time.perf_counter() - begun) / steps

        return self.alternate({name: partial(timed, way) for name, way in ways.items()})


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, which is to find its own cache of compiled programs."""
    ours = {
        name: value for name, value in os.environ.items() if name not in compilation_cache.VARIABLES
    }
    return {**ours, **more}


def run(*command: str, **environment: str) -> tuple[float, str]:
    """Return the seconds that a process took from start to end, and its stdout.

    Raises InputError, with the last line that it wrote to stderr, where it failed.
    """
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings(environment))
    seconds = time.perf_counter() - begun
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"{' '.join(command[1:])} failed: {why}")
    return seconds, done.stdout


def job(name: str, /, **options: Any) -> dict[str, Any]:
    """Run a job of jobs.py in a process of its own; return what it found, and its whole seconds."""
    module = [sys.executable, "-m", "mm_jax.bench.jobs", name, json.dumps(options)]
    took, said = run(*module)
    return {**json.loads(said), "whole_seconds": took}


def first_line(beginning: str, *command: str, **environment: str) -> float:
    """Return the seconds from the start of a process to the first line that begins so.

    Raises InputError where it failed, or wrote no such line.
    """
    begun = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    seconds = []
    with subprocess.Popen(command, **pipes, text=True, env=surroundings(environment)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(beginning):
                seconds.append(time.perf_counter() - begun)
    if process.returncode or not seconds:
        raise InputError(f"{' '.join(command[1:])} failed")
    return seconds[0]


def times(base: float, other: float) -> str:
    """Say how many times ``base`` another figure is: ``5.9 times``."""
    ratio = other / base
    return f"{ratio:.1f} times" if ratio < 100 else f"{ratio:.0f} times"


def has_torch() -> bool:
    """Tell whether there is a PyTorch to measure beside us."""
    return importlib.util.find_spec("torch") is not None


def machine() -> dict[str, Any]:
    """Describe where this was measured: cores, processor, versions, devices."""
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
    """Write a figure with three digits or all of its whole ones: 0.0512, 5.12, 51.2, 5,120."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def markdown(rows: list[Row], machine: dict[str, Any], repeats: int) -> Iterator[str]:
    """Write all rows as one table, which can be read in a terminal too."""
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
    yield f"Medians of {repeats}, in turns, on {machine['cores']} cores: {about}."
