"""Counts of n-grams as a model: add k to every count, then normalise each row.

p(s | c) = (count(c, s) + k) / (count(c) + k V): maximum likelihood for k = 0, Laplace's rule for
k = 1 (Lidstone 1920, Jeffreys 1948 for other k). The logits are the logarithms of the counts.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from mm_jax.config.base import InputError
from mm_jax.config.models import NgramConfig
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.ngram_counts import count_ngrams
from mm_jax.data.ngrams import Counts, check_fits
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import ForBrowser, Model, Params, built_once, windowed


def count_logits(counts: Integer[Array, "... V"], smoothing: float) -> Float[Array, "... V"]:
    """Return log(count + k): logits whose softmax is the smoothed distribution of each row.

    Without smoothing the logit of a symbol that never occurred is -inf; a row without any counts is
    uniform, which is its limit as k goes to 0.
    """
    total = counts.astype(jnp.float32) + smoothing
    return jnp.where(jnp.any(total > 0, -1, keepdims=True), jnp.log(total), 0.0)


def log_probs(counts: Integer[Array, "... V"], smoothing: float = 0.0) -> Float[Array, "... V"]:
    """Return log p(symbol) in nats for each row of counts with ``smoothing`` added."""
    return jax.nn.log_softmax(count_logits(counts, smoothing))


def probs(counts: Integer[Array, "... V"], smoothing: float = 0.0) -> Float[Array, "... V"]:
    """Return p(symbol) for each row of counts with ``smoothing`` added.

    >>> probs(jnp.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    total = counts.astype(jnp.float32) + smoothing
    total = jnp.where(jnp.any(total > 0, -1, keepdims=True), total, 1.0)
    return total / jnp.sum(total, -1, keepdims=True)


@built_once
def ngram(
    vocab_size: int, order: int = NgramConfig.order, smoothing: float = NgramConfig.smoothing
) -> Model:
    """Return the n-gram model with the parameter ``counts``, integers of shape (V,) * order.

    ``init`` returns counts of zero; ``fit_ngram`` returns those of lines. Raises InputError where
    the table does not fit in memory.
    """
    if vocab_size < 1:
        raise InputError("vocab_size must be at least 1")
    NgramConfig(order, smoothing)  # raises InputError where they are out of range
    check_fits(vocab_size, order)
    context = max(1, order - 1)

    def init(key: Array) -> Params:
        del key
        return {"counts": jnp.zeros((vocab_size,) * order, jnp.int32)}

    def predict(params: Params, windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        row = jnp.zeros(windows.shape[:-1], jnp.int32)
        for place in range(context - order + 1, context):
            row = row * vocab_size + windows[..., place]
        return count_logits(params["counts"].reshape(-1, vocab_size)[row], smoothing)

    def for_browser(params: Params) -> ForBrowser:
        logits = count_logits(params["counts"], smoothing)
        return ForBrowser("table", {"logits": logits}, {"context": order - 1})

    return windowed(init, predict, context)._replace(for_browser=for_browser)


def fit_ngram(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, order: int = NgramConfig.order
) -> Params:
    """Return the parameters of ``ngram`` fitted in closed form: the counts.

    ``data`` are lines with their ``vocab``, or a corpus.
    """
    return {"counts": jnp.asarray(count_ngrams(data, vocab, order))}


def from_counts(counts: Counts) -> Params:
    """Return the parameters of ``ngram`` made from counts of its order."""
    return {"counts": jnp.asarray(counts.dense())}


def examples(counts: Integer[Array, "*V"]) -> Batch:
    """Return every possible n-gram once, weighted by its count.

    N is V**n: each of the V**(n-1) contexts, tokens (N, n-1), stands beside each of V targets. Loss
    and gradient of a model that reads n-1 symbols are those of all the examples that were counted.
    Raises InputError for order 1, whose n-grams have no context.
    """
    if counts.ndim < 2:
        raise InputError("examples need counts of order 2 or more")
    grid = jnp.indices(counts.shape, jnp.int32).reshape(counts.ndim, -1)
    return Batch(grid[:-1].T, grid[-1], counts.reshape(-1).astype(jnp.float32))


def from_config(config: NgramConfig, vocab_size: int) -> Model:
    """Return the n-gram model that a NgramConfig describes."""
    return ngram(vocab_size, config.order, config.smoothing)
