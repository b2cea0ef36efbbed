"""A trained model -> its exact losses on train and dev, and lines sampled from it."""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from mm_jax.data.dataset import Dataset
from mm_jax.data.samples import Samples, SampleShape
from mm_jax.data.splits import DEV, TRAIN
from mm_jax.data.vocab import Vocab
from mm_jax.data.word_totals import TextTotals
from mm_jax.experiments.loss_units import LossUnits, loss_units
from mm_jax.models.base import Model, Params
from mm_jax.models.sampling import sample, sample_in_chunks
from mm_jax.training.evaluate import evaluate

NUM_AMONG = 1000  # samples, among which new ones are counted


class EvalResult(NamedTuple):
    """What a trained model reaches, and what it makes."""

    train_loss: float  # nats per symbol
    dev_loss: float | None  # None where no lines are held out
    samples: Samples
    totals: Sequence[TextTotals] | None = None  # of train, dev and test, where tokens are words

    @property
    def units(self) -> LossUnits:
        """The loss on dev in other units, or where there is none that on train."""
        split = TRAIN if self.dev_loss is None else DEV
        loss_nats = self.train_loss if self.dev_loss is None else self.dev_loss
        return loss_units(loss_nats, self.totals[split] if self.totals else None)


def evaluate_and_sample(model: Model, params: Params, dataset: Dataset) -> EvalResult:
    """Return the losses of a model, in nats per symbol, and lines sampled from it.

    They are exact, but for a data set so large that they are measured on a part of it.
    """
    train_loss, dev_loss = losses_at_end(model, params, dataset)
    samples = first_samples(model, params, dataset.vocab, dataset.sample_shape)
    return EvalResult(train_loss, dev_loss, samples, dataset.info.totals)


def losses_at_end(model: Model, params: Params, dataset: Dataset) -> tuple[float, float | None]:
    """Return the losses on train and dev as evaluate_and_sample does; None without dev."""

    def loss_on(split: str) -> float:
        examples = dataset.evaluated(split, model.context, packed=model.restarts)
        return float(evaluate(model, params, examples))

    return loss_on("train"), loss_on("dev") if dataset.has_dev else None


def new_share(model: Model, params: Params, dataset: Dataset) -> float | None:
    """Return the share of a model's samples that are no training lines; None for a document."""
    if dataset.info.is_document:
        return None
    longest = dataset.splits.train.longest  # a longer sample is new, whatever follows
    shape = dataset.sample_shape.within(longest + 1).within(model.max_len)
    key = jax.random.key(0)
    texts: list[str] = []
    for tokens, ended in sample_in_chunks(model, params, key, num=NUM_AMONG, **shape.options):
        texts += shape.samples(dataset.vocab, tokens, ended).texts
    return 1 - sum(dataset.splits.train.contains(texts)) / len(texts)


def first_samples(model: Model, params: Params, vocab: Vocab, shape: SampleShape) -> Samples:
    """Return the first lines that a model makes with seed 0."""
    shape = shape.within(model.max_len)
    drawn = sample(model, params, jax.random.key(0), num=shape.num, **shape.options)
    return shape.samples(vocab, *jax.device_get(drawn))
