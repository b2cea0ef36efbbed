"""Choices -> what training and range tests begin with: lines, symbols, model, data on the device.

Whatever cannot be learned from, or does not fit in memory, is found here, before anything is run.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Integer, Key

from mm_jax.config.base import InputError, flag
from mm_jax.config.training import NUM_SAMPLES, TrainingConfig
from mm_jax.data.batches import Batch, distinct
from mm_jax.data.dataset import Dataset, load_dataset
from mm_jax.data.splits import Splits
from mm_jax.data.text import Text, num_predictions
from mm_jax.data.vocab import Vocab, decode_lines
from mm_jax.models.base import Model, Params, num_params
from mm_jax.models.registry import build_model
from mm_jax.models.sampling import sample
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import device_bytes
from mm_jax.training.evaluate import evaluate
from mm_jax.training.step import TrainState, init_state

LINE_BYTES = 100  # that a line takes beside its symbols, in lists of strings
EVALUATED = 4096  # examples that are evaluated at once


class EvalResult(NamedTuple):
    """What a model does after its training."""

    train_loss: float
    dev_loss: float | None  # None where no lines are held out
    samples: list[str]


def evaluate_and_sample(
    model: Model, params: Params, dataset: Dataset, config: TrainingConfig
) -> EvalResult:
    """Return the exact losses of a model, in nats a symbol, and lines that it makes."""
    # mesh is named because it is where a session looks at dev: jit compiles other arguments anew.
    exact = partial(evaluate, model, params, mesh=None)
    train_loss = float(exact(dataset.batch("train", config.model.layout, model.context)))
    dev_loss = None
    if dataset.splits.dev:
        dev_loss = float(exact(dataset.batch("dev", config.model.layout, model.context)))
    tokens, _ = sample(model, params, jax.random.key(0), num=NUM_SAMPLES)
    return EvalResult(train_loss, dev_loss, decode_lines(dataset.vocab, jax.device_get(tokens)))


class Setup(NamedTuple):
    """What is minimised on what, and from where."""

    config: TrainingConfig
    dataset: Dataset
    model: Model
    data: Batch  # of the training lines
    num_params: int
    state_bytes: int  # of all that training changes
    num_examples: int
    most_seeds: int  # whose states fit in memory

    @property
    def text(self) -> Text:
        """The file."""
        return self.dataset.text

    @property
    def splits(self) -> Splits:
        """Its lines for training, dev and test."""
        return self.dataset.splits

    @property
    def vocab(self) -> Vocab:
        """Its symbols."""
        return self.dataset.vocab

    @property
    def dev_data(self) -> Batch | None:
        """The lines held out for dev, or None where none are."""
        held_out = self.dataset.splits.dev
        return (
            self.dataset.batch("dev", self.config.model.layout, self.model.context)
            if held_out
            else None
        )

    @property
    def batch_size(self) -> int | None:
        """Examples of a step; None for all of them."""
        return None if self.config.full_batch else self.config.batch_size

    def begin(self, optimizer: optax.GradientTransformation, key: Key[Array, ""]) -> TrainState:
        """Return the state before the first step."""
        return _begin(self.config, self.model, optimizer, key)

    def begin_whole(
        self, optimizer: optax.GradientTransformation, sharding: NamedSharding | None = None
    ) -> TrainState:
        """Return that of the seed, as one program makes it: faster than part by part."""
        seed = np.uint32(self.config.seed)
        return _jitted(sharding)(self.config, self.model, optimizer, seed)

    def begin_seeds(self, optimizer: optax.GradientTransformation, num: int) -> TrainState:
        """Return the states of ``num`` seeds, from the one of the choices on, as a population."""
        seeds = jnp.uint32(self.config.seed) + jnp.arange(num, dtype=jnp.uint32)
        begin = partial(self.begin, optimizer)
        return jax.jit(lambda seeds: jax.vmap(begin)(jax.vmap(jax.random.key)(seeds)))(seeds)


def load_setup(
    config: TrainingConfig,
    optimizer: optax.GradientTransformation,
    num_seeds: int = 1,
    dataset: Dataset | None = None,
) -> Setup:
    """Read the data, or take the ``source`` that was read, and make the model.

    Raises InputError where the states of ``num_seeds`` seeds and the data do not fit in memory.
    """
    dataset = dataset or load_dataset(config.data)
    model = build_model(config.model, len(dataset.vocab))

    def arrays() -> tuple[list[Array], Params]:
        state = _begin(config, model, optimizer, jax.random.key(0))
        return jax.tree.leaves(state), state.params

    leaves, params = jax.eval_shape(arrays)
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    most_seeds = check_memory(state_bytes, dataset, model.context, config, num_seeds)
    data = dataset.batch("train", config.model.layout, model.context)
    return Setup(
        config=config,
        dataset=dataset,
        model=model,
        data=distinct(data) if config.full_batch else data,
        num_params=num_params(params),
        state_bytes=state_bytes,
        num_examples=num_predictions(dataset.splits.train),
        most_seeds=most_seeds,
    )


def _begin(
    config: TrainingConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
) -> TrainState:
    data_seed, scale = config.data_seed, config.init_scale
    return init_state(
        model,
        optimizer,
        key,
        key_data=None if data_seed is None else jax.random.key(data_seed),
        init_scale=None if scale == 1 else scale,
        regularization=config.regularization or None,
        label_smoothing=config.label_smoothing or None,
        average_decay=getattr(config, "average_decay", None) or None,
    )


@cache
def _jitted(sharding: NamedSharding | None) -> Any:
    def begin(
        config: TrainingConfig,
        model: Model,
        optimizer: optax.GradientTransformation,
        seed: Integer[Array, ""],
    ) -> TrainState:
        return _begin(config, model, optimizer, jax.random.key(seed))

    return jax.jit(begin, static_argnums=(0, 1, 2), out_shardings=sharding)


def check_memory(
    state_bytes: int, dataset: Dataset, context: int, config: TrainingConfig, num_seeds: int
) -> int:
    """Return how many states fit in memory beside the data; raise InputError where too few do."""
    there, lines = device_bytes(jax.local_devices()[0]), dataset.text.lines
    num = num_predictions(lines)
    rows = max(EVALUATED if num > EVALUATED else num, 0 if config.full_batch else config.batch_size)
    # The state before a chunk, the state in it, and gradients; text; windows as they are made,
    # after that, and as they are evaluated; and what a block of logits becomes on its way.
    others = 2 * state_bytes + LINE_BYTES * len(lines) + (12 * (context + 2) + 4) * num
    others += 4 * 4 * rows * len(dataset.vocab)
    most = int((there - others) // state_bytes)
    if most < num_seeds:
        needed = others + num_seeds * state_bytes
        sizes = [n for n, value in vars(config.model).items() if isinstance(value, int)]
        mends = [f"a smaller {' or '.join(map(flag, sizes))}"] if sizes else []
        mends += [f"--seeds {most}"] if 0 < most < num_seeds else ["fewer lines or symbols"]
        raise InputError(
            f"training this takes about {size_text(needed)}, and there are {size_text(there)}; "
            f"{' or '.join(mends)} takes less"
        )
    return most
