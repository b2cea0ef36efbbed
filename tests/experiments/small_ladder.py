"""Ladders of small nets on eighty names, and what trains them."""

import contextlib

from mm_jax.config.data import DataConfig
from mm_jax.config.ladder import LadderConfig
from mm_jax.config.models import GRUConfig, MLPConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.experiments.ladder import Ladder
from mm_jax.experiments.ladder_record import LadderRecord
from mm_jax.experiments.observer import Observer

STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
ENDS = ("ma", "a", "el", "ora", "nie", "lia", "bel", "rin", "tta", "na")
LINES = [start + end for start in STARTS for end in ENDS]
SGD = OptimizerConfig(learning_rate=0.5)
TINY = {
    "lecture": RunConfig(
        model=MLPConfig(context=2, embed_dim=3, hidden_dim=8, init="scaled"),
        optimizer=SGD,
        steps=60,
    ),
    "modern": RunConfig(
        model=MLPConfig(context=3, embed_dim=3, hidden_dim=8, init="scaled"),
        optimizer=SGD,
        steps=20,
    ),
    "gru": RunConfig(
        model=GRUConfig(embed_dim=4, hidden_dim=8), optimizer=SGD, steps=40, batch_size=8
    ),
}
NAMES = "bigram,interpolated,kneser-ney,mlp-lecture,mlp-modern,gru,ensemble,mixture,good-turing"


class Trainings:
    """The trainings of a ladder: their names, and when they are asked to stop."""

    def __init__(self, stop_at=None):
        self.names, self.stop_at = [], stop_at

    def begin(self, path, record, dataset, should_stop=lambda: False):
        """A ladder that trains with these."""
        return Ladder(path, record, dataset, self, should_stop)

    @contextlib.contextmanager
    def __call__(self, name, *_):
        self.names.append(name)
        observer = Observer()
        observer.should_stop = lambda: name == self.stop_at
        yield observer


def use_small_presets(patch):
    """Put the small nets in place of the presets of these names."""
    for name, config in TINY.items():
        patch.setitem(PRESETS, name, PRESETS[name]._replace(config=config))


def begin(path, file, *, models=NAMES, seeds=2, stop_at=None, budget=None, **data):
    """A ladder in a new directory, not run yet."""
    path.mkdir(exist_ok=True)
    config = LadderConfig(DataConfig(str(file), **data), models, seeds, budget)
    dataset = load_dataset(config.data)
    record = LadderRecord(config, dataset.vocab.symbols, dataset.record)
    return Trainings(stop_at).begin(path, record, dataset)


def entry_of(ladder, name):
    return next(entry for entry in ladder.record.entries if entry.name == name)
