"""What ``mm-jax ladder`` compares: its entries from the simplest to the best. Imports no jax."""

import dataclasses
from typing import Annotated, NamedTuple

from mm_jax.config.base import MAX_FLOAT, Between, Choices, InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import RunConfig


class EntryKind(NamedTuple):
    """One entry of the ladder: what it is called, and the preset of a net."""

    title: str
    preset: str | None = None  # of a net; None: counted, or made of other entries
    is_long: bool = False  # trains for many minutes: only where it is asked for

    @property
    def config(self) -> RunConfig:
        """The choices of a net."""
        assert self.preset is not None
        return PRESETS[self.preset].config


COUNTED = {
    "uniform": EntryKind("Uniform"),
    "unigram": EntryKind("Unigram"),
    "bigram": EntryKind("Bigram"),
    "add-k": EntryKind("Best n-gram, k added"),
    "interpolated": EntryKind("Best interpolated n-gram"),
    "kneser-ney": EntryKind("Best Kneser-Ney"),
}
NETS = {
    "bigram-net": EntryKind("Bigram net", "bigram"),
    "bow": EntryKind("Bag of words", "bow"),
    "mlp-lecture": EntryKind("MLP, lecture", "lecture"),
    "mlp-modern": EntryKind("MLP, modern", "modern"),
    "mlp-small": EntryKind("MLP, small", "small"),
    "mlp-large": EntryKind("MLP, large", "large"),
    "wavenet": EntryKind("WaveNet", "wavenet"),
    "rnn": EntryKind("RNN", "rnn"),
    "gru": EntryKind("GRU", "gru"),
    "lstm": EntryKind("LSTM", "lstm"),
    "lstm-large": EntryKind("LSTM, large", "lstm-large", is_long=True),
    "lstm-words": EntryKind("LSTM, for words", "lstm-words", is_long=True),
    "transformer": EntryKind("Transformer", "transformer"),
    **{
        name: EntryKind(f"Bengio et al. (2003), row {name[-1]}", name, is_long=True)
        for name in PRESETS
        if name.startswith("bengio")
    },
}
ENSEMBLE, MIXTURE, GOOD_TURING = "ensemble", "mixture", "good-turing"
TOGETHER = {
    ENSEMBLE: EntryKind("Ensemble of the best net"),
    MIXTURE: EntryKind("Mixture of the best nets and Kneser-Ney"),
    GOOD_TURING: EntryKind("Mixture with Good-Turing for repeats"),
}
ENTRIES: dict[str, EntryKind] = {**COUNTED, **NETS, **TOGETHER}
ALL = "all"


@dataclasses.dataclass(frozen=True)
class LadderConfig(Choices):
    """What to compare, on which data, and how long each net is trained."""

    data: DataConfig = DataConfig()
    models: str = ",".join(name for name, kind in ENTRIES.items() if not kind.is_long)
    """Which entries, separated by commas, or all; by default all but lstm-large and Bengio's nets,
    which take ten minutes or more for each seed."""
    seeds: Annotated[int, Between(1, 1000)] = 3
    """How often each net is trained, with seeds counted from 0."""
    budget: Annotated[float | None, Between(0, MAX_FLOAT, open_low=True)] = None
    """Seconds that each net is trained for, whatever its preset says; by default as its preset."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and the names of the entries."""
        super().__post_init__()
        for name in self.names:
            if name not in ENTRIES:
                raise InputError(
                    f"--models has no {name!r}; choose from {', '.join(ENTRIES)}, with commas "
                    "between, or all"
                )

    @property
    def names(self) -> list[str]:
        """The names of the entries, from the simplest to the best, each once."""
        if self.models == ALL:
            return [*ENTRIES]
        asked = self.models.split(",")
        return [*filter(asked.count, ENTRIES), *(name for name in asked if name not in ENTRIES)]
