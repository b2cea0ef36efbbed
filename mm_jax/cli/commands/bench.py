"""mm-jax bench: measure how fast this machine is, beside PyTorch and others."""

import dataclasses
import importlib
import signal
import threading
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console

SECTIONS = {  # name of a function -> its module in mm_jax.bench
    "lecture": "training",
    "startup": "usage",
    "sampling": "usage",
    "counting": "usage",
    "encoding": "usage",
    "evaluation": "usage",
    "bigram": "training",
    "lr-range": "populations",
    "population": "populations",
    "models": "models",
    "words": "words",
    "large": "training",
    "growth": "training",
    "checkpoints": "training",
    "pages": "usage",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure how fast this machine is, beside PyTorch and others.

    Everything takes about twenty minutes; run nothing else meanwhile. Programs that are compared
    take turns; each number is the median of its repetitions. stdout is a Markdown table. PyTorch is
    measured if it is installed: pip install "mm_jax[bench]".
    """

    sections: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(
            metavar="SECTION ...", help=f"What to measure; by default all of {', '.join(SECTIONS)}."
        ),
    ] = ()
    repeats: int = 5
    """Repetitions of each measurement."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Measure, and write the table."""
    if wrong := [name for name in options.sections if name not in SECTIONS]:
        raise InputError(f"unknown section {wrong[0]!r}; choose from {', '.join(SECTIONS)}")
    if options.repeats < 1:
        raise InputError(f"--repeats must be at least 1, not {options.repeats}")
    from mm_jax.bench.timing import Bench, has_torch, machine, markdown

    if threading.current_thread() is threading.main_thread():
        # Ctrl-C must unwind, so that large temporary files are deleted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = Bench(options.repeats, console, with_torch=has_torch())
    if not bench.with_torch:
        console.note('PyTorch is not installed and not measured: pip install "mm_jax[bench]"')
    rows = []
    for name in options.sections or SECTIONS:
        module = importlib.import_module(f"mm_jax.bench.{SECTIONS[name]}")
        rows += getattr(module, name.replace("-", "_"))(bench)
    machine_text = machine()
    for line in markdown(rows, machine_text, options.repeats):
        console.say(line)
    record = {
        "command": "bench",
        "machine": machine_text,
        "repeats": options.repeats,
        "rows": [{**row._asdict(), "median": row.median} for row in rows],
    }
    return Outcome(record)
