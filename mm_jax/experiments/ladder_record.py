"""What a ladder has found so far: ladder.json, written anew whenever something is finished."""

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.ladder import ENTRIES, LadderConfig
from mm_jax.config.serialization import read_number, to_json
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.statistics import Spread, spread_of
from mm_jax.runs.layout import LADDER, named_damage, with_choices_of_words
from mm_jax.runtime.atomic_files import write_whole

FORMAT = 1

# (what is trained, its first step, its last one) -> the observer of a training while it lasts
Training: TypeAlias = Callable[[str, int, int], AbstractContextManager[Observer]]


class InterruptedLadderError(Exception):
    """The ladder was asked to stop; what was trained so far is kept."""


class ImpossibleError(Exception):
    """An entry cannot be made of these data; the others can."""


def seed_folder(name: str, seed: int) -> str:
    """Return the run directory of a seed of a net, within that of the ladder."""
    return f"{name}/seed-{seed}"


class RunResult(NamedTuple):
    """One finished run of a net."""

    steps: int
    num_params: int
    train_loss: float  # nats per symbol
    dev_loss: float | None
    seconds: float | None  # of training, without compilation; None where that is not known
    tokens_per_second: float | None


class Entry(NamedTuple):
    """A finished entry of the ladder; of a skipped one all but its name and the reason is empty."""

    name: str
    command: str | None = None  # that makes it alone
    num_params: int | None = None  # None: nothing is learned
    train_losses: tuple[float, ...] = ()  # nats per symbol, of each seed
    dev_losses: tuple[float, ...] = ()  # none where no lines are held out
    new_share: float | None = None  # of its samples that are no training lines
    steps: int | None = None
    seconds: float | None = None  # that training took, median over seeds
    tokens_per_second: float | None = None
    folder: str | None = None  # a run directory within that of the ladder
    skipped: str | None = None  # why there is no result

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return ENTRIES[self.name].title

    @property
    def losses(self) -> tuple[float, ...]:
        """Those to compare it by: on dev, or on train where nothing is held out."""
        return self.dev_losses or self.train_losses

    @property
    def spread(self) -> Spread:
        """The mean of these losses and its interval."""
        return spread_of(self.losses)


@dataclasses.dataclass
class LadderRecord:
    """The choices of a ladder, its data, and what is finished."""

    config: LadderConfig
    symbols: tuple[str, ...]
    data: dict[str, Any]
    runs: dict[str, RunResult] = dataclasses.field(default_factory=dict)  # by their folder
    weights: dict[str, float] = dataclasses.field(default_factory=dict)  # of the mixture
    entries: list[Entry] = dataclasses.field(default_factory=list)

    @property
    def results(self) -> list[Entry]:
        """The entries that have a loss."""
        return [entry for entry in self.entries if entry.skipped is None]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values for JSON."""
        return {
            "format": FORMAT,
            "config": dataclasses.asdict(self.config),
            "symbols": self.symbols,
            "data": self.data,
            "runs": {folder: run._asdict() for folder, run in self.runs.items()},
            "weights": self.weights,
            "entries": [entry._asdict() for entry in self.entries],
        }

    def save(self, path: Path) -> None:
        """Write ladder.json, whole or not at all."""
        write_whole(path / LADDER, to_json(self.to_dict()).encode())


def is_ladder(path: Path) -> bool:
    """Check whether a directory is that of a ladder."""
    try:
        return (path / LADDER).is_file()
    except OSError:
        return False


def read_ladder(path: Path) -> LadderRecord:
    """Read ladder.json. Raises InputError where it is not what we write."""
    with named_damage(path / LADDER):
        return _from_dict(json.loads((path / LADDER).read_bytes()))


def _from_dict(record: dict[str, Any]) -> LadderRecord:
    if record["format"] > FORMAT:
        raise InputError(f"a newer mm-jax wrote it (format {record['format']}); upgrade")
    data = DataConfig(**with_choices_of_words(record["config"]["data"]))
    config = LadderConfig(**record["config"] | {"data": data})
    return LadderRecord(
        config,
        tuple(record["symbols"]),
        dict(record["data"]),
        {folder: _run(run) for folder, run in record["runs"].items()},
        {name: read_number(weight, "a weight") for name, weight in record["weights"].items()},
        [_entry(entry) for entry in record["entries"]],
    )


def _run(values: dict[str, Any]) -> RunResult:
    losses = {name: _loss(values[name]) for name in ("train_loss", "dev_loss")}
    return RunResult(**values | losses)


def _entry(values: dict[str, Any]) -> Entry:
    if values["name"] not in ENTRIES:
        raise InputError(f"unknown entry {values['name']!r}")
    losses = {
        name: tuple(_number(loss) for loss in values[name])
        for name in ("train_losses", "dev_losses")
    }
    return Entry(**values | losses)


def _number(value: Any) -> float:
    found = read_number(value, "a loss")
    return found if math.isfinite(found) else math.inf


def _loss(value: Any) -> Any:
    return None if value is None else _number(value)
