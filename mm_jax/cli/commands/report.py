"""Write one page of a run, or of a sweep, that makes lines by itself."""

import dataclasses
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome, summarize
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Write RUN/report.html: one page that opens from disk, offline, and makes lines by itself.

    What was run, on what, with what result; figures, samples, the overlap of the splits, and the
    command that does it again. Of a sweep: all settings in a table, and the best run.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory, or that of a sweep."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Write the page of a run."""
    import time

    from mm_jax.runtime.atomic_files import size_text, write_whole

    begun = time.perf_counter()
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
        "seconds": time.perf_counter() - begun,
    }
    return Outcome(record)
