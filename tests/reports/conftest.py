"""Runs of every kind over the same names, and their summaries; made once for all tests."""

import functools

import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    BigramConfig,
    BowConfig,
    GRUConfig,
    KneserNeyConfig,
    MLPConfig,
    NgramConfig,
    RNNConfig,
    TransformerConfig,
    WaveNetConfig,
)
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.reports.run_summary import summarize_run
from mm_jax.runs.reader import load_run
from tests.helpers import make_run

STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
LINES = [a + b for a in STARTS for b in ("ma", "a", "el", "ora", "nie", "lia", "bel", "na")]
CURVE = [{"step": 10 * i, "loss": 3 - i / 10, "learning_rate": 0.1} for i in range(1, 9)]
DIAGNOSTICS = [
    {
        "step": 10 * i,
        "saturated": {"h": 0.1},
        "update_to_data": {"C": 1e-3, "W1": 1e-3, "b1": "nan", "W2": 1e-4, "b2": 1e-3},
    }
    for i in range(1, 4)
]
END = [{"step": 80, "train_loss": 2.0, "dev_loss": 2.5}]
NET = MLPConfig(3, 4, 8)
MODELS = {
    "mlp": (NET, {}),
    "mlp with direct connections": (MLPConfig(3, 4, 8, direct=True), {}),
    "mlp without layers": (MLPConfig(3, 4, layers=0), {}),
    "ensemble": (NET, {"seeds": 2}),
    "bigram": (BigramConfig(), {}),
    "counts": (NgramConfig(2, 0.5), {}),
    "trigram": (NgramConfig(3), {}),
    "unigram": (NgramConfig(1), {}),
    "kneser-ney": (KneserNeyConfig(3), {}),
    "bigram ensemble": (BigramConfig(), {"seeds": 2}),
    "bow": (BowConfig(4, 4, positions=8), {}),
    "wavenet": (WaveNetConfig(4, 4, 4), {}),
    "rnn": (RNNConfig(4, 4), {}),
    "gru": (GRUConfig(4, 6, layers=2), {}),
    "gru ensemble": (GRUConfig(4, 6), {"seeds": 2}),
    "transformer": (TransformerConfig(2, 8, 2, positions=8), {}),
}


def make(path, data, model, **choices):
    """A run of an untrained net, or of a count model; return its path."""
    if isinstance(model, NgramConfig | KneserNeyConfig):
        return make_run(path, CountConfig(data, model))
    config = RunConfig(data=data, model=model, batch_size=8, steps=80, **choices)
    diagnostics = DIAGNOSTICS if isinstance(model, MLPConfig) else []
    return make_run(path, config, metrics=[*CURVE, *diagnostics, *END])


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(LINES))
    return DataConfig(str(path))


@pytest.fixture(scope="session")
def run_path(tmp_path_factory, data):
    """The path of a run of ``MODELS`` by name. Tests that change a run change a copy."""
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def path(name):
        model, choices = MODELS[name]
        return make(folder / name, data, model, **choices)

    return path


@pytest.fixture(scope="session")
def summary(run_path):
    """The summary of a run of ``MODELS`` by name."""
    return functools.cache(lambda name: summarize_run(load_run(run_path(name))))
