"""What the commands share: base choices, devices, descriptions for the console, --json records.

A command is one file with its flags as ``Options`` and ``run(options, console) -> Outcome``. No
command imports jax before ``run``, so that --help and a wrong flag are answered at once.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mm_jax.cli.describe_data import describe_dataset
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import COUNTED, TRAINED
from mm_jax.config.presets import PRESETS, default_run
from mm_jax.config.runtime import RuntimeConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.statistics import spread_of
from mm_jax.runs.layout import resume_command
from mm_jax.runtime.console import Console, format_loss
from mm_jax.runtime.environment import pin_threads
from mm_jax.runtime.paths import DATA_SETS, find_data

if TYPE_CHECKING:
    from mm_jax.experiments.evaluation import EvalResult
    from mm_jax.experiments.loss_units import LossUnits
    from mm_jax.experiments.lr_range import RangeTest
    from mm_jax.experiments.members import Member
    from mm_jax.experiments.setup import Setup
    from mm_jax.reports.ladder_summary import LadderSummary
    from mm_jax.reports.run_summary import RunSummary
    from mm_jax.reports.sweep_summary import SweepSummary

PRESET_HELP = "Choices to start from; other flags override them. " + " ".join(
    f"{name}: {preset.help}." for name, preset in PRESETS.items()
)


class Outcome(NamedTuple):
    """The result of a command: its --json record, and how it ended."""

    record: dict[str, Any]
    exit_code: int = 0
    error: str | None = None  # one line for stderr where exit_code is not 0


def with_absolute_path(data: DataConfig) -> DataConfig:
    """Return the choices with an absolute data path, which is valid from any folder."""
    if data.data in DATA_SETS:
        return data
    return dataclasses.replace(data, data=os.path.abspath(find_data(data.data)))


def base_config(given: dict[str, str]) -> RunConfig:
    """Return the choices that --preset and --model among the ``given`` flags start from."""
    preset, model = given.get("preset"), given.get("model")
    if preset is not None and preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
    if model is not None and model not in TRAINED:
        if model in COUNTED:
            raise InputError(f"{model} is counted, not trained; use mm-jax count")
        raise InputError(f"unknown model {model!r}; choose from {', '.join(TRAINED)}")
    if preset is None:
        return RunConfig() if model is None else default_run(model)
    config = PRESETS[preset].config
    if model not in (None, config.model.name):
        raise InputError(f"preset {preset} is for --model {config.model.name}, not {model}")
    return config


def describe_setup(setup: "Setup") -> Iterator[str]:
    """Yield lines for the console: data, model and device."""
    yield from describe_dataset(setup.dataset)
    yield (
        f"model      {setup.config.model.name}, {setup.num_params:,} parameters; "
        f"{setup.num_examples:,} training examples"
    )
    drawn, vocab_size = setup.config.sampled_symbols, len(setup.dataset.vocab)
    if 0 < drawn < vocab_size:
        yield (
            f"           the loss of a step reads {drawn:,} of the {vocab_size:,} symbols, drawn "
            "anew each time"
        )
    yield describe_devices()


def describe_devices() -> str:
    """Return a line for the console: kind and number of devices."""
    import jax

    processes = jax.process_count()
    where = f", in {processes} processes" if processes > 1 else ""
    return f"device     {jax.devices()[0].device_kind} x {jax.device_count()}{where}"


def join_processes(runtime: RuntimeConfig, console: Console) -> bool:
    """Join the other processes, if there are any; return whether this one prints: the first."""
    if runtime.deterministic:
        pin_threads()
    from mm_jax.runtime import mesh

    if runtime.coordinator is None:
        return True
    console.reserve_stdout()
    mesh.join(runtime)
    if not mesh.is_primary():
        console.silence()
    return mesh.is_primary()


def choose_mesh(runtime: RuntimeConfig, num_members: int) -> Any:
    """Return the mesh for so many members, or None where only one device is used."""
    import jax

    from mm_jax.runtime.mesh import make_mesh

    if jax.device_count() == 1 and runtime.data_parallel == 1:
        return None
    mesh = make_mesh(num_members, runtime.data_parallel)
    return mesh if mesh.size > 1 else None


def check_runtime(config: RunConfig, runtime: RuntimeConfig) -> None:
    """Raise InputError for a slice larger than the population, or a batch that does not divide."""
    if runtime.members_per_slice is not None and runtime.members_per_slice > config.seeds:
        raise InputError(f"--members-per-slice {runtime.members_per_slice} needs as many --seeds")
    if not config.full_batch and config.batch_size % runtime.data_parallel:
        raise InputError(
            f"--data-parallel {runtime.data_parallel} does not divide --batch-size "
            f"{config.batch_size}"
        )


def describe_losses(result: "EvalResult", label: str = "loss") -> Iterator[str]:
    """Yield lines for the console: the losses of a model, or of an ensemble."""
    split, dev = "train", ""
    if result.dev_loss is not None:
        split, dev = "dev", f", dev {format_loss(result.dev_loss)}"
    yield f"{label:10} train {format_loss(result.train_loss)}{dev} nats per symbol"
    yield from describe_units(result.units, split)


def describe_units(units: "LossUnits", split: str) -> Iterator[str]:
    """Yield lines for the console: the loss on a split in other units, and its unknown words."""
    yield f"           ({split} {units.text})"
    if units.unknown_rate:
        yield f"unknown    {units.unknown_rate:.1%} of the words of {split}"


def describe_members(members: Sequence["Member"]) -> Iterator[str]:
    """Yield a line for the console: the mean dev loss of the members, each on its own."""
    if members[0].dev_loss is not None:
        from mm_jax.reports.text_tables import spread_text

        spread = spread_of([member.dev_loss or 0.0 for member in members])
        yield (
            f"members    {len(members)}, each on its own: dev {spread_text(spread)} nats per symbol"
        )


def members_record(members: Sequence["Member"]) -> dict[str, Any]:
    """Return the dev losses of the members, for --json."""
    losses = [member.dev_loss for member in members]
    if None in losses:
        return {"num_members": len(members)}
    spread = spread_of([loss for loss in losses if loss is not None])
    return {
        "num_members": len(members),
        "members_dev_loss": losses,
        "mean_dev_loss": spread.mean,
        "dev_loss_interval": spread.half,
    }


def range_record(test: "RangeTest") -> dict[str, Any]:
    """Return the result and the settings of a range test, for --json and for config.json."""
    suggestion = test.suggestion
    return {
        "suggested_lr": suggestion.lr,
        "interval": suggestion.interval,
        "reason": suggestion.reason,
        "floor": suggestion.floor,
        "too_low": suggestion.too_low,
        "too_high": suggestion.too_high,
        "explodes": suggestion.explodes,
        "mode": test.mode,
        "min": float(test.lrs[0]),
        "max": float(test.lrs[-1]),
        "num_rates": len(test.lrs),
        "num_seeds": len(test.losses),
        "untrained": test.untrained.tolist(),
    }


def summarize(path: str, console: Console) -> "RunSummary | SweepSummary | LadderSummary":
    """Return the summary of a run, a sweep or a ladder; print what is missing on stderr."""
    import_plots()
    from mm_jax.experiments.ladder_record import is_ladder
    from mm_jax.reports.ladder_summary import summarize_ladder
    from mm_jax.reports.run_summary import summarize_run
    from mm_jax.reports.sweep_summary import is_sweep, summarize_sweep
    from mm_jax.runs.reader import load_run, unfinished_note

    if is_ladder(Path(path)):
        return summarize_ladder(Path(path))
    if is_sweep(Path(path)):
        return summarize_sweep(Path(path))
    run = load_run(path)
    if run.path.is_file():
        raise InputError(f"{path} is a checkpoint; give the run directory that it belongs to")
    if unfinished := unfinished_note(run):
        console.note(unfinished)
    summary = summarize_run(run)
    for note in summary.notes:
        console.note(f"{note}: some figures are left out")
    return summary


def import_plots() -> Any:
    """Import reports.plots with matplotlib's agg backend, whatever MPLBACKEND says, quietly."""
    before = os.environ.get("MPLBACKEND")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "agg"
    try:
        from mm_jax.reports import plots
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before
    return plots


@contextlib.contextmanager
def resume_hint(command: str, path: Path) -> Iterator[None]:
    """Add to an error the command that resumes the run, once its cause has been removed."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error}; put that right, and resume with: {resume_command(command, path)}"
        ) from None


class ConsoleObserver(Observer):
    """Shows what training reports on a console; asks ``stop`` whether a signal has come."""

    def __init__(
        self,
        console: Console,
        update: Callable[[int, float], None] | None = None,  # of Console.progress
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.console, self.update, self.stop = console, update, stop

    def message(self, text: str) -> None:
        """Print a line of output."""
        self.console.say(text)

    def warning(self, text: str) -> None:
        """Print a note on stderr."""
        self.console.note(text)

    def progress(self, step: int, loss_nats: float) -> None:
        """Move the progress bar, where there is one."""
        if self.update:
            self.update(step, loss_nats)

    def should_stop(self) -> bool:
        """Check whether a signal asks to stop."""
        return self.stop is not None and self.stop()
