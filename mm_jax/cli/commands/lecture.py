"""mm-jax lecture: walk through one of the two makemore lectures, number by number."""

import contextlib
import dataclasses
from typing import Annotated, Literal

import tyro

from mm_jax.cli.common import Outcome, import_plots
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import OF_LECTURES


@dataclasses.dataclass(frozen=True)
class Options:
    """Walk through a makemore lecture: its steps in JAX, its figures, and each of its numbers.

    It ends with a table of the lecture's numbers and ours. Exit code 1 if a number that must agree
    does not. The script opens as a notebook too: scripts/lecture_1.py.
    """

    number: tyro.conf.Positional[Literal[1, 2]]
    """1: bigrams, by counting and as a net. 2: the multilayer perceptron of Bengio et al., 2003."""
    data: Annotated[str | None, tyro.conf.arg(metavar="|".join(OF_LECTURES))] = None
    """lecture-names, the default if that file is available; or names, with similar numbers."""
    out: str | None = None
    """The folder for the figures; by default figures/lecture-1 or figures/lecture-2."""
    quick: bool = False
    """Take a thousandth of the steps: shows every stage, but not the numbers."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Run the script of the lecture, and compare its numbers with the lecture's."""
    import time

    if options.data not in (None, *OF_LECTURES):
        known = " or ".join(OF_LECTURES)
        raise InputError(f"--data {options.data}: the lectures' numbers need {known}")
    import_plots()
    from mm_jax.lectures.walkthrough import Walk, walk_through

    started = time.perf_counter()
    walk = Walk(options.number, options.data, options.out, quick=options.quick, say=console.say)
    console.say(f"data       {walk.data}: {len(walk.names):,} names; figures go to {walk.out}")
    with contextlib.redirect_stdout(console.stream):  # the script prints as a notebook would
        walk_through(walk)
    seconds = time.perf_counter() - started
    wrong = [row.what for row in walk.rows if row.must and not row.agrees]
    console.say()
    console.say(f"{seconds:.0f} s; figures in {walk.out}")
    record = {
        "command": "lecture",
        "number": walk.number,
        "data": walk.data,
        "sha256": walk.text.sha256,
        "quick": walk.quick,
        "rows": [row._asdict() for row in walk.rows],
        "disagree": wrong,
        "figures": [str(path) for path in walk.figures],
        "seconds": seconds,
    }
    complaint = f"{len(wrong)} of the numbers that must agree do not: {'; '.join(wrong)}"
    return Outcome(record, 1 if wrong else 0, complaint if wrong else None)
