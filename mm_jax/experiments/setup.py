"""Choices -> what training and range tests begin with: dataset, model, data on the device.

Whatever cannot be learned from, or does not fit in memory, is refused here, before the work.
"""

import dataclasses
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Integer, Key

from mm_jax.config.base import InputError, flag
from mm_jax.config.training import TrainingConfig
from mm_jax.data.corpus import Corpus
from mm_jax.data.dataset import Dataset, load_dataset
from mm_jax.data.distinct import distinct_examples
from mm_jax.data.examples import Examples
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params, num_params
from mm_jax.models.registry import build_model
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.hardware import device_bytes
from mm_jax.training.data import check_lengths
from mm_jax.training.evaluate import MAX_NUMBERS
from mm_jax.training.sampled_softmax import with_sampled_symbols
from mm_jax.training.state import TrainState, init_state

C = TypeVar("C", bound=TrainingConfig)
OFFSET_BYTES = 24  # of an item: where it begins, and its hash and place while it is split
FULL_BATCH_BYTES = 40  # of a prediction while equal ones are counted
EVALUATION_ROWS = 4096  # examples that are evaluated at once
LOGITS_BYTES = 4 * 4  # of a logit: itself, and what it becomes on its way


class Setup(NamedTuple):
    """What training begins with: which model learns from which data, with which choices."""

    config: TrainingConfig
    dataset: Dataset
    model: Model
    data: Examples  # of the training split
    num_params: int
    state_bytes: int  # of one TrainState
    num_examples: int
    max_seeds: int  # how many seeds' states fit in memory

    @property
    def vocab(self) -> Vocab:
        """Its symbols."""
        return self.dataset.vocab

    @property
    def dev_data(self) -> Examples | None:
        """What the dev loss is measured on, or None where nothing is held out."""
        if not self.dataset.has_dev:
            return None
        model = self.model
        return self.dataset.evaluated("dev", model.context, packed=model.restarts, during=True)

    @property
    def batch_size(self) -> int | None:
        """Examples per step; None for all of them."""
        return None if self.config.full_batch else self.config.batch_size

    @property
    def tokens_per_step(self) -> float:
        """How many predictions a step learns from, on average."""
        train = self.dataset.splits.train
        if self.batch_size is None:
            return float(train.num_predictions)
        per_example = train.num_predictions / self.data.num_examples
        if train.is_document and self.model.context is None:
            per_example = self.data.example_size - 1
        return float(self.batch_size * per_example)

    def initial_state(
        self, optimizer: optax.GradientTransformation, sharding: NamedSharding | None = None
    ) -> TrainState:
        """Return the state before the first step, computed by one program: faster than eagerly."""
        seed = np.uint32(self.config.seed)
        same = dataclasses.replace(self.config, seed=0)  # one program for all seeds
        return _jitted_init(sharding)(same, self.model, optimizer, seed)

    def initial_states(self, optimizer: optax.GradientTransformation, num: int) -> TrainState:
        """Return the states of ``num`` seeds, counted from the configured one, as a population."""
        seeds = jnp.uint32(self.config.seed) + jnp.arange(num, dtype=jnp.uint32)
        begin = partial(_init, self.config, self.model, optimizer)
        return jax.jit(lambda seeds: jax.vmap(begin)(jax.vmap(jax.random.key)(seeds)))(seeds)


def load_setup(
    config: TrainingConfig,
    optimizer: optax.GradientTransformation,
    num_seeds: int = 1,
    dataset: Dataset | None = None,
) -> Setup:
    """Read the data, unless ``dataset`` holds them already, and build the model.

    Raises InputError where items are too long for the model, or the states of ``num_seeds`` seeds
    and the data do not fit in memory.
    """
    dataset = dataset or load_dataset(config.data)
    config = for_dataset(config, dataset)
    model = build_model(config.model, len(dataset.vocab))
    if config.sampled_symbols:
        counts = dataset.splits.train.symbol_counts
        model = with_sampled_symbols(model, counts, config.sampled_symbols)

    def arrays() -> tuple[list[Array], Params]:
        state = _init(config, model, optimizer, jax.random.key(0))
        return jax.tree.leaves(state), state.params

    leaves, params = jax.eval_shape(arrays)
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    train = dataset.splits.train
    max_seeds = check_memory(state_bytes, dataset, model, params, config, num_seeds)
    check_lengths(model, *dataset.splits)
    data = dataset.examples("train", model.context, row_length_of(config, dataset, model))
    return Setup(
        config=config,
        dataset=dataset,
        model=model,
        data=distinct_examples(train, model.context) if config.full_batch else data,
        num_params=num_params(params),
        state_bytes=state_bytes,
        num_examples=train.num_predictions,
        max_seeds=max_seeds,
    )


def for_dataset(config: C, dataset: Dataset) -> C:
    """Return the choices with those of the model that are left to the data."""
    if config.model.is_complete:  # else the items of all splits would be measured for nothing
        return config
    return dataclasses.replace(config, model=config.model.for_items(dataset.most_tokens))


def row_length_of(config: TrainingConfig, dataset: Dataset, model: Model) -> int | None:
    """Return how many tokens a row has: --row-length, or more where an item needs them.

    None where a row is one item, or a crop. Raises InputError for a model of windows.
    """
    if not config.row_length or dataset.splits.train.is_document:
        return None
    if model.context is not None:
        name = config.model.name
        raise InputError(f"--row-length is for models that read rows, and {name} reads windows")
    return max(config.row_length, dataset.splits.train.longest + 1)


def _init(
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
def _jitted_init(sharding: NamedSharding | None) -> Any:
    def begin(
        config: TrainingConfig,
        model: Model,
        optimizer: optax.GradientTransformation,
        seed: Integer[Array, ""],
    ) -> TrainState:
        return _init(config, model, optimizer, jax.random.key(seed))

    return jax.jit(begin, static_argnums=(0, 1, 2), out_shardings=sharding)


def check_memory(
    state_bytes: int,
    dataset: Dataset,
    model: Model,
    params: Params,
    config: TrainingConfig,
    num_seeds: int,
) -> int:
    """Return how many seeds' states fit in memory beside the data, one of ``state_bytes`` each.

    ``params`` may be shapes. Raises InputError where these are fewer than ``num_seeds``, which says
    how large a batch fits, if a smaller one does.
    """
    available_bytes = device_bytes(jax.local_devices()[0])
    # The state before a chunk, the state in it, and gradients; the data; and what a block of logits
    # becomes on its way.
    other_bytes = 2 * state_bytes + sum(map(corpus_bytes, dataset.splits))
    predictions = sum(part.num_predictions for part in dataset.splits)
    V, rows = len(dataset.vocab), min(predictions, EVALUATION_ROWS)
    other_bytes += LOGITS_BYTES * min(rows * V, max(V, MAX_NUMBERS))
    if config.full_batch:
        other_bytes += FULL_BATCH_BYTES * predictions + 4 * (model.lead + 2) * predictions
    example_bytes = 0 if config.full_batch else _example_bytes(dataset, model, params, config)
    other_bytes += config.batch_size * example_bytes
    max_seeds = int((available_bytes - other_bytes) // state_bytes)
    if max_seeds < num_seeds:
        needed_bytes = other_bytes + num_seeds * state_bytes
        left_bytes = available_bytes - needed_bytes + config.batch_size * example_bytes
        if example_bytes and left_bytes >= example_bytes:
            raise InputError(
                f"training this takes about {size_text(needed_bytes)}, and there are "
                f"{size_text(available_bytes)}; --batch-size {left_bytes // example_bytes} fits"
            )
        sizes = [name for name, value in vars(config.model).items() if isinstance(value, int)]
        remedies = [f"a smaller {' or '.join(map(flag, sizes))}"] if sizes else []
        remedies.append(f"--seeds {max_seeds}" if max_seeds > 0 else "fewer lines or symbols")
        raise InputError(
            f"training this takes about {size_text(needed_bytes)}, and there are "
            f"{size_text(available_bytes)}; {' or '.join(remedies)} takes less"
        )
    return max_seeds


def _example_bytes(dataset: Dataset, model: Model, params: Params, config: TrainingConfig) -> int:
    """Return about how many bytes a step takes for each example of its minibatch.

    Where the loss is computed in tiles these are the features of the last layer, else the logits,
    of all symbols or of those drawn.
    """
    train, num = dataset.splits.train, 1
    if model.context is None:
        whole = config.data.block if train.is_document else train.longest + 1
        num = row_length_of(config, dataset, model) or whole
    numbers, last_layer = len(dataset.vocab), model.head
    if model.draw_symbols is not None:
        numbers = config.sampled_symbols
    elif last_layer is not None:
        tokens = jax.ShapeDtypeStruct((1, model.lead), np.int32)
        head = jax.eval_shape(lambda *args: last_layer(*args, None), params, tokens)
        numbers = min(numbers, 2 * head.features.shape[-1])
    return LOGITS_BYTES * num * numbers


def corpus_bytes(corpus: Corpus) -> int:
    """Return how much memory a corpus takes: its ids, on the device and off it, and offsets."""
    if corpus.is_mapped:
        return 0
    return 2 * corpus.ids.nbytes + OFFSET_BYTES * len(corpus)
