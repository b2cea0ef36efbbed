"""mm-jax plot: draw the figures of a run, a sweep or a ladder."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome, summarize
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw the figures of a run, a sweep or a ladder, as PNG and SVG.

    The loss over steps with the baselines of counting; tables of bigrams; the embedding and the
    nearest symbols of each; activations and gradients; attention maps and gates while a line is
    read; sampled lines, symbol by symbol. Of a sweep: the loss against each choice;
    of a ladder: against seconds and parameters.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The directory of a run, a sweep or a ladder."""
    out: str | None = None
    """The folder for the figures; by default RUN/figures."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Draw the figures and write them to files."""
    import time

    started = time.perf_counter()
    summary = summarize(options.run, console)
    from mm_jax.reports import plots
    from mm_jax.reports.figures import make_figures

    out = make_folder(options.out, summary.folder / "figures")
    figures: dict[str, str] = {}
    for figure in make_figures(summary):
        for ending in (".png", ".svg"):
            plots.save(figure.figure, out / f"{figure.name}{ending}")
        figures[figure.name] = figure.description
        console.say(f"{figure.name:14} {figure.description}")
    console.say(f"figures        {out}: {len(figures)}, each as .png and .svg")
    record = {
        "command": "plot",
        "run_dir": options.run,
        "folder": str(out),
        "figures": figures,
        "seconds": time.perf_counter() - started,
    }
    return Outcome(record)


def make_folder(out: str | None, default: Path) -> Path:
    """Make the folder for the figures; raise InputError where that is impossible."""
    from mm_jax.runtime.atomic_files import make_dir

    if out is None:
        make_dir(default)
        return default
    if not out:
        raise InputError("--out is empty; name a folder")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"--out {out} exists and is not a folder") from None
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    return Path(out)
