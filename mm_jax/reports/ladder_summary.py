"""A ladder -> the numbers behind its figures and its report."""

import math
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.base import InputError
from mm_jax.config.ladder import COUNTED, ENTRIES, NETS
from mm_jax.experiments.ladder_record import Entry, LadderRecord, read_ladder
from mm_jax.runs.layout import LADDER, check_data_record

COSTS = {"seconds": "seconds of training", "num_params": "parameters"}
FAR = 0.8  # nats above the best loss: what is worse is named below the figure, and not drawn


class LadderSummary(NamedTuple):
    """Everything that the figures and the report of a ladder show."""

    folder: Path
    record: LadderRecord
    entries: list[Entry]  # that are finished, in the order of the ladder

    @property
    def finite(self) -> list[Entry]:
        """Those with a finite loss."""
        return [e for e in self.entries if e.skipped is None and math.isfinite(e.spread.mean)]

    @property
    def best(self) -> Entry | None:
        """The entry with the lowest loss; None where none has a finite one."""
        return min(self.finite, key=lambda entry: entry.spread.mean, default=None)

    @property
    def split(self) -> str:
        """The split that the losses are of."""
        return "dev" if self.record.data["split_lines"][1] else "train"


def summarize_ladder(path: Path) -> LadderSummary:
    """Return the summary of a ladder, finished or not. Raises InputError where it is damaged."""
    record = read_ladder(path)
    check_data_record(path / LADDER, record.data)
    order = [*ENTRIES]
    entries = sorted(record.entries, key=lambda entry: order.index(entry.name))
    if not any(entry.skipped is None for entry in entries):
        raise InputError(
            f"{path} has no results yet; resume it: mm-jax ladder --resume --out {path}"
        )
    return LadderSummary(path, record, entries)


def kind_of(entry: Entry) -> str:
    """Return how a model is made: counted, a net, or several models."""
    if entry.name in COUNTED:
        return "counted"
    return "net" if entry.name in NETS else "several models"
