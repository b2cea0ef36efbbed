"""The choices of each model, and the tables of models by name. Imports no jax."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError

MAX_LEN = 64  # symbols after which a sampled line is cut, by default
Dropout = Annotated[float, Between(0, 0.99)]  # rounded to a multiple of 1/256


class ModelTraits:
    """What other modules need to know about the kind of a model."""

    name: ClassVar[str]
    title: ClassVar[str]  # as a heading says it

    @property
    def is_complete(self) -> bool:
        """Whether no choice is left to the data."""
        return True

    def for_items(self, most_tokens: int) -> Self:
        """Return the choices with what depends on the data: the most tokens of an item."""
        del most_tokens
        return self


class PositionTraits(ModelTraits):
    """The same of a model with an embedding of each position, ``None`` being left to the data."""

    positions: int | None

    @property
    def is_complete(self) -> bool:
        """Whether no choice is left to the data: there are positions."""
        return self.positions is not None

    def for_items(self, most_tokens: int) -> Any:
        """Return the choices with as many positions as the data need, where none are given."""
        if self.is_complete:
            return self
        return dataclasses.replace(self, positions=max(1, most_tokens))  # type: ignore[type-var]


@dataclasses.dataclass(frozen=True)
class NgramConfig(Choices, ModelTraits):
    """Counts of n-grams with k added to each (add-k smoothing)."""

    name: ClassVar[str] = "ngram"
    title: ClassVar[str] = "N-gram counts"

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
    title: ClassVar[str] = "Kneser-Ney"

    order: Annotated[int, Between(2, 30)] = 6
    """Symbols in the longest n-gram."""


@dataclasses.dataclass(frozen=True)
class InterpolatedConfig(Choices, ModelTraits):
    """Interpolated n-grams: the estimates of all orders, weighted by how often the context came."""

    name: ClassVar[str] = "interpolated"
    title: ClassVar[str] = "Interpolated n-grams"

    order: Annotated[int, Between(2, 30)] = 3
    """Symbols in the longest n-gram."""


@dataclasses.dataclass(frozen=True)
class BigramConfig(Choices, ModelTraits):
    """The bigram as a neural net: one matrix W, whose row W[last symbol] is the logits."""

    name: ClassVar[str] = "bigram"
    title: ClassVar[str] = "Neural bigram"

    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: standard normal; scaled: a tenth of that, so that the first loss is near ln V."""


@dataclasses.dataclass(frozen=True)
class MLPConfig(Choices, ModelTraits):
    """The multilayer perceptron of Bengio et al. (2003)."""

    name: ClassVar[str] = "mlp"
    title: ClassVar[str] = "Multilayer perceptron"

    context: Count = 3
    """Symbols that the model reads to predict the next one."""
    embed_dim: Count = 10
    """Numbers per symbol in the embedding table C."""
    hidden_dim: Count = 200
    """Units of each tanh layer."""
    init: Literal["lecture", "scaled"] = "lecture"
    """lecture: standard normal; scaled: by fan-in, so that the first loss is near ln V."""
    dropout: Dropout = 0.0
    """Share of hidden units that a training step drops, rounded to a multiple of 1/256."""
    layers: Annotated[int, Between(0, 2**31 - 1)] = 1
    """Tanh layers, one after another; 0: the embedding makes the logits."""
    norm: Literal["none", "layer"] = "none"
    """layer: normalise what enters each tanh to mean 0 and variance 1 (layer normalisation)."""
    direct: bool = False
    """Connect the embedding with the logits, too, beside the tanh layers."""

    def __post_init__(self) -> None:
        """Refuse direct connections beside no layers, whose only connections they are."""
        super().__post_init__()
        if self.direct and not self.layers:
            raise InputError("--layers 0 has direct connections only: leave out --direct")


@dataclasses.dataclass(frozen=True)
class WaveNetConfig(Choices, ModelTraits):
    """The hierarchical net of the fifth lecture: each layer fuses pairs of neighbours."""

    name: ClassVar[str] = "wavenet"
    title: ClassVar[str] = "WaveNet"

    context: Annotated[int, Between(2, 2**20)] = 8
    """Symbols that the model reads to predict the next one; a power of two."""
    embed_dim: Count = 24
    """Numbers per symbol in the embedding."""
    hidden_dim: Count = 128
    """Units of each tanh layer."""
    norm: Literal["none", "layer"] = "layer"
    """layer: normalise what enters each tanh to mean 0 and variance 1 (layer normalisation)."""
    dropout: Dropout = 0.0
    """Share of the units of each layer that a training step drops."""

    def __post_init__(self) -> None:
        """Refuse a context whose symbols cannot be fused in pairs down to one."""
        super().__post_init__()
        if self.context & (self.context - 1):
            below = 1 << (self.context.bit_length() - 1)
            raise InputError(
                f"--context must be a power of two, such as {below} or {2 * below}, not "
                f"{self.context}"
            )


@dataclasses.dataclass(frozen=True)
class BowConfig(Choices, PositionTraits):
    """makemore's bag of words: the mean of all symbols so far, then a small net."""

    name: ClassVar[str] = "bow"
    title: ClassVar[str] = "Bag of words"

    embed_dim: Count = 64
    """Numbers per symbol and per position."""
    hidden_dim: Count = 64
    """Units of the tanh layer."""
    positions: Annotated[int | None, Between(1, 2**31 - 1)] = None
    """Most tokens of an item, its boundary included; by default as many as the data need."""
    dropout: Dropout = 0.0
    """Share of the embedding and of the tanh layer that a training step drops."""


@dataclasses.dataclass(frozen=True)
class RecurrentConfig(Choices, ModelTraits):
    """What all recurrent nets can choose."""

    embed_dim: Count = 64
    """Numbers per symbol in the embedding."""
    hidden_dim: Count = 64
    """Units of the state of each layer."""
    layers: Count = 1
    """Recurrent layers, one above another."""
    input_dropout: Dropout = 0.0
    """Share of the embedding that a training step drops."""
    dropout: Dropout = 0.0
    """Share of each layer's output that a training step drops."""
    recurrent_dropout: Dropout = 0.0
    """Share of the weights from state to state that a training step drops (Merity et al. 2018)."""


@dataclasses.dataclass(frozen=True)
class RNNConfig(RecurrentConfig):
    """The simple recurrent net (Elman 1990): the state is a tanh of input and last state."""

    name: ClassVar[str] = "rnn"
    title: ClassVar[str] = "Recurrent net"


@dataclasses.dataclass(frozen=True)
class GRUConfig(RecurrentConfig):
    """The gated recurrent unit (Cho et al. 2014)."""

    name: ClassVar[str] = "gru"
    title: ClassVar[str] = "Gated recurrent unit"


@dataclasses.dataclass(frozen=True)
class LSTMConfig(RecurrentConfig):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, Gers et al. 2000)."""

    name: ClassVar[str] = "lstm"
    title: ClassVar[str] = "Long short-term memory"


@dataclasses.dataclass(frozen=True)
class TransformerConfig(Choices, PositionTraits):
    """The Transformer of GPT-2 (Radford et al. 2019), or with other choices that of microgpt."""

    name: ClassVar[str] = "transformer"
    title: ClassVar[str] = "Transformer"

    layers: Count = 4
    """Blocks of attention and a two-layer net."""
    embed_dim: Count = 64
    """Numbers per symbol and per position: the width of the net."""
    heads: Count = 4
    """Attention heads of a block; they divide the width."""
    positions: Annotated[int | None, Between(1, 2**31 - 1)] = None
    """Most tokens of an item, its boundary included; by default as many as the data need."""
    norm: Literal["layer", "rms"] = "layer"
    """layer: GPT-2's, before each part and at the end; rms: microgpt's, without parameters, on the
    embedding and before each part."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the two-layer net: GELU in its tanh form, or ReLU."""
    bias: Literal["yes", "no"] = "yes"
    """Whether products and norms add a bias."""
    tied: Literal["yes", "no"] = "yes"
    """Whether the embedding of the symbols makes the logits, too."""
    init: Literal["gpt2", "microgpt"] = "gpt2"
    """gpt2: normal of 0.02, and less in what is added to the residual stream; microgpt: 0.08."""
    dropout: Dropout = 0.0
    """Share of the embedding, of the attention and of what is added to the residual stream that a
    training step drops."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        super().__post_init__()
        if self.embed_dim % self.heads:
            divisors = [n for n in range(1, self.embed_dim + 1) if self.embed_dim % n == 0]
            near = min(divisors, key=lambda n: abs(n - self.heads))
            raise InputError(
                f"--heads {self.heads} does not divide --embed-dim {self.embed_dim}; "
                f"--heads {near} does"
            )


@dataclasses.dataclass(frozen=True)
class MixtureConfig(Choices, ModelTraits):
    """Trained and counted models as one model: a weighted mean of what they say."""

    name: ClassVar[str] = "mixture"
    title: ClassVar[str] = "Mixture"

    kind: Literal["log-linear", "linear", "frequency"] = "log-linear"
    """linear: the weighted mean of probabilities; log-linear: that of their logarithms, which is
    better wherever counts are mixed in; frequency: linear, with weights by how often the last two
    tokens occurred in train (Bengio et al. 2003)."""
    good_turing: bool = False
    """Make items of train as often, and new ones as often, as the repeats within train let expect
    (Good 1953); models that know train well repeat it too often."""


CountedConfig = NgramConfig | KneserNeyConfig | InterpolatedConfig
TrainedConfig = (
    BigramConfig
    | MLPConfig
    | BowConfig
    | WaveNetConfig
    | RNNConfig
    | GRUConfig
    | LSTMConfig
    | TransformerConfig
)
ModelConfig = CountedConfig | TrainedConfig

COUNTED: dict[str, type[CountedConfig]] = {
    config.name: config for config in get_args(CountedConfig)
}
TRAINED: dict[str, type[TrainedConfig]] = {
    config.name: config for config in get_args(TrainedConfig)
}
MODEL_CONFIGS: dict[str, type[ModelConfig]] = {**COUNTED, **TRAINED}
