"""The weights of a mixture, fitted on text that its members were not trained on.

Linear weights are in linear_weights.py; log-linear ones are found by Newton's method, within
weights of 0 or more. That loss is convex: one least value.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import evenly, gather, is_on_host
from mm_jax.models.base import Model, Params, vocab_size_of
from mm_jax.models.context_frequency import frequency_table
from mm_jax.models.mixture import (
    FREQUENCY,
    LOG_LINEAR,
    Kind,
    members_of,
    mixture,
    mixture_params,
)
from mm_jax.training.data import read_by
from mm_jax.training.evaluate import block_size
from mm_jax.training.linear_weights import ByFrequency, Linear, Weights

MAX_PREDICTIONS = 2**18  # that weights are fitted on
MAX_NUMBERS = 2**28  # of log p that are kept meanwhile: 1 GB
BATCH_SIZE = 4096
BLOCK_NUMBERS = 2**19  # of them at once: 2 MB
MAX_STEPS, MIN_SHARE = 50, 1e-3  # Newton's, and the least share of one that is tried
TOLERANCE = 1e-8  # of the loss, in nats, between two steps
LEAST_LOG_PROB = -1e4  # of a symbol that a member rules out, while weights are fitted


class MixtureFit(NamedTuple):
    """What fitting the weights of a mixture gives."""

    params: Params  # of the mixture
    mean_weights: Weights  # of what they were fitted on: by frequency they differ
    loss: float  # nats per symbol on what the weights were fitted on
    halved_loss: float  # the same with the weights fitted on the other half of it
    num_predictions: int  # that they were fitted on


class Scored(NamedTuple):
    """What the members of a mixture say of n predictions."""

    log_probs: Any  # of the targets (n, K), or of all symbols (n, K, V)
    targets: Any  # (n,)
    counts: Any  # (n,), how often each prediction counts
    bins: Any  # (n,) of the frequency of the context; 0 where all have the same weights


def fit_mixture(
    models: Sequence[Model],
    params: Sequence[Params],
    corpus: Corpus,
    kind: Kind = "log-linear",
    train: Corpus | None = None,
) -> MixtureFit:
    """Return the parameters of ``mixture(models, kind)`` with the weights of the least loss.

    ``params`` are those of each model. The corpus should be held out: a member that knows it by
    heart gets too much weight. Of a large one a part is used, evenly spread. By frequency contexts
    are counted in ``train``. Raises InputError where models differ in their number of symbols, a
    member of a log-linear mixture rules out a symbol that occurs, or there is but one prediction.
    """
    _check_same_symbols(models, params)
    weights: Any = np.full(len(models), 1 / len(models))
    table, size = None, 1
    if kind == FREQUENCY:
        if train is None:
            raise InputError("weights by frequency need train, in which contexts are counted")
        table, size = frequency_table(train)
        weights = np.tile(weights, (size, 1))
    scored = _score(tuple(models), mixture_params(weights, params, table), corpus, kind)
    mixing: Any
    if kind == LOG_LINEAR:
        mixing = LogLinear(scored)
    elif kind == FREQUENCY:
        mixing = ByFrequency(scored.log_probs, scored.bins, size)
    else:
        mixing = Linear(scored.log_probs)
    weights, counts = mixing.fit(scored.counts), scored.counts
    is_first = np.arange(len(counts)) < len(counts) // 2
    first, second = counts * is_first, counts * ~is_first
    crosswise = mixing.loss(mixing.fit(second), first), mixing.loss(mixing.fit(first), second)
    return MixtureFit(
        mixture_params(weights, params, table),
        mixing.mean(weights, counts),
        mixing.loss(weights, counts),
        float(np.average(crosswise, weights=[first.sum(), second.sum()])),
        len(counts),
    )


# What the members say


def _score(models: tuple[Model, ...], params: Params, corpus: Corpus, kind: Kind) -> Scored:
    """Return what the members say of predictions that are evenly spread over the corpus."""
    model = mixture(models, kind)
    examples: Any = read_by(model, corpus, params, packed=True)
    numbers = len(models) * (vocab_size_of(model, params) if kind == LOG_LINEAR else 1)
    most = min(MAX_PREDICTIONS, max(1, MAX_NUMBERS // numbers))
    examples = evenly(examples, corpus.num_predictions, most).exact
    size, parts = block_size(model, params, examples, BATCH_SIZE), []
    for batch in _batches(examples, size):
        flat = _read(models, kind, params, batch)
        parts.append([np.asarray(each)[np.asarray(flat.counts) > 0] for each in flat])
    scored = Scored(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    if len(scored.counts) < 2:
        raise InputError("weights are fitted on two predictions or more, and the text has one")
    if kind == LOG_LINEAR:
        _check_possible(scored)
    return scored


@partial(jax.jit, static_argnames=("models", "kind"))
def _read(models: tuple[Model, ...], kind: Kind, params: Params, batch: Batch) -> Scored:
    members, lead = members_of(models, kind), batch.tokens.shape[:-1]
    if kind != LOG_LINEAR:
        targets = batch.targets.reshape(*lead, -1)
        log_probs = members.target_log_probs(params, batch.tokens, targets)
        log_probs = log_probs.reshape(len(models), -1)
    else:
        log_probs = members.log_probs(params, batch.tokens)
        log_probs = log_probs.reshape(len(models), -1, log_probs.shape[-1])
    flat, bins = jnp.moveaxis(log_probs, 0, 1), members.bins(params, batch.tokens)
    bins = jnp.zeros_like(batch.targets) if bins is None else bins
    return Scored(flat, batch.targets.reshape(-1), batch.weights.reshape(-1), bins.reshape(-1))


def _check_same_symbols(models: Sequence[Model], params: Sequence[Params]) -> None:
    """Raise InputError where models are not of as many symbols as the first one."""
    sizes = [vocab_size_of(*pair) for pair in zip(models, params, strict=True)]
    for number, size in enumerate(sizes, 1):
        if size != sizes[0]:
            raise InputError(f"model {number} has {size:,} symbols, and model 1 has {sizes[0]:,}")


def _batches(examples: Any, size: int) -> Iterator[Batch]:
    """Yield all examples in batches of one size; what fills up the last one has weight 0."""
    take = gather if is_on_host(examples) else jax.jit(lambda some, numbers: some.take(numbers))
    for first in range(0, examples.num_examples, size):
        numbers = np.arange(first, first + size)
        batch = take(examples, np.minimum(numbers, examples.num_examples - 1))
        is_one = (numbers < examples.num_examples).reshape(-1, *(1,) * (batch.weights.ndim - 1))
        yield Batch(batch.tokens, batch.targets, np.where(is_one, batch.weights, 0))


def _check_possible(scored: Scored) -> None:
    """Raise InputError where a member rules out a symbol that occurs."""
    own = np.take_along_axis(scored.log_probs, scored.targets[:, None, None], -1)[..., 0]
    impossible = np.isneginf(own).sum(0)
    for i in np.flatnonzero(impossible)[:1]:
        raise InputError(
            f"model {i + 1} gives {impossible[i]:,} of {len(own):,} symbols of the held-out text "
            "no probability: leave it out, or mix linear"
        )


# Log-linear


class Terms(NamedTuple):
    """The mean loss at some weights, its gradient and its second derivatives."""

    loss: float
    slope: Weights
    curvature: Float64[np.ndarray, "K K"]


@jax.jit
def _sums(weights: Float[Array, " K"], blocks: Scored) -> Any:
    """Return the sums of ``Terms`` over each block (b, K, V), weighted by its counts."""

    def of_block(block: Scored) -> Any:
        log_probs = jnp.maximum(block.log_probs, LEAST_LOG_PROB)  # 0 times infinity is no number
        mixed = jax.nn.log_softmax(jnp.einsum("k,bkv->bv", weights, log_probs))
        probs = jnp.exp(mixed)
        own = jnp.take_along_axis(log_probs, block.targets[:, None, None], 2)[..., 0]
        mean = jnp.einsum("bv,bkv->bk", probs, log_probs)
        centred = log_probs - mean[..., None]
        covariance = jnp.einsum("bkv,bjv->bkj", probs[:, None] * centred, centred)
        nats = -jnp.take_along_axis(mixed, block.targets[:, None], 1)[:, 0]
        each = (nats, mean - own, covariance)
        return jax.tree.map(lambda array: jnp.einsum("b,b...->...", block.counts, array), each)

    return jax.lax.map(of_block, blocks)


def _in_blocks(scored: Scored) -> Scored:
    """Return the arrays in blocks that fit in a cache, on the device; what fills up has count 0."""
    num, size = len(scored.counts), max(1, BLOCK_NUMBERS // scored.log_probs[0].size)
    num_blocks = -(-num // size)

    def block(array: np.ndarray) -> Any:
        filled = np.zeros((num_blocks * size, *array.shape[1:]), array.dtype)
        filled[:num] = array
        return jax.device_put(filled.reshape(num_blocks, size, *array.shape[1:]))

    return Scored(*map(block, scored))


class LogLinear:
    """Log-linear mixing of scored predictions."""

    def __init__(self, scored: Scored) -> None:
        self.blocks, self.num = _in_blocks(scored), len(scored.counts)

    def terms(self, weights: Weights, counts: np.ndarray) -> Terms:
        """Return the mean loss of the predictions, counted like this, and its derivatives."""
        filled = np.zeros(self.blocks.counts.size, np.float32)
        filled[: self.num] = counts
        blocks = self.blocks._replace(counts=filled.reshape(self.blocks.counts.shape))
        sums = _sums(jnp.asarray(weights, jnp.float32), blocks)
        total = counts.sum(dtype=np.float64)
        loss, slope, curvature = (np.asarray(s, np.float64).sum(0) / total for s in sums)
        return Terms(float(loss), slope, curvature)

    def mean(self, weights: Weights, counts: np.ndarray) -> Weights:
        """Return the weights, which are the same for all predictions."""
        del counts
        return weights

    def loss(self, weights: Weights, counts: np.ndarray) -> float:
        """Return the mean loss."""
        return self.terms(weights, counts).loss

    def fit(self, counts: np.ndarray) -> Weights:
        """Return the weights of the least loss, none below 0: Newton's steps within that bound."""
        num = self.blocks.log_probs.shape[-2]
        weights = np.full(num, 1 / num)
        now = self.terms(weights, counts)
        for _ in range(MAX_STEPS):
            goal, share, before = _lowest(now, weights), 1.0, now.loss
            while share > MIN_SHARE:
                further = weights + share * (goal - weights)
                there = self.terms(further, counts)
                if there.loss < now.loss:
                    weights, now = further, there
                    break
                share /= 2
            if before - now.loss < TOLERANCE:
                break
        return weights


def _lowest(terms: Terms, weights: Weights) -> Weights:
    """Return the weights of 0 or more where the quadratic with these derivatives is lowest."""
    import scipy.optimize

    sizes, axes = np.linalg.eigh(terms.curvature)
    roots = np.sqrt(np.maximum(sizes, 1e-9 * max(1e-9, sizes.max())))  # members may be equal
    wanted = axes.T @ (terms.curvature @ weights - terms.slope) / roots
    return np.asarray(scipy.optimize.nnls(roots[:, None] * axes.T, wanted)[0])
