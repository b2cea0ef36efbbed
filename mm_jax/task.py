"""Choices -> what training and range tests begin with: lines, symbols, model, data on the device.

Whatever cannot be learned from, or does not fit in memory, is found here, before anything is run.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mm_jax.choices import InputError, flag
from mm_jax.config import TaskConfig
from mm_jax.memory import device_bytes
from mm_jax.model import Model, Params, num_params
from mm_jax.models import build_model
from mm_jax.run import make_batch
from mm_jax.text import Splits, Text, load_splits, num_predictions, overlap
from mm_jax.train import TrainState, init_state
from mm_jax.vocab import Vocab, build_vocab
from mm_jax.windows import Batch, distinct


class Task(NamedTuple):
    """What is minimised on what, and from where."""

    config: TaskConfig
    text: Text
    splits: Splits
    vocab: Vocab
    model: Model
    data: Batch  # of the training lines
    num_params: int
    num_examples: int
    dev_lines_in_train: float  # the share of dev lines that stand in train too
    most_seeds: int  # whose states fit in memory

    @property
    def batch_size(self) -> int | None:
        """Examples of a step; None for all of them."""
        return None if self.config.full_batch else self.config.batch_size

    def begin(self, optimizer: optax.GradientTransformation, key: Key[Array, ""]) -> TrainState:
        """Return the state before the first step."""
        return _begin(self.config, self.model, optimizer, key)

    def begin_seeds(self, optimizer: optax.GradientTransformation, num: int) -> TrainState:
        """Return the states of ``num`` seeds, from the one of the choices on, as a population."""
        seeds = jnp.uint32(self.config.seed) + jnp.arange(num, dtype=jnp.uint32)
        begin = partial(self.begin, optimizer)
        return jax.jit(lambda seeds: jax.vmap(begin)(jax.vmap(jax.random.key)(seeds)))(seeds)


def load_task(
    config: TaskConfig, optimizer: optax.GradientTransformation, num_seeds: int = 1
) -> Task:
    """Read the data and make the model.

    Raises InputError where the states of ``num_seeds`` seeds and the data do not fit in memory.
    """
    text, splits = load_splits(config.data)
    vocab = build_vocab(text.lines)
    model = build_model(config.model, len(vocab))

    def arrays(key: Key[Array, ""]) -> tuple[list[Array], Params]:
        state = _begin(config, model, optimizer, key)
        return jax.tree.leaves(state), state.params

    leaves, params = jax.eval_shape(arrays, jax.random.key(0))
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    most_seeds = check_memory(state_bytes, text.lines, model.context, config, num_seeds)
    data = make_batch(splits.train, vocab, model, config)
    return Task(
        config=config,
        text=text,
        splits=splits,
        vocab=vocab,
        model=model,
        data=distinct(data) if config.full_batch else data,
        num_params=num_params(params),
        num_examples=num_predictions(splits.train),
        dev_lines_in_train=overlap(splits.dev, splits.train) if splits.dev else 0.0,
        most_seeds=most_seeds,
    )


def _begin(
    config: TaskConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
) -> TrainState:
    return init_state(model, optimizer, key, regularization=config.regularization or None)


def check_memory(
    state_bytes: int, lines: list[str], context: int, config: TaskConfig, num_seeds: int
) -> int:
    """Return how many states fit in memory beside the data; raise InputError where too few do."""
    there = device_bytes(jax.devices()[0])
    # The state before a chunk, the state in it, and gradients; windows as they are made and after.
    others = 2 * state_bytes + 2 * 4 * (context + 2) * num_predictions(lines)
    most = int((there - others) // state_bytes)
    if most < num_seeds:
        needed = others + num_seeds * state_bytes
        sizes = [n for n, value in vars(config.model).items() if isinstance(value, int)]
        mends = [f"a smaller {' or '.join(map(flag, sizes))}"] if sizes else []
        mends += [f"--seeds {most}"] if 0 < most < num_seeds else []
        raise InputError(
            f"training this takes about {needed / 1e9:,.0f} GB, and there is "
            f"{there / 1e9:,.0f} GB" + (f"; {' or '.join(mends)} takes less" if mends else "")
        )
    return most
