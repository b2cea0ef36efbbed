"""The settings of a sweep in its directory: a population, the best run, and tables of all results.

Enters: settings.json, written already, and the groups of all members. Leaves: best and ensemble,
which are runs, members.csv, and at the end of it all sweep.json; checkpoints while it trains.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mm_jax.config.command_line import command_of
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.members import save_run
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.population_loop import open_checkpoints
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.experiments.settings import Setting, members_of
from mm_jax.experiments.successive_halving import SearchResult, SettingResult, rungs, search
from mm_jax.runs.writer import save_table


class SweepResult(NamedTuple):
    """What the settings reached, and how long it took."""

    search: SearchResult
    num_finished: int  # settings whose members have taken all of their steps
    steps: int  # of all members, taken in this process
    seconds: float


class SavedRun(NamedTuple):
    """A run directory that a sweep wrote."""

    path: Path
    config: RunConfig
    result: EvalResult
    record: dict[str, Any]  # what --json and sweep.json say of it


class Sweep:
    """A sweep in its directory: ``train``, save what is best, then ``finish``, each once.

    Members that checkpoints hold are not trained again. ``groups`` are those of all members.
    """

    def __init__(
        self,
        path: Path,
        search_config: SearchConfig,
        dataset: Dataset,
        settings: Sequence[Setting],
        groups: Sequence[Group],
        checkpoint_config: CheckpointConfig,
        observer: Observer | None = None,
    ) -> None:
        self.path, self.dataset, self.groups = path, dataset, groups
        self.config, self.halvings = search_config.config, search_config.halvings
        self.changes = [setting.changes for setting in settings]
        self.members = members_of(settings)
        self.checkpoint_config = checkpoint_config
        self.checkpoints = open_checkpoints(
            path, self.members, dataset, checkpoint_config, observer or Observer()
        )
        self.first_step = self.checkpoints.steps_taken  # of all members
        self.total_steps = total_steps(self.members, self.config.seeds, self.halvings)
        # Each is trained by itself: its bits are those of a single run.
        self.alone = all(group.plan.alone for group in groups)

    def train(self, observer: Observer | None = None) -> SweepResult:
        """Train all members, until their last step or until the observer stops them."""
        begun = time.perf_counter()
        found = search(
            self.members,
            self.groups,
            self.config.seeds,
            halvings=self.halvings,
            checkpoints=self.checkpoints,
            checkpoint_config=self.checkpoint_config,
            observer=observer,
        )
        seconds = time.perf_counter() - begun
        num_finished = sum(result.steps == self.config.steps for result in found.results)
        return SweepResult(
            found, num_finished, max(0, found.steps_taken - self.first_step), seconds
        )

    def save_best(self, found: SearchResult) -> SavedRun:
        """Write the best member of the best setting, of which there must be one, as a run."""
        best, path = min(found.best, key=lambda member: member.dev_loss or 0.0), self.path / "best"
        result = save_run(path, best.config, [best], self.dataset, alone=self.alone)
        record = {
            "num_params": best.num_params,
            "best_setting": found.results[0].setting,
            "best_seed": best.config.seed,
            "train_loss": result.train_loss,
            "dev_loss": result.dev_loss,
            "run_dir": str(path),
            "train_command": command_of(best.config),
        }
        return SavedRun(path, best.config, result, record)

    def save_ensemble(self, found: SearchResult) -> SavedRun:
        """Write all seeds of the best setting as one run, their ensemble."""
        config, path = found.best[0].config, self.path / "ensemble"
        config = dataclasses.replace(config, seeds=len(found.best))
        result = save_run(path, config, found.best, self.dataset, alone=self.alone)
        record = {
            "ensemble_train_loss": result.train_loss,
            "ensemble_dev_loss": result.dev_loss,
            "ensemble_dir": str(path),
        }
        return SavedRun(path, config, result, record)

    def record(self, end: SweepResult) -> dict[str, Any]:
        """Return what all settings reached, for --json and sweep.json."""
        results = end.search.results
        return {
            "command": "sweep",
            "config": to_dict(self.config),
            "vocab_size": len(self.dataset.vocab),
            "num_examples": self.groups[0].setup.num_examples,
            "settings": [describe_result(result, self.changes) for result in results],
            "seconds": end.seconds,
            "steps_per_second": end.steps / end.seconds,
            "sweep_dir": str(self.path),
        }

    def finish(self, end: SweepResult, record: dict[str, Any]) -> None:
        """Write the tables; where all members were trained, sweep.json in place of checkpoints."""
        rows = list(member_rows(end.search.results, self.changes, self.config.seed))
        save_table(self.path, rows, record if end.search.complete else None)
        if end.search.complete:
            self.checkpoints.remove()


def total_steps(members: Sequence[RunConfig], num_seeds: int, halvings: int) -> int:
    """Return how many steps all members take."""
    if not halvings:
        return sum(config.steps for config in members)
    total, start_step = 0, 0
    for count, share in rungs(len(members) // num_seeds, halvings):
        end_step = members[0].steps // share
        total, start_step = total + count * num_seeds * (end_step - start_step), end_step
    return total


def describe_result(result: SettingResult, changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a setting reached, for --json and sweep.json; ``changes`` are all settings'."""
    return {
        "setting": result.setting,
        "choices": changes[result.setting],
        "num_params": result.num_params,
        "steps": result.steps,
        "mean_dev_loss": result.spread.mean,
        "dev_loss_interval": result.spread.half,
        "dev_losses": result.losses,
    }


def member_rows(
    results: Sequence[SettingResult], changes: Sequence[Mapping[str, Any]], seed: int
) -> Iterator[list[Any]]:
    """Return the lines of members.csv: names, then a line for each seed, from ``seed`` on."""
    yield ["setting", *changes[0], "seed", "num_params", "steps", "dev_loss"]
    for result in results:
        for i, loss in enumerate(result.losses):
            values = changes[result.setting].values()
            yield [result.setting, *values, seed + i, result.num_params, result.steps, loss]
