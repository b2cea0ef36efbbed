"""The minibatches of steps: which examples they have, and how the host gathers them ahead.

That of step i is drawn from fold_in(key, i) alone.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from mm_jax.data.batches import Batch
from mm_jax.data.examples import gather, is_on_host

CHUNK_TOKENS = 2**22  # bounds a chunk's minibatches, which are gathered before its first step


@flax.struct.dataclass
class Minibatches:
    """The minibatches of a chunk of steps, which the host has gathered for them."""

    batches: Batch  # (steps, B, ...)


def chunk_length(data: Any, batch_size: int | None, max_steps: int = 1000) -> int:
    """Return how many steps a chunk may have so that its minibatches fit CHUNK_TOKENS."""
    examples = data.num_examples if batch_size is None else max(1, batch_size)
    return max(1, min(max_steps, CHUNK_TOKENS // (examples * data.example_size)))


def minibatch_ids(
    key: Key[Array, ""], step: Int[Array, ""], num_examples: int, batch_size: int
) -> Int[Array, " B"]:
    """Return the examples of step ``step``: drawn with replacement, as the lecture does."""
    key_step = jax.random.fold_in(key, step)
    return jax.random.randint(key_step, (batch_size,), 0, num_examples)


def gather_minibatches(
    examples: Any, key: Key[Array, ""], step: int, steps: int, batch_size: int, num_steps: int
) -> Minibatches:
    """Return the minibatches of ``steps`` steps from ``step`` on, gathered on the host.

    They are those that ``fit`` would draw; what is missing to ``num_steps`` is empty.
    """
    num_examples = examples.num_examples
    numbers = np.asarray(_drawn(key, np.int32(step), steps, num_examples, batch_size))
    if num_examples >= 2**31:  # two numbers of 32 bits each
        numbers = ((numbers[..., 0].astype(np.uint64) << 32) | numbers[..., 1]) % num_examples
    batches = gather(examples, numbers.astype(np.int64))

    def fill(leaf: np.ndarray) -> np.ndarray:
        return np.concatenate([leaf, np.zeros((num_steps - steps, *leaf.shape[1:]), leaf.dtype)])

    return Minibatches(jax.tree.map(fill, batches) if steps < num_steps else batches)


@partial(jax.jit, static_argnames=("steps", "num_examples", "batch_size"))
def _drawn(
    key: Key[Array, ""], step: Int[Array, ""], steps: int, num_examples: int, batch_size: int
) -> Array:
    def draw(number: Int[Array, ""]) -> Array:
        if num_examples < 2**31:
            return minibatch_ids(key, number, num_examples, batch_size)
        return jax.random.bits(jax.random.fold_in(key, number), (batch_size, 2), jnp.uint32)

    return jax.vmap(draw)(step + jnp.arange(steps))


class Prefetcher:
    """Gathers the minibatches of the next chunk in a thread, where they come from the host."""

    def __init__(self, data: Any, key: Key[Array, ""], batch_size: int | None, length: int) -> None:
        self.data, self.batch_size, self.length = data, batch_size, length
        self.key = jax.random.clone(key)  # of its own: a state may be donated
        self.pool = ThreadPoolExecutor(1) if is_on_host(data) and batch_size else None
        self.coming: tuple[int, int, Any] | None = None  # first step, steps, future

    def __enter__(self) -> "Prefetcher":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being gathered, and end."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def get(self, step: int, count: int, following: tuple[int, int]) -> Any:
        """Return the minibatches of ``count`` steps, and begin to gather the following ones."""
        if self.pool is None:
            return self.data
        if self.coming is None or self.coming[:2] != (step, count):
            self.coming = (step, count, self.pool.submit(self._gather, step, count))
        minibatches = self.coming[2].result()
        self.coming = (*following, self.pool.submit(self._gather, *following))
        return minibatches

    def _gather(self, step: int, count: int) -> Minibatches | None:
        if not count:
            return None
        size = self.batch_size or 1
        return gather_minibatches(self.data, self.key, step, count, size, self.length)
