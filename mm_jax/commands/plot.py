"""Draw all there is to see of a run, or of a sweep."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mm_jax.choices import InputError
from mm_jax.commands import Outcome, import_plots
from mm_jax.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mm_jax.gallery import Picture


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

    from mm_jax.files import make_dir
    from mm_jax.run import load_run, unfinished

    plots = import_plots()
    from mm_jax.gallery import choices_picture, is_sweep, pictures, see, see_sweep

    begun = time.perf_counter()
    drawn: Iterator[Picture]
    folder = Path(options.run)
    if is_sweep(folder):
        drawn = iter([choices_picture(see_sweep(folder))])
    else:
        trained = load_run(options.run)
        if so_far := unfinished(trained):
            console.note(so_far)
        sight, folder = see(trained), trained.folder
        for note in sight.notes:
            console.note(f"{note}: some figures are left out")
        drawn = pictures(sight)
    if options.out == "":
        raise InputError("--out is empty; name a folder")
    out = folder / "figures" if options.out is None else Path(options.out)
    if options.out is None:
        make_dir(out)
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {out}: {error.strerror}") from None
    figures: dict[str, str] = {}
    for picture in drawn:
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
