"""How to train, count, or test learning rates: each choice with its default, limits and help.

Command-line flags are made from these classes, and config.json holds their values. Imports no jax.
"""

import dataclasses
from typing import Annotated, Literal

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError, OneOf, Seed
from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    CountedConfig,
    MixtureConfig,
    MLPConfig,
    NgramConfig,
    TrainedConfig,
)

NUM_SAMPLES = 20  # lines that are printed and kept with a new run

OPTIMIZERS = (
    *("sgd", "adam", "adamw", "lion", "adabelief", "adadelta", "adagrad", "adamax", "adamaxw"),
    *("adan", "amsgrad", "lamb", "nadam", "nadamw", "novograd", "radam", "rmsprop", "rprop"),
    *("sign_sgd", "yogi", "adafactor", "fromage", "lars", "signum", "sm3"),
    *("optimistic_adam_v2", "optimistic_gradient_descent", "lbfgs"),
)


@dataclasses.dataclass(frozen=True)
class BaseOptimizerConfig(Choices):
    """How to minimise the loss, whatever the learning rate."""

    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = "sgd"
    """An optax optimizer: sgd, adam, adamw, lion, ... (a wrong name lists them all).
    lbfgs finds its own step length and needs --full-batch."""
    weight_decay: Annotated[float | None, Between(0, MAX_FLOAT)] = None
    """Decoupled weight decay; by default that of the optimizer (adamw 1e-4, sgd none)."""
    clip_norm: Annotated[float | None, Between(0, MAX_FLOAT, open_low=True)] = None
    """Scale gradients down to this global norm when theirs is larger."""
    b1: Annotated[float | None, Between(0, 0.999999)] = dataclasses.field(
        default=None, kw_only=True
    )
    """Share of the mean of gradients that a step keeps; by default the optimizer's (adam 0.9)."""
    b2: Annotated[float | None, Between(0, 0.999999)] = dataclasses.field(
        default=None, kw_only=True
    )
    """Share of the mean of their squares that a step keeps; by default the optimizer's."""
    decay_biases: Literal["yes", "no"] = dataclasses.field(default="yes", kw_only=True)
    """Whether biases and the scales of norms decay, too: all arrays of one axis."""

    def check_has_rate(self) -> None:
        """Raise InputError for an optimizer whose step length no learning rate decides."""
        if self.optimizer in ("lbfgs", "rprop"):
            raise InputError(
                f"{self.optimizer} finds its own step length: it has no learning rate to test; "
                "choose another --optimizer"
            )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(BaseOptimizerConfig):
    """How to minimise the loss."""

    learning_rate: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] | Literal["auto"] = 0.1
    """The highest rate of the schedule; auto: the one that a range test suggests."""
    schedule: Literal["constant", "step", "cosine", "linear", "inverse"] = "step"
    """step: a tenth of the rate in the second half; cosine and linear: warm-up, then down to
    zero; inverse: divided by 1 + --rate-decay times the steps taken (Bengio et al. 2003)."""
    warmup_steps: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Steps of linear warm-up from zero (cosine and linear only)."""
    rate_decay: Annotated[float, Between(0, MAX_FLOAT)] = 1e-8
    """How fast --schedule inverse lowers the rate."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and that auto has a rate to find."""
        super().__post_init__()
        if self.learning_rate == "auto":
            self.check_has_rate()

    @property
    def rate(self) -> float:
        """The learning rate as a number; raises InputError if it is auto."""
        if isinstance(self.learning_rate, str):
            raise InputError("--learning-rate auto is not a number yet: lr_range_test finds one")
        return self.learning_rate


NUM_RATES = {"sweep": 1000, "grid": 64}  # the defaults of each mode
NUM_SEEDS = {"sweep": 16, "grid": 4}
GRID_STEPS = 1000  # steps of each training of a grid, by default


@dataclasses.dataclass(frozen=True)
class LRRangeConfig(Choices):
    """Which learning rates to test, and how."""

    mode: Literal["sweep", "grid"] = "sweep"
    """sweep: one training whose rate rises from --min to --max; grid: one training per rate."""
    min: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] = 1e-3
    """The lowest learning rate."""
    max: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] = 1.0
    """The highest learning rate; the rates between are spaced by a constant factor."""
    num: Annotated[int | None, Between(10, 10**6)] = None
    """Number of rates, in a sweep also of steps; by default 1000 in a sweep, 64 in a grid."""
    steps: Annotated[int | None, Between(1, 10**6)] = None
    """Steps of each training of a grid, by default 1000; its loss is that of the last tenth."""
    seeds: Annotated[int | None, Between(1, 10**6)] = None
    """Number of seeds, counted from --seed; by default 16 in a sweep, 4 in a grid."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and that min, max, mode and steps fit together."""
        super().__post_init__()
        if self.min >= self.max:
            raise InputError(f"--min {self.min:g} must be below --max {self.max:g}")
        if self.mode == "sweep" and self.steps is not None:
            raise InputError("--steps is for --mode grid; a sweep takes --num steps, one per rate")

    @property
    def num_rates(self) -> int:
        """Number of rates that are tested."""
        return self.num or NUM_RATES[self.mode]

    @property
    def num_steps(self) -> int:
        """Steps of each training."""
        return self.num_rates if self.mode == "sweep" else self.steps or GRID_STEPS

    @property
    def num_seeds(self) -> int:
        """Number of seeds that are tested."""
        return self.seeds or NUM_SEEDS[self.mode]


@dataclasses.dataclass(frozen=True)
class CountConfig(Choices):
    """All choices of one run that counts n-grams."""

    data: DataConfig = DataConfig()
    model: CountedConfig = NgramConfig()


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Choices):
    """The choices that training and range tests share: data, model, loss, batches, seed."""

    data: DataConfig = DataConfig()
    model: TrainedConfig = MLPConfig()
    optimizer: BaseOptimizerConfig = BaseOptimizerConfig()
    batch_size: Count = 32
    """Examples per minibatch."""
    row_length: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Tokens of a row that whole items share, one after another, so that little is padding; more
    where an item needs more. 0: a row is one item. For models that read rows of items."""
    full_batch: bool = False
    """Use all examples in every step (equal ones once, weighted) instead of --batch-size."""
    regularization: Annotated[float, Between(0, MAX_FLOAT)] = 0.0
    """Add this times the mean square of the parameters to the training loss."""
    label_smoothing: Annotated[float, Between(0, 0.99)] = 0.0
    """Spread this share of each target evenly over all symbols; reported losses leave it out."""
    sampled_symbols: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Compute the training loss on so many symbols, drawn anew for each step, and the target; 0 or
    more than there are: on all. Faster where there are thousands (Jean et al. 2015)."""
    init_scale: Annotated[float, Between(0, MAX_FLOAT)] = 1.0
    """Multiply the initial parameters by this."""
    seed: Seed = 0
    """Decides the initial parameters and the minibatches."""
    data_seed: Seed | None = None
    """Decides the minibatches instead of --seed."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and that lbfgs gets full batches."""
        super().__post_init__()
        if self.row_length and self.full_batch:
            raise InputError("--full-batch needs no --row-length: it takes equal items once")
        if self.optimizer.optimizer == "lbfgs" and not self.full_batch:
            raise InputError("--optimizer lbfgs needs --full-batch: it fails on minibatches")
        if self.sampled_symbols and self.label_smoothing:
            raise InputError("--label-smoothing reads all symbols: leave --sampled-symbols out")


@dataclasses.dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """All choices of one training run."""

    optimizer: OptimizerConfig = OptimizerConfig()
    steps: Annotated[int, Between(0, 2**31 - 1)] = 200_000
    """Training steps, one minibatch each."""
    average_decay: Annotated[float, Between(0, 1)] = 0.0
    """Use a moving average of the parameters with this decay per step; 0: the last ones."""
    seeds: Annotated[int, Between(1, 10**6)] = 1
    """Number of members, with seeds counted from --seed; the run is their ensemble."""


@dataclasses.dataclass(frozen=True)
class RangeTestConfig(TrainingConfig):
    """All choices of one learning-rate range test."""

    lr_range: LRRangeConfig = LRRangeConfig()

    def __post_init__(self) -> None:
        """Check the limits of each field, and that there is a learning rate to test."""
        if isinstance(self.optimizer, BaseOptimizerConfig):
            self.optimizer.check_has_rate()
        super().__post_init__()


@dataclasses.dataclass(frozen=True)
class MixConfig:
    """All choices of one run that mixes other runs, which it holds whole."""

    data: DataConfig
    model: MixtureConfig
    runs: tuple["AnyConfig", ...]
    paths: tuple[str, ...]  # where the runs were, in the order of ``runs``
    held_out: str | None = None  # the file that the weights were fitted on; None: dev
    fixed_weights: tuple[float, ...] | None = None  # in place of fitted ones

    def __post_init__(self) -> None:
        """Refuse too few runs, and what is not of its type."""
        fewest = 1 if self.model.good_turing else 2
        if len(self.runs) < fewest or len(self.runs) != len(self.paths):
            raise InputError("a mixture has two runs or more, each with its path")
        texts = [*self.paths, "" if self.held_out is None else self.held_out]
        if not all(isinstance(text, str) for text in texts):
            raise InputError("the paths of a mixture must be texts")
        if self.fixed_weights is not None:
            self._check_weights(self.fixed_weights)

    def _check_weights(self, weights: tuple[float, ...]) -> None:
        if len(weights) != len(self.runs):
            raise InputError(f"{len(weights)} weights are given for {len(self.runs)} runs")
        if not all(
            isinstance(each, int | float) and 0 <= each <= MAX_FLOAT for each in weights
        ) or not any(weights):
            raise InputError("weights must be numbers of 0 or more, and not all 0")
        if self.held_out is not None:
            raise InputError("give weights, or what they are fitted on: not both")
        if self.model.kind == "frequency":
            raise InputError(
                "--fixed-weights are the same for all contexts, and those of --kind frequency are "
                "not: give --kind linear"
            )
        if self.model.kind == "linear" and abs(sum(weights) - 1) > 1e-3:
            raise InputError(f"linear weights must sum to 1, not to {sum(weights):g}")


AnyConfig = RunConfig | CountConfig | MixConfig  # of a run directory
