"""mm-jax export: write an HTML page that makes lines with a trained model."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Write an HTML page that makes lines with a trained model: one file, for a web site.

    It holds the parameters and a small script that runs the model in the reader's browser. It loads
    nothing else.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory."""
    html: Annotated[str, tyro.conf.arg(metavar="PAGE.html")]
    """The file to write."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Write the page of a model."""
    from mm_jax.runtime.atomic_files import size_text, write_whole

    path = Path(options.html)
    check_page_path(path)
    from mm_jax.reports.browser_model import generator_page
    from mm_jax.runs.reader import describe, load_run, unfinished_note

    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    page = generator_page(trained)
    write_whole(path, page)
    console.say(f"page       {path}: {size_text(len(page))}; open it in a browser")
    record = {"command": "export", **describe(trained), "html": str(path), "bytes": len(page)}
    return Outcome(record)


def check_page_path(path: Path) -> None:
    """Raise InputError where no page can be written, before the run is read."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html {path} must end in .html")
    try:
        if path.is_dir() or not path.parent.is_dir():
            what = "is a directory" if path.is_dir() else f"there is no directory {path.parent}"
            raise InputError(f"--html {path}: {what}")
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
