"""The examples of models that read rows: whole items, and crops of a document."""

from typing import Any

import flax.struct
from jaxtyping import Float, Int, Integer

from mm_jax.data.batches import Batch
from mm_jax.data.host_or_device import module_of, ones, spread


@flax.struct.dataclass
class Rows:
    """Whole items of a corpus as rows: a boundary and its tokens, one item or several in a row.

    Behind the last item of a row is padding: boundaries of weight 0.
    """

    ids: Integer[Any, " n"]
    starts: Int[Any, " boundaries"]  # the place where each row begins, and where the last one ends
    weights: Float[Any, " predictions"] | None  # of each prediction; None: all 1
    length: int = flax.struct.field(pytree_node=False)  # T, of each row

    @property
    def num_examples(self) -> int:
        """The number of rows."""
        return self.starts.shape[0] - 1

    @property
    def example_size(self) -> int:
        """Numbers that one example takes, about."""
        return self.length + 1

    def take(self, numbers: Int[Any, "..."]) -> Batch:
        """Return the rows (..., T) with these numbers."""
        xp = module_of(self.ids)
        places = spread(xp, self.starts[numbers], 0, self.length)
        inside = places < self.starts[numbers + 1][..., None]
        last = self.ids.shape[0] - 1
        tokens, targets = (
            xp.where(inside, self.ids[xp.minimum(each, last)], 0).astype(xp.int32)
            for each in (places, places + 1)
        )
        weights = inside.astype(xp.float32)
        if self.weights is not None:
            weights = weights * self.weights[xp.minimum(places, last - 1)]
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
        xp = module_of(self.ids)
        places = spread(xp, numbers, 0, self.block)
        tokens, targets = (self.ids[each].astype(xp.int32) for each in (places, places + 1))
        return Batch(tokens, targets, ones(xp, targets))

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
        xp = module_of(self.ids)
        stride, last = max(1, self.block // 2), self.ids.shape[0] - 1 - self.block
        starts = xp.minimum(numbers * stride, last)[..., None]
        before = xp.minimum((numbers - 1) * stride, last)[..., None] + self.block
        batch = Crops(self.ids, self.block).take(starts[..., 0])
        first = (numbers == 0)[..., None]
        counts = first | (spread(xp, starts[..., 0], 0, self.block) >= before)
        return Batch(batch.tokens, batch.targets, counts.astype(xp.float32))

    @property
    def exact(self) -> "Strides":
        """The examples that have each prediction once: these."""
        return self
