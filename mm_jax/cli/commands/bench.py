"""Measure what this machine does in how much time, and what others do beside it."""

import dataclasses
import importlib
import signal
import threading
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console

SECTIONS = {  # each a function of the room beside it
    "lecture": "training",
    "startup": "using",
    "sampling": "using",
    "counting": "using",
    "encoding": "using",
    "evaluation": "using",
    "bigram": "training",
    "lr-range": "many",
    "population": "many",
    "large": "training",
    "growth": "training",
    "checkpoints": "training",
    "pages": "using",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what this machine does in how much time, and what others do beside it.

    All takes some twenty minutes, in which the machine should have nothing else to do. What is
    compared takes turns; a figure is the median of its repetitions. stdout is a Markdown table.
    PyTorch is measured beside us where there is one: pip install "mm_jax[bench]".
    """

    sections: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(
            metavar="SECTION ...", help=f"What to measure; by default all of {', '.join(SECTIONS)}."
        ),
    ] = ()
    repeats: int = 5
    """How often everything is repeated."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Measure, and write the table."""
    if wrong := [name for name in options.sections if name not in SECTIONS]:
        raise InputError(f"there is no section {wrong[0]!r}; there is {', '.join(SECTIONS)}")
    if options.repeats < 1:
        raise InputError(f"--repeats must be at least 1, not {options.repeats}")
    from mm_jax.bench.timing import Bench, has_torch, machine, markdown

    if threading.current_thread() is threading.main_thread():
        # Ctrl-C is to clean up: what is measured stands in large temporary files.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = Bench(options.repeats, console, with_torch=has_torch())
    if not bench.with_torch:
        console.note('there is no PyTorch to measure beside us: pip install "mm_jax[bench]"')
    rows = []
    for name in options.sections or SECTIONS:
        room = importlib.import_module(f"mm_jax.bench.{SECTIONS[name]}")
        rows += getattr(room, name.replace("-", "_"))(bench)
    where = machine()
    for line in markdown(rows, where, options.repeats):
        console.say(line)
    record = {
        "command": "bench",
        "machine": where,
        "repeats": options.repeats,
        "rows": [{**row._asdict(), "median": row.median} for row in rows],
    }
    return Outcome(record)
