"""mm-jax ladder: all models on one data set, in one table."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mm_jax.cli.common import (
    ConsoleObserver,
    Outcome,
    describe_devices,
    resume_hint,
    with_absolute_path,
)
from mm_jax.cli.describe_data import describe_dataset, note_data
from mm_jax.config.base import InputError, flag
from mm_jax.config.ladder import ENTRIES, LadderConfig
from mm_jax.runs.layout import LADDER, check_same_data, resume_command
from mm_jax.runtime.console import Console
from mm_jax.runtime.signals import Stop, interruptible

if TYPE_CHECKING:
    from mm_jax.experiments.ladder_record import LadderRecord, Training
    from mm_jax.experiments.observer import Observer


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare models on one data set: counts, nets, an ensemble and a mixture, in one table.

    Each net is trained as its preset says, or for --budget seconds, with several seeds; its run is
    kept and can be used like any other. The test split is not used. A model that these data are
    not for is left out, and the table says why.

      mm-jax ladder --budget 60 --out runs/ladder
      mm-jax report runs/ladder
    """

    config: Annotated[LadderConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=LadderConfig
    )
    out: str | None = None
    """The directory. By default the first free one of runs/ladder-1, runs/ladder-2, ..."""
    resume: bool = False
    """Do what the ladder in --out has not finished."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with; with --resume, those of before."""
    path = Path(given.get("out", ""))
    if "resume" in given and (path / LADDER).exists():
        from mm_jax.experiments.ladder_record import read_ladder

        return Options(config=read_ladder(path).config)
    return Options()


def run(options: Options, console: Console) -> Outcome:
    """Do what is not finished, and show all that is."""
    from mm_jax.data.dataset import load_dataset
    from mm_jax.experiments.ladder import Ladder
    from mm_jax.experiments.ladder_record import LadderRecord, read_ladder
    from mm_jax.runs.writer import choose_dir, hold_dir

    if options.resume and not options.out:
        raise InputError("--resume needs --out, the ladder to resume")
    config = dataclasses.replace(options.config, data=with_absolute_path(options.config.data))
    path = choose_dir(options.out, "ladder", resume=options.resume)
    before = read_ladder(path) if options.resume and (path / LADDER).exists() else None
    if before is not None:
        check_same_config(path, before.config, config)
    dataset = load_dataset(config.data)
    note_data(dataset.info, console)
    if (note := dataset.note_on_losses()) is not None:
        console.note(note)
    if before is not None:
        check_same_data(path, before, dataset.record, dataset.vocab.symbols)
    for line in (*describe_dataset(dataset), describe_devices()):
        console.say(line)
    with hold_dir(path, options.out, "ladder", resume=options.resume) as path:
        record = before or LadderRecord(config, dataset.vocab.symbols, dataset.record)
        record.save(path)
        with interruptible(lambda: ladder.save_latest()) as stop:
            ladder = Ladder(path, record, dataset, show_training(console, stop), stop)
            try:
                with resume_hint("ladder", path):
                    complete = ladder.run()
            finally:  # what is finished is shown, whatever ended the rest
                show(record, console)
    console.say(f"ladder     {path}: {LADDER}; mm-jax report {path}")
    outcome = {"command": "ladder", "run_dir": str(path), **record.to_dict()}
    if complete:
        return Outcome(outcome)
    again = resume_command("ladder", path)
    return Outcome(outcome, stop.exit_code, f"interrupted; resume with: {again}")


def check_same_config(path: Path, before: LadderConfig, now: LadderConfig) -> None:
    """Raise InputError where a ladder was begun with other choices."""
    for field in dataclasses.fields(LadderConfig):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new:
            raise InputError(
                f"{path} was made with another {flag(field.name)}; resume without that flag, or "
                "name another --out"
            )


def show_training(console: Console, stop: Stop) -> "Training":
    """Return what shows each training: its name, and a bar while it lasts."""

    @contextlib.contextmanager
    def training(name: str, first: int, total: int) -> "Iterator[Observer]":
        console.say(f"training   {name}")
        with console.progress(total, first=first, lines=False) as update:
            yield ConsoleObserver(console, update, stop)

    return training


def show(record: "LadderRecord", console: Console) -> None:
    """Print the table of what is finished, what was left out and why, and a chart."""
    from mm_jax.reports.ladder_table import ladder_chart, ladder_table

    entries = sorted(record.entries, key=lambda entry: [*ENTRIES].index(entry.name))
    for lines in ([*ladder_table(entries)], [*ladder_chart(entries)]):
        for line in ["", *lines] if lines else []:
            console.say(line)
    console.say("")
    for entry in entries:
        if entry.skipped is not None:
            console.say(f"left out   {entry.name}: {entry.skipped}")
