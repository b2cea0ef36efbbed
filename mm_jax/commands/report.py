"""Write one page of a run, or of a sweep, that makes lines by itself."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mm_jax.commands import Outcome, import_plots
from mm_jax.console import Console


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

    from mm_jax.files import size_text, write_whole
    from mm_jax.run import load_run, unfinished

    begun = time.perf_counter()
    import_plots()
    from mm_jax.gallery import is_sweep, see, see_sweep
    from mm_jax.report import REPORT, report, sweep_report

    folder = Path(options.run)
    if is_sweep(folder):
        page = sweep_report(see_sweep(folder))
    else:
        trained = load_run(options.run)
        if so_far := unfinished(trained):
            console.note(so_far)
        sight, folder = see(trained), trained.folder
        for note in sight.notes:
            console.note(f"{note}: some figures are left out")
        page = report(sight)
    path = folder / REPORT
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
