"""Small runs on a few names, and what each is when it is trained alone."""

import functools
import tempfile
from pathlib import Path

import jax

from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.text import read_lines
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import load_setup
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit_chunks

STEPS = 24


@functools.cache
def dataset():
    """The first 200 names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.txt"
        path.write_text("\n".join(read_lines().lines[:200]))
        return load_dataset(DataConfig(str(path)))


def config(rate=0.1, hidden=8, seed=0, **more):
    """The choices of a run of 24 steps; those of the model and the optimizer by their names."""
    model = MLPConfig(
        embed_dim=4, hidden_dim=hidden, init="scaled", dropout=more.pop("dropout", 0.0)
    )
    optimizer = OptimizerConfig(
        more.pop("optimizer", "sgd"),
        learning_rate=rate,
        schedule="cosine",
        weight_decay=more.pop("weight_decay", None),
    )
    data = DataConfig("names")  # the dataset is what is read
    return RunConfig(data, model, optimizer, 16, seed=seed, **{"steps": STEPS, **more})


@functools.cache
def trained_alone(config):
    """The parameters and the dev loss of a run as mm-jax train makes it."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer, dataset=dataset())
    state = setup.initial_state(optimizer)
    options = {"num_steps": config.steps, "batch_size": config.batch_size}
    [(state, _)] = list(fit_chunks(setup.model, optimizer, state, setup.data, **options))
    dev_loss = float(evaluate(setup.model, state.best_params, setup.dev_data))
    return jax.device_get(state.best_params), dev_loss


class Recorder(Observer):
    """Keeps what is reported; asks to stop once it was asked ``patience`` times."""

    def __init__(self, patience=None):
        self.patience, self.asked = patience, 0
        self.steps, self.messages, self.warnings = [], [], []

    def message(self, text):
        self.messages.append(text)

    def warning(self, text):
        self.warnings.append(text)

    def progress(self, step, loss_nats):  # noqa: ARG002
        self.steps.append(step)

    def should_stop(self):
        self.asked += 1
        return self.patience is not None and self.asked > self.patience
