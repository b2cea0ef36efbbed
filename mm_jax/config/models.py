"""The choices of each model, and the tables that name them. Imports no jax."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError

MAX_LEN = 64  # symbols after which a sampled line is cut, where nothing else is said


class ModelTraits:
    """What the other rooms ask a model's config about its kind."""

    name: ClassVar[str]
    layout: ClassVar[Literal["windows", "rows"]] = "windows"
    grows: ClassVar[bool] = False  # the first axis of its arrays is as long as its data asks for


@dataclasses.dataclass(frozen=True)
class NgramConfig(Choices, ModelTraits):
    """Counts of n-grams, each with k added."""

    name: ClassVar[str] = "ngram"

    order: Annotated[int, Between(1, 30)] = 2
    """Symbols in an n-gram: the one that is predicted and those before it."""
    smoothing: Annotated[float, Between(0, MAX_FLOAT)] = 1.0
    """The k that is added to every count; 0 is maximum likelihood."""

    def __post_init__(self) -> None:
        """Check what float32 cannot tell from 0."""
        super().__post_init__()
        if 0 < self.smoothing < 1 / MAX_FLOAT:
            raise InputError(f"--smoothing must be 0 or at least {1 / MAX_FLOAT:g}")


@dataclasses.dataclass(frozen=True)
class KneserNeyConfig(Choices, ModelTraits):
    """Interpolated Kneser-Ney: each order is discounted and mixed with the one below."""

    name: ClassVar[str] = "kneser-ney"
    grows: ClassVar[bool] = True

    order: Annotated[int, Between(2, 6)] = 6
    """Symbols in the longest n-gram."""


@dataclasses.dataclass(frozen=True)
class BigramConfig(Choices, ModelTraits):
    """The bigram as a net: one matrix W, whose row W[last symbol] is the logits."""

    name: ClassVar[str] = "bigram"

    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: standard normal; scaled: a tenth of it, so that the first loss is near ln V."""


@dataclasses.dataclass(frozen=True)
class MLPConfig(Choices, ModelTraits):
    """The multilayer perceptron of Bengio et al. (2003)."""

    name: ClassVar[str] = "mlp"

    context: Count = 3
    """How many symbols the model sees before it predicts the next."""
    embed_dim: Count = 10
    """Numbers per symbol in the embedding table C."""
    hidden_dim: Count = 200
    """Units of the tanh layer."""
    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: all standard normal; scaled: by fan-in, so that the first loss is near ln V."""
    dropout: Annotated[float, Between(0, 0.99)] = 0.0
    """The share of hidden units that a training step leaves out, to the nearest of 256 parts."""


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
