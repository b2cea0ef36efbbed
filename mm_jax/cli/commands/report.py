"""mm-jax report: write an HTML page of a run, a sweep or a ladder, with the model in it."""

import dataclasses
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome, summarize
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Write RUN/report.html: one page that opens from disk, offline, and samples new lines.

    It has the choices, the data and the results; figures, samples, the overlap of the splits, and
    the command that repeats the run. Of a sweep or a ladder: a table of
    all settings or models, and the best one.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The directory of a run, a sweep or a ladder."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Write the page of a run, a sweep or a ladder."""
    import time

    from mm_jax.runtime.atomic_files import size_text, write_whole

    started = time.perf_counter()
    summary = summarize(options.run, console)
    from mm_jax.reports.html import REPORT, report

    page, path = report(summary), summary.folder / REPORT
    write_whole(path, page)
    console.say(f"report     {path}: {size_text(len(page))}; open it in a browser")
    record = {
        "command": "report",
        "run_dir": options.run,
        "report": str(path),
        "bytes": len(page),
        "seconds": time.perf_counter() - started,
    }
    return Outcome(record)
