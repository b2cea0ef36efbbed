"""The examples of a corpus, made where they are used: windows, rows, and crops of a document.

Each kind holds the flat ids and makes a Batch of the examples with given numbers: on the device
inside a program, or on the host, where its arrays are NumPy's or a mapped file.
"""

from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Integer

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus, release

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
        xp = _module(self.ids)
        # One boundary stands in front, and so for those that would come before it.
        places = xp.maximum(_spread(xp, numbers, 1 - self.context, 1), 0)
        tokens = self.ids[places].astype(xp.int32)
        is_symbol = (tokens != 0)[..., ::-1].astype(xp.int32)
        since = xp.cumprod(is_symbol, -1, dtype=xp.int32)[..., ::-1]
        targets = self.ids[numbers + 1].astype(xp.int32)
        weights = _ones(xp, targets) if self.weights is None else self.weights[numbers]
        return Batch(tokens * since, targets, weights)

    @property
    def exact(self) -> "Windows":
        """The examples that have each prediction once: these."""
        return self


@flax.struct.dataclass
class Rows:
    """Each item of a corpus as a row: a boundary and its L tokens, padded on the right with 0."""

    ids: Integer[Any, " n"]
    offsets: Int[Any, " boundaries"]  # the place of each boundary
    weights: Float[Any, " items"] | None
    length: int = flax.struct.field(pytree_node=False)  # L, of the longest item

    @property
    def num_examples(self) -> int:
        """The number of items."""
        return self.offsets.shape[0] - 1

    @property
    def example_size(self) -> int:
        """Numbers that one example takes, about."""
        return self.length + 2

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return the rows (..., L + 1) of the items with these numbers."""
        xp = _module(self.ids)
        starts, ends = self.offsets[numbers][..., None], self.offsets[numbers + 1][..., None]
        places = _spread(xp, starts[..., 0], 0, self.length + 1)
        last = self.ids.shape[0] - 1
        tokens, targets = (
            xp.where(each < ends, self.ids[xp.minimum(each, last)], 0).astype(xp.int32)
            for each in (places, places + 1)
        )
        weights = (places < ends).astype(xp.float32)
        if self.weights is not None:
            weights = weights * self.weights[numbers][..., None]
        return Batch(tokens, targets, weights)

    @property
    def exact(self) -> "Rows":
        """The examples that have each prediction once: these."""
        return self


@flax.struct.dataclass
class Crops:
    """Each piece of ``block`` tokens that a document has, from any place on, as a row."""

    ids: Integer[Any, " n"]
    block: int = flax.struct.field(pytree_node=False)

    @property
    def num_examples(self) -> int:
        """The number of places where a crop can begin."""
        return self.ids.shape[0] - self.block

    @property
    def example_size(self) -> int:
        """Numbers that one example takes: its tokens, and the last target."""
        return self.block + 1

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return the crops (..., block) that begin at these places."""
        xp = _module(self.ids)
        places = _spread(xp, numbers, 0, self.block)
        tokens, targets = (self.ids[each].astype(xp.int32) for each in (places, places + 1))
        return Batch(tokens, targets, _ones(xp, targets))

    @property
    def exact(self) -> "Strides":
        """The examples that have each prediction once."""
        return Strides(self.ids, self.block)


@flax.struct.dataclass
class Strides:
    """Crops at every half block: each token is predicted once, after half a block or more.

    The first crop predicts all of its tokens; each other one those that no crop before it did.
    """

    ids: Integer[Any, " n"]
    block: int = flax.struct.field(pytree_node=False)

    @property
    def num_examples(self) -> int:
        """The number of crops."""
        stride = max(1, self.block // 2)
        return 1 + -(-(self.ids.shape[0] - 1 - self.block) // stride)

    @property
    def example_size(self) -> int:
        """Numbers that one example takes: its tokens, and the last target."""
        return self.block + 1

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return the crops (..., block) with these numbers."""
        xp = _module(self.ids)
        stride, last = max(1, self.block // 2), self.ids.shape[0] - 1 - self.block
        starts = xp.minimum(numbers * stride, last)[..., None]
        before = xp.minimum((numbers - 1) * stride, last)[..., None] + self.block
        batch = Crops(self.ids, self.block).take(starts[..., 0])
        first = (numbers == 0)[..., None]
        counts = first | (_spread(xp, starts[..., 0], 0, self.block) >= before)
        return Batch(batch.tokens, batch.targets, counts.astype(xp.float32))

    @property
    def exact(self) -> "Strides":
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


def examples_of(corpus: Corpus, context: int | None) -> Examples:
    """Return the examples that a model of this context learns from: windows, or rows where None.

    The ids of a corpus in memory are on the device, once for all contexts; those of a mapped one
    stay in its file. Raise InputError where there are none.
    """
    if not corpus.num_predictions:
        raise InputError("there are no lines to make examples from")
    ids = _array_of(corpus, "ids")
    if context is not None:
        return Windows(ids, _array_of(corpus, "prediction_weights"), context)
    if corpus.is_document:
        return Crops(ids, min(corpus.block, corpus.num_predictions))
    offsets, weights = _array_of(corpus, "offsets"), _array_of(corpus, "weights")
    return Rows(ids, offsets, weights, corpus.longest)


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
    """Return an array of a corpus: on the device, made once, or on the host as it is."""
    array = getattr(corpus, name)
    if array is None or corpus.is_mapped or len(corpus.ids) > MAX_ON_DEVICE:
        return array
    made = corpus.__dict__.setdefault("_on_device", {})
    if name not in made:
        array = array.astype(np.int32) if array.dtype == np.int64 else array
        with jax.ensure_compile_time_eval():  # also while a program is traced
            made[name] = jax.device_put(array)
    return made[name]


def _module(array: Any) -> Any:
    """Return numpy for an array on the host, jax.numpy for one on a device."""
    return np if isinstance(array, np.ndarray) else jnp


def _spread(xp: Any, numbers: Any, first: int, end: int) -> Any:
    """Return each number plus ``first`` to ``end``, along one more axis; 64 bits on the host."""
    steps = np.arange(first, end, dtype=np.int64) if xp is np else jnp.arange(first, end)
    return numbers[..., None] + steps.reshape((1,) * numbers.ndim + (-1,))


def _ones(xp: Any, targets: Any) -> Any:
    """Return weights of 1; a program that knew them would sum a loss in another order."""
    ones = xp.ones(targets.shape, xp.float32)
    return ones if xp is np else jax.lax.optimization_barrier(ones)
