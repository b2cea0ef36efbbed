"""What a sweep trains and what it reached -> lines of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mm_jax.cli.common import describe_devices, describe_losses
from mm_jax.cli.describe_data import describe_dataset
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.runs.layout import resume_command

if TYPE_CHECKING:
    from mm_jax.data.dataset import Dataset
    from mm_jax.experiments.sweep import SavedRun, SweepResult


def describe_sweep(
    search_config: SearchConfig, dataset: "Dataset", num_settings: int, num_groups: int
) -> Iterator[str]:
    """Say what is trained on what, and where."""
    config = search_config.config
    yield from describe_dataset(dataset)
    yield (
        f"sweep      {num_settings:,} settings x {config.seeds:,} seeds, {config.steps:,} steps, "
        f"in {num_groups:,} programs"
    )
    yield describe_devices()


def describe_best(run: "SavedRun") -> Iterator[str]:
    """Say what the best member reaches, where it is, and how to train it again."""
    yield from describe_losses(run.result, "best")
    yield f"           {run.path}: seed {run.config.seed} of the first line; to train it again:"
    yield f"           {run.record['train_command']}"


def describe_ensemble(run: "SavedRun") -> Iterator[str]:
    """Say what the seeds of the best setting reach together, and where that run is."""
    yield from describe_losses(run.result, "ensemble")
    yield f"           {run.path}: all {run.config.seeds} seeds of the first line as one model"


def describe_speed(end: "SweepResult") -> str:
    """Say how many steps were taken, and how fast."""
    speed = end.steps / end.seconds
    return f"time       {end.steps:,} steps in {end.seconds:.1f} s; {speed:,.0f} steps/s"


def describe_interruption(path: Path, end: "SweepResult", num_settings: int) -> str:
    """Say how many settings have taken all of their steps, and how to resume the sweep."""
    num_finished = end.num_finished
    return (
        f"interrupted; {num_finished:,} of {num_settings:,} settings were finished; they are in "
        f"{path}; resume with: {resume_command('sweep', path)}"
    )
