"""How surprised a model is by each token of a corpus: -log of its probability, in nats."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Int64

from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import Windows, is_on_host
from mm_jax.data.row_examples import Crops, Rows
from mm_jax.models.base import Model, Params
from mm_jax.training.data import read_by
from mm_jax.training.evaluate import block_size
from mm_jax.training.loss import nats


def surprise(
    model: Model, params: Params, corpus: Corpus, *, batch_size: int = 4096
) -> Float[np.ndarray, " predictions"]:
    """Return -log p of every prediction of a corpus in nats, in the order of its ids.

    Those of item i are the ones from corpus.offsets[i] up to corpus.offsets[i + 1]. Time and memory
    grow with the corpus: one long item makes no other row long. Raises InputError where the corpus
    is empty.
    """
    examples: Any = read_by(model, corpus, params)
    result = np.empty(corpus.num_predictions, np.float32)
    if isinstance(examples, Rows):
        for rows, items in _rows_by_length(examples, corpus):
            for numbers, each in _blocks(model, params, rows, items, batch_size):
                for item, row in zip(numbers.tolist(), each, strict=True):
                    first, end = corpus.offsets[item : item + 2]
                    result[first:end] = row[: end - first]
        return result
    exact = examples.exact
    for numbers, each in _blocks(model, params, exact, np.arange(exact.num_examples), batch_size):
        if isinstance(examples, Crops):
            counted = np.asarray(exact.take(numbers).weights) > 0
            starts = np.minimum(numbers * max(1, exact.block // 2), len(result) - exact.block)
            places = starts[:, None] + np.arange(exact.block)
            result[places[counted]] = each[counted]
        else:
            result[numbers] = each
    return result


def impossible_ngrams(
    corpus: Corpus, nats: Float[np.ndarray, " predictions"], context: int
) -> list[str]:
    """Return the n-grams (context and symbol) whose nats are infinite, each once, in their order.

    ``nats`` has a number for each prediction of the corpus.
    """
    places = np.flatnonzero(np.isinf(nats))
    some = Windows(np.asarray(corpus.ids), None, context).take(places)
    columns = np.concatenate([some.tokens, some.targets[:, None]], 1)
    return list(dict.fromkeys(map(corpus.vocab.spell, columns.tolist())))


def _rows_by_length(rows: Rows, corpus: Corpus) -> Any:
    """Yield rows no longer than needed with the items of about that length, shortest first."""
    lengths = corpus.lengths + 1  # with the boundary
    order = np.argsort(lengths, kind="stable")
    sizes = np.maximum(8, 2 ** np.ceil(np.log2(lengths[order]))).astype(np.int64)
    for size in np.unique(sizes).tolist():
        yield rows.replace(length=size), order[sizes == size]  # type: ignore[attr-defined]


def _blocks(
    model: Model, params: Params, examples: Any, numbers: Int64[np.ndarray, " n"], batch_size: int
) -> Any:
    """Yield numbers in blocks with the nats of these examples."""
    size = min(block_size(model, params, examples, batch_size), len(numbers))
    for first in range(0, len(numbers), max(1, size)):
        block = numbers[first : first + size]
        filled = np.resize(block, size)
        if is_on_host(examples):
            each = _nats_of_batch(model, params, examples.take(filled))
        else:
            each = _nats_of(model, params, examples, filled.astype(np.int32))
        yield block, np.asarray(each)[: len(block)]


@partial(jax.jit, static_argnames="model")
def _nats_of(
    model: Model, params: Params, examples: Any, numbers: Int[Array, " B"]
) -> Float[Array, "B ..."]:
    return nats(model, params, examples.take(numbers))


_nats_of_batch = jax.jit(nats, static_argnums=0)
