"""Draw all there is to see of a run, or of a sweep."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome, summarize
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw all there is to see of a run, or of a sweep, as PNG and as SVG.

    The loss over steps and what counting reaches; tables of bigrams; the embedding and the nearest
    symbols of each; activations and gradients; lines that it makes, symbol by symbol. Of a sweep:
    the loss against each choice.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory, or that of a sweep."""
    out: str | None = None
    """The folder for the figures, by default RUN/figures."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Draw the figures of a run."""
    import time

    from mm_jax.runtime.atomic_files import make_dir

    begun = time.perf_counter()
    summary = summarize(options.run, console)
    from mm_jax.reports import plots
    from mm_jax.reports.figures import make_figures

    if options.out == "":
        raise InputError("--out is empty; name a folder")
    out = summary.folder / "figures" if options.out is None else Path(options.out)
    if options.out is None:
        make_dir(out)
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"--out {out} is there, and is no folder") from None
        except OSError as error:
            raise InputError(f"--out {out}: {error.strerror}") from None
    figures: dict[str, str] = {}
    for picture in make_figures(summary):
        for ending in (".png", ".svg"):
            plots.save(picture.figure, out / f"{picture.name}{ending}")
        figures[picture.name] = picture.description
        console.say(f"{picture.name:14} {picture.description}")
    console.say(f"figures        {out}: {len(figures)}, each as .png and .svg")
    record = {
        "command": "plot",
        "run_dir": options.run,
        "folder": str(out),
        "figures": figures,
        "seconds": time.perf_counter() - begun,
    }
    return Outcome(record)
