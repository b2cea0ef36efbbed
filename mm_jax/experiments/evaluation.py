"""A trained model -> its exact losses on train and dev, and lines sampled from it."""

from typing import NamedTuple

import jax

from mm_jax.data.dataset import Dataset
from mm_jax.data.samples import Samples, SampleShape
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params
from mm_jax.models.sampling import sample
from mm_jax.training.evaluate import evaluate


class EvalResult(NamedTuple):
    """What a trained model reaches, and what it makes."""

    train_loss: float  # nats per symbol
    dev_loss: float | None  # None where no lines are held out
    samples: Samples


def evaluate_and_sample(model: Model, params: Params, dataset: Dataset) -> EvalResult:
    """Return the losses of a model, in nats per symbol, and lines sampled from it.

    They are exact, but for a data set so large that they are measured on a part of it.
    """

    def loss_on(split: str) -> float:
        examples = dataset.evaluated(split, model.context, packed=model.restarts)
        return float(evaluate(model, params, examples))

    train_loss, dev_loss = loss_on("train"), loss_on("dev") if dataset.has_dev else None
    samples = first_samples(model, params, dataset.vocab, dataset.sample_shape)
    return EvalResult(train_loss, dev_loss, samples)


def first_samples(model: Model, params: Params, vocab: Vocab, shape: SampleShape) -> Samples:
    """Return the first lines that a model makes with seed 0."""
    shape = shape.within(model.max_len)
    drawn = sample(model, params, jax.random.key(0), num=shape.num, **shape.options)
    return shape.samples(vocab, *jax.device_get(drawn))
