"""A trained model -> its exact losses on train and dev, and lines sampled from it."""

from functools import partial
from typing import NamedTuple

import jax

from mm_jax.config.training import NUM_SAMPLES, TrainingConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.vocab import decode_lines
from mm_jax.models.base import Model, Params
from mm_jax.models.sampling import sample
from mm_jax.training.evaluate import evaluate


class EvalResult(NamedTuple):
    """What a trained model reaches, and what it makes."""

    train_loss: float  # nats per symbol
    dev_loss: float | None  # None where no lines are held out
    samples: list[str]


def evaluate_and_sample(
    model: Model, params: Params, dataset: Dataset, config: TrainingConfig
) -> EvalResult:
    """Return the exact losses of a model, in nats per symbol, and lines sampled from it."""
    # jit compiles a call anew that names other arguments: these are the training loop's.
    exact = partial(evaluate, model, params, mesh=None)
    train_loss = float(exact(dataset.batch("train", config.model.layout, model.context)))
    dev_loss = None
    if dataset.splits.dev:
        dev_loss = float(exact(dataset.batch("dev", config.model.layout, model.context)))
    tokens, _ = sample(model, params, jax.random.key(0), num=NUM_SAMPLES)
    return EvalResult(train_loss, dev_loss, decode_lines(dataset.vocab, jax.device_get(tokens)))
