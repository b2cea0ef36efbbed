"""The ladder in its directory: each model on the same data, from the simplest to the best.

Enters: a LadderRecord, new or read from ladder.json, and the data. Leaves: a run directory for each
entry and seed, and ladder.json, which is written anew whenever something is finished. What is
finished is not done again.
"""

import dataclasses
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mm_jax.config.base import InputError
from mm_jax.config.command_line import command_of
from mm_jax.config.ladder import COUNTED, ENSEMBLE, GOOD_TURING, MIXTURE, NETS
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.evaluation import new_share
from mm_jax.experiments.ladder_counts import counted_entries
from mm_jax.experiments.ladder_nets import NetRun, plan_net
from mm_jax.experiments.ladder_record import (
    Entry,
    ImpossibleError,
    InterruptedLadderError,
    LadderRecord,
    Training,
    seed_folder,
)
from mm_jax.experiments.ladder_together import ensemble_entry, mixture_entry
from mm_jax.runs.reader import load_run


class Ladder:
    """What a ladder has and has not finished; ``run`` does the rest, and may be interrupted."""

    def __init__(
        self,
        path: Path,
        record: LadderRecord,
        dataset: Dataset,
        training: Training,
        should_stop: Callable[[], bool],
    ) -> None:
        self.path, self.record, self.dataset, self.training = path, record, dataset, training
        self.should_stop = should_stop  # asked after each entry; a training asks its observer
        self.current: NetRun | None = None  # in training

    def save_latest(self) -> None:
        """Write a checkpoint of what is in training; another thread calls this."""
        if self.current is not None:
            self.current.save_latest()

    def run(self) -> bool:
        """Do what is not finished; return False where that was interrupted."""
        done = {entry.name for entry in self.record.entries}
        missing = [name for name in self.record.config.names if name not in done]
        counted = [name for name in missing if name in COUNTED]
        together: dict[str, Callable[[], Entry]] = {
            ENSEMBLE: self._ensemble,
            MIXTURE: partial(self._mixture, MIXTURE),
            GOOD_TURING: partial(self._mixture, GOOD_TURING),
        }
        try:
            if counted:
                for entry in counted_entries(self.path, counted, self.dataset):
                    self._add(entry)
            for name in missing:
                if name in NETS:
                    self._add(unless_impossible(name, partial(self._net, name)))
                elif name in together:
                    self._add(unless_impossible(name, together[name]))
        except InterruptedLadderError:
            return False
        return True

    def _add(self, entry: Entry) -> None:
        self.record.entries.append(entry)
        self.record.save(self.path)
        if self.should_stop() and len(self.record.entries) < len(self.record.config.names):
            raise InterruptedLadderError

    def _ensemble(self) -> Entry:
        return ensemble_entry(self.path, self.record, self.dataset)

    def _mixture(self, name: str) -> Entry:
        return mixture_entry(name, self.path, self.record, self.dataset, self.training)

    def _net(self, name: str) -> Entry:
        """Train all seeds of a net, each in a run directory of its own."""
        ladder, first_path = self.record.config, self.path / seed_folder(name, 0)
        try:
            first = plan_net(NETS[name].config, ladder, self.dataset, first_path)
        except InputError as error:
            raise ImpossibleError(str(error)) from None
        folders = [seed_folder(name, seed) for seed in range(ladder.seeds)]
        for seed, folder in enumerate(folders):
            if folder in self.record.runs:
                continue
            config = dataclasses.replace(first, seed=seed)
            self.current = NetRun(self.path / folder, config, self.dataset)
            title = f"{name}, seed {seed + 1} of {ladder.seeds}"
            self.record.runs[folder] = self.current.train(title, self.training)
            self.record.save(self.path)
        self.current = None
        runs, made = [self.record.runs[folder] for folder in folders], load_run(first_path)
        return Entry(
            name,
            command=command_of(first),
            num_params=runs[0].num_params,
            train_losses=tuple(run.train_loss for run in runs),
            dev_losses=tuple(run.dev_loss for run in runs if run.dev_loss is not None),
            new_share=new_share(made.model, made.params, self.dataset),
            steps=runs[0].steps,
            seconds=median_of([run.seconds for run in runs]),
            tokens_per_second=median_of([run.tokens_per_second for run in runs]),
            folder=folders[0],
        )


def median_of(numbers: list[float | None]) -> float | None:
    """Return the median of those numbers that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return statistics.median(known) if known else None


def unless_impossible(name: str, make: Callable[[], Entry]) -> Entry:
    """Return an entry, or the reason why it cannot be made of these data or on this machine."""
    try:
        return make()
    except ImpossibleError as error:
        return Entry(name, skipped=str(error))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Entry(name, skipped="it does not fit in memory")
