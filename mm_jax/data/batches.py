"""Batches of examples on the device: (N, C) windows, or padded rows. Both give the same loss.

A window holds the C symbols before a prediction, padded on the left with the boundary (0). A row is
a whole item after C boundaries, padded on the right; padding has weight 0.
"""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from mm_jax.config.base import InputError
from mm_jax.data.corpus import Corpus, as_corpus
from mm_jax.data.vocab import Vocab


@flax.struct.dataclass
class Batch:
    """Examples: the tokens that the model reads, the targets, and the weight of each prediction."""

    tokens: Int32[Any, "... length"]  # (N, C) windows, or (N, C + L) rows
    targets: Int32[Any, "..."]  # (N,) or (N, L + 1)
    weights: Float[Any, "..."]  # like targets; 0 is padding

    @property
    def are_windows(self) -> bool:
        """Whether each example is one prediction, and not a row of them."""
        return self.tokens.ndim == self.targets.ndim + 1

    @property
    def num_axes(self) -> int:
        """How many axes there are before that of the examples: 0, or 1 where members have own."""
        return self.tokens.ndim - 2

    @property
    def num_examples(self) -> int:
        """N, or the number of examples of each member."""
        return self.tokens.shape[-2]

    @property
    def example_size(self) -> int:
        """Numbers that one example takes, about: its tokens, and the target."""
        return self.tokens.shape[-1] + 1

    def take(self, numbers: Int[Array, "..."]) -> "Batch":
        """Return the examples with these numbers."""
        return jax.tree.map(lambda leaf: leaf[numbers], self)

    @property
    def exact(self) -> "Batch":
        """The examples that have each prediction once: these."""
        return self


def windows(
    data: Sequence[str] | Corpus, vocab: Vocab | None = None, context: int | None = 1
) -> Batch:
    """Return one example per prediction: tokens (N, C), targets (N,), weights (N,), all 1.

    ``data`` are lines with their ``vocab``, or a corpus. N is the number of symbols plus the number
    of lines, since each line ends with a boundary. Raise SymbolError where a symbol is not in the
    vocabulary, InputError where there are no lines. Source: the data set of Bengio et al. (2003),
    as the second makemore lecture builds it.

    >>> from mm_jax.data.vocab import build_vocab
    >>> windows(["emma"], build_vocab(["emma"]), context=3).tokens.tolist()
    [[0, 0, 0], [0, 0, 2], [0, 2, 3], [2, 3, 3], [3, 3, 1]]
    """
    if context is None:
        raise InputError("a model without a context reads rows: make them with rows(...)")
    corpus = _corpus(data, vocab, context)
    numbers = np.arange(corpus.num_predictions)
    tokens = np.empty((len(numbers), context), np.int32)
    after = np.ones(len(numbers), bool)  # the last boundary before each prediction
    for place in reversed(range(context)):  # the newest symbol first
        ids = corpus.ids[np.maximum(numbers + (place + 1 - context), 0)]
        after &= ids != 0
        tokens[:, place] = ids * after
    weights = corpus.prediction_weights
    if weights is None:
        weights = np.ones(len(numbers), np.float32)
    return on_device(tokens, corpus.ids[1:].astype(np.int32), weights)


def rows(
    data: Sequence[str] | Corpus,
    vocab: Vocab | None = None,
    context: int | None = 1,
    length: int | None = None,
) -> Batch:
    """Return one example per item: tokens (N, C + L), targets and weights (N, L + 1).

    C is ``context``, or 1 where that is None, as of a model that reads rows. L is ``length`` in
    symbols, by default that of the longest item. Raise what ``windows`` raises, and InputError
    where an item is longer than ``length``.

    >>> from mm_jax.data.vocab import build_vocab
    >>> rows(["emma", "em"], build_vocab(["emma"]), context=1).targets.tolist()
    [[2, 3, 3, 1, 0], [2, 3, 0, 0, 0]]
    """
    context = 1 if context is None else context
    corpus = _corpus(data, vocab, context)
    lengths, longest = corpus.lengths, corpus.longest
    length = longest if length is None else length
    if longest > length:
        raise InputError(f"a line has {longest} symbols, more than the row's {length}")
    positions = np.arange(length + 1)
    targets = np.zeros((len(lengths), length + 1), np.int32)
    targets[positions < lengths[:, None]] = corpus.ids[corpus.ids != 0]
    tokens = np.pad(targets[:, :-1], ((0, 0), (context, 0)))
    weights = (positions <= lengths[:, None]).astype(np.float32)
    if corpus.weights is not None:
        weights *= corpus.weights[:, None]
    return on_device(tokens, targets, weights)


def distinct(batch: Batch) -> Batch:
    """Return each distinct example once, with the sum of its weights: the same loss, less work.

    The examples are sorted. Short windows repeat most: a text has at most V * V distinct bigrams.
    """
    tokens, targets, weights = map(np.asarray, (batch.tokens, batch.targets, batch.weights))
    columns = np.concatenate([tokens, targets.reshape(len(targets), -1)], 1)
    unique, inverse = np.unique(columns, axis=0, return_inverse=True)
    sums = np.zeros((len(unique), *weights.shape[1:]))
    np.add.at(sums, inverse.reshape(-1), weights)
    length = tokens.shape[1]
    return on_device(
        unique[:, :length], unique[:, length:].reshape(sums.shape), sums.astype(np.float32)
    )


def on_device(tokens: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Batch:
    """Return NumPy arrays as a Batch; jnp.asarray would compile a program for each shape."""
    return Batch(*jax.device_put((tokens, targets, weights)))


def pad_batch(batch: Batch, multiple: int) -> Batch:
    """Return the batch with examples of weight 0 added, up to a multiple of this number."""
    num_added = -len(batch.targets) % multiple

    def pad(leaf: Array) -> Array:
        return jnp.pad(leaf, [(0, num_added)] + [(0, 0)] * (leaf.ndim - 1))

    return Batch(pad(batch.tokens), pad(batch.targets), pad(batch.weights))


def _corpus(data: Sequence[str] | Corpus, vocab: Vocab | None, context: int) -> Corpus:
    """Return the data as a corpus. Raise InputError where no example can be made of them."""
    if context < 1:
        raise InputError(f"context must be at least 1, not {context}")
    corpus = as_corpus(data, vocab)
    if not corpus.num_predictions:
        raise InputError("there are no lines to make examples from")
    return corpus
