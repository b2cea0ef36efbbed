"""The choices of each model, and the tables of models by name. Imports no jax."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError

MAX_LEN = 64  # symbols after which a sampled line is cut, by default


class ModelTraits:
    """What other modules need to know about the kind of a model."""

    name: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class NgramConfig(Choices, ModelTraits):
    """Counts of n-grams with k added to each (add-k smoothing)."""

    name: ClassVar[str] = "ngram"

    order: Annotated[int, Between(1, 30)] = 2
    """Symbols in an n-gram: the predicted one and those before it."""
    smoothing: Annotated[float, Between(0, MAX_FLOAT)] = 1.0
    """The k added to every count; 0 is maximum likelihood."""

    def __post_init__(self) -> None:
        """Refuse a k that float32 cannot tell from 0."""
        super().__post_init__()
        if 0 < self.smoothing < 1 / MAX_FLOAT:
            raise InputError(f"--smoothing must be 0 or at least {1 / MAX_FLOAT:g}")


@dataclasses.dataclass(frozen=True)
class KneserNeyConfig(Choices, ModelTraits):
    """Interpolated Kneser-Ney: each order is discounted and mixed with the next lower one."""

    name: ClassVar[str] = "kneser-ney"

    order: Annotated[int, Between(2, 30)] = 6
    """Symbols in the longest n-gram."""


@dataclasses.dataclass(frozen=True)
class BigramConfig(Choices, ModelTraits):
    """The bigram as a neural net: one matrix W, whose row W[last symbol] is the logits."""

    name: ClassVar[str] = "bigram"

    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: standard normal; scaled: a tenth of that, so that the first loss is near ln V."""


@dataclasses.dataclass(frozen=True)
class MLPConfig(Choices, ModelTraits):
    """The multilayer perceptron of Bengio et al. (2003)."""

    name: ClassVar[str] = "mlp"

    context: Count = 3
    """Symbols that the model reads to predict the next one."""
    embed_dim: Count = 10
    """Numbers per symbol in the embedding table C."""
    hidden_dim: Count = 200
    """Units of the tanh layer."""
    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: standard normal; scaled: by fan-in, so that the first loss is near ln V."""
    dropout: Annotated[float, Between(0, 0.99)] = 0.0
    """Share of hidden units that a training step drops, rounded to a multiple of 1/256."""


CountedConfig = NgramConfig | KneserNeyConfig
TrainedConfig = MLPConfig | BigramConfig
ModelConfig = CountedConfig | TrainedConfig

COUNTED: dict[str, type[CountedConfig]] = {
    config.name: config for config in (NgramConfig, KneserNeyConfig)
}
TRAINED: dict[str, type[TrainedConfig]] = {
    config.name: config for config in (BigramConfig, MLPConfig)
}
MODEL_CONFIGS: dict[str, type[ModelConfig]] = {**COUNTED, **TRAINED}
