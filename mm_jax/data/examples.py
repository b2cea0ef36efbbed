"""The examples of a corpus, made where they are used: windows, or rows (row_examples.py).

Each kind holds the flat ids and makes a Batch of the examples with given numbers: on the device
inside a program, or on the host, where its arrays are NumPy's or a mapped file.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import numpy as np
from jaxtyping import Float, Int, Integer

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus, release
from mm_jax.data.host_or_device import module_of, ones, since_boundary, spread
from mm_jax.data.packing import pack
from mm_jax.data.row_examples import Crops, Rows

MAX_ON_DEVICE = 2**31 - 2**20  # ids that 32 bits can number, and some more
SEGMENT_BYTES = 2**26  # of a mapped file that are in memory at once


@runtime_checkable
class Examples(Protocol):
    """What a model learns from or is measured on, by number: a Batch, or one of those below."""

    @property
    def num_examples(self) -> int:
        """How many there are."""

    @property
    def example_size(self) -> int:
        """Numbers that one example takes, about."""

    @property
    def exact(self) -> Any:
        """The examples that have each prediction once."""

    def take(self, numbers: Any) -> Batch:
        """Return those with these numbers."""


@flax.struct.dataclass
class Windows:
    """Each prediction of a corpus as the ``context`` ids before it, back to the last boundary."""

    ids: Integer[Any, " n"]
    weights: Float[Any, " predictions"] | None  # of each prediction; None: all 1
    context: int = flax.struct.field(pytree_node=False)

    @property
    def num_examples(self) -> int:
        """The number of predictions."""
        return self.ids.shape[0] - 1

    @property
    def example_size(self) -> int:
        """Numbers that one example takes: its tokens, and the target."""
        return self.context + 1

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return the windows (..., C) of the predictions with these numbers."""
        xp = module_of(self.ids)
        # One boundary stands in front, and so for those that would come before it.
        places = xp.maximum(spread(xp, numbers, 1 - self.context, 1), 0)
        tokens = self.ids[places].astype(xp.int32)
        targets = self.ids[numbers + 1].astype(xp.int32)
        weights = ones(xp, targets) if self.weights is None else self.weights[numbers]
        return Batch(since_boundary(xp, tokens), targets, weights)

    @property
    def exact(self) -> "Windows":
        """The examples that have each prediction once: these."""
        return self


@flax.struct.dataclass
class Subset:
    """Some examples of others, in the order of their numbers."""

    examples: Any
    numbers: Int[Any, " m"]

    @property
    def num_examples(self) -> int:
        """How many there are."""
        return self.numbers.shape[0]

    @property
    def example_size(self) -> int:
        """Numbers that one example takes."""
        return self.examples.example_size

    @property
    def ids(self) -> Any:
        """The flat ids."""
        return self.examples.ids

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return those with these numbers in the subset."""
        return self.examples.take(self.numbers[numbers])

    @property
    def exact(self) -> "Subset":
        """The examples that have each prediction once: these."""
        return self


def examples_of(corpus: Corpus, context: int | None, row_length: int | None = None) -> Examples:
    """Return the examples that a model of this context learns from: windows, or rows where None.

    A row is one item, or as many whole ones as ``row_length`` tokens hold. The ids of a corpus in
    memory are on the device, once for all contexts; those of a mapped one stay in its file. Raise
    InputError where there are none, or an item is longer than a row.
    """
    if not corpus.num_predictions:
        raise InputError("there are no lines to make examples from")
    ids = _array_of(corpus, "ids")
    if context is not None:
        return Windows(ids, _array_of(corpus, "prediction_weights"), context)
    if corpus.is_document:
        return Crops(ids, min(corpus.block, corpus.num_predictions))
    weights = _array_of(corpus, "prediction_weights")
    if row_length is None:
        return Rows(ids, _array_of(corpus, "offsets"), weights, corpus.longest + 1)
    return Rows(ids, _starts_of(corpus, row_length), weights, row_length)


def packed_rows(corpus: Corpus, row_length: int) -> Examples:
    """Return rows of ``row_length`` tokens that whole items share, one after another.

    For models that read rows: they begin anew at each boundary, so that losses and gradients are
    those of items in rows of their own. Raises InputError where an item is longer than a row.

    >>> from mm_jax.data.corpus import encode_corpus
    >>> from mm_jax.data.vocab import build_vocab
    >>> corpus = encode_corpus(["em", "ma", "e"], build_vocab(["em", "ma"]))
    >>> packed_rows(corpus, 6).take(jax.numpy.array([0, 1])).tokens.tolist()
    [[0, 2, 3, 0, 3, 1], [0, 2, 0, 0, 0, 0]]
    """
    return examples_of(corpus, None, row_length)


def is_on_host(examples: Any) -> bool:
    """Check whether examples have to be gathered on the host: their ids are not on a device."""
    return isinstance(getattr(examples, "ids", None), np.ndarray)


def gather(examples: Any, numbers: Int[np.ndarray, "..."]) -> Batch:
    """Return the examples with these numbers, on the host; of a mapped file little stays in memory.

    They are read in the order of the file.
    """
    flat = numbers.reshape(-1)
    order = np.argsort(flat, kind="stable")
    num_parts = max(1, -(-examples.ids.nbytes // SEGMENT_BYTES))
    parts = []
    for some in np.array_split(order, min(num_parts, max(1, len(order)))):
        parts.append(examples.take(flat[some]))
        release(examples.ids)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[back], *parts)
    return jax.tree.map(lambda leaf: leaf.reshape(*numbers.shape, *leaf.shape[1:]), joined)


def evenly(examples: Any, num_predictions: int, limit: int) -> Any:
    """Return examples with at most about ``limit`` predictions: all, or some, evenly spread."""
    if num_predictions <= limit:
        return examples
    total = examples.exact.num_examples
    count = max(1, total * limit // num_predictions)
    numbers = np.arange(count, dtype=np.int64) * total // count
    if not is_on_host(examples):
        numbers = jax.device_put(numbers.astype(np.int32))
    return Subset(examples.exact, numbers)


def _array_of(corpus: Corpus, name: str) -> Any:
    """Return an array of a corpus: on the device, or on the host as it is."""
    return _made_once(corpus, name, lambda: getattr(corpus, name))


def _starts_of(corpus: Corpus, row_length: int) -> Any:
    """Return where the rows that items share begin: on the device, or on the host."""
    return _made_once(corpus, row_length, lambda: pack(corpus.offsets, row_length))


def _made_once(corpus: Corpus, name: str | int, make: Callable[[], Any]) -> Any:
    """Return an array of a corpus, which is made and goes to the device once, if it fits there."""
    made = corpus.__dict__.setdefault("_made", {})
    if name not in made:
        array = make()
        if array is None or corpus.is_mapped or len(corpus.ids) > MAX_ON_DEVICE:
            made[name] = array
        else:
            array = array.astype(np.int32) if array.dtype == np.int64 else array
            with jax.ensure_compile_time_eval():  # also while a program is traced
                made[name] = jax.device_put(array)
    return made[name]
