"""Every choice as a frozen dataclass: its default, its limits and its one-line help.

This is the only home of defaults. Command-line flags are made from these classes, and config.json
is their values.
"""

import dataclasses
from typing import Annotated, Literal

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError, OneOf, Seed
from mm_jax.config.data import DataConfig
from mm_jax.config.models import CountedConfig, MLPConfig, NgramConfig, TrainedConfig

NUM_SAMPLES = 20  # lines that are shown and kept with a new run

OPTIMIZERS = (
    *("sgd", "adam", "adamw", "lion", "adabelief", "adadelta", "adagrad", "adamax", "adamaxw"),
    *("adan", "amsgrad", "lamb", "nadam", "nadamw", "novograd", "radam", "rmsprop", "rprop"),
    *("sign_sgd", "yogi", "adafactor", "fromage", "lars", "signum", "sm3"),
    *("optimistic_adam_v2", "optimistic_gradient_descent", "lbfgs"),
)


@dataclasses.dataclass(frozen=True)
class BaseOptimizerConfig(Choices):
    """How to descend, whatever the learning rate."""

    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = "sgd"
    """An optax optimizer: sgd, adam, adamw, lion, ... (a wrong name lists them all).
    lbfgs finds the length of each step itself and needs --full-batch."""
    weight_decay: Annotated[float | None, Between(0, MAX_FLOAT)] = None
    """Decoupled weight decay; by default the optimizer's own (adamw 1e-4, sgd none)."""
    clip_norm: Annotated[float | None, Between(0, MAX_FLOAT, open_low=True)] = None
    """Scale gradients down to this global norm where theirs is larger."""

    def check_has_rate(self) -> None:
        """Raise InputError where no learning rate decides how long the steps are."""
        if self.optimizer in ("lbfgs", "rprop"):
            raise InputError(
                f"{self.optimizer} finds the length of each step itself: there is no learning "
                "rate to look for"
            )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(BaseOptimizerConfig):
    """How to descend."""

    learning_rate: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] | Literal["auto"] = 0.1
    """The highest rate of the schedule; auto: what a range test finds best for the first steps."""
    schedule: Literal["constant", "step", "cosine"] = "step"
    """step: a tenth of the rate from the middle on; cosine: warm-up, then down to zero."""
    warmup_steps: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Steps of linear warm-up from zero (cosine only)."""

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        super().__post_init__()
        if self.learning_rate == "auto":
            self.check_has_rate()

    @property
    def rate(self) -> float:
        """The learning rate as a number; raises InputError while it is auto."""
        if isinstance(self.learning_rate, str):
            raise InputError("--learning-rate auto has to become a number first: lr_range_test")
        return self.learning_rate


RATES_OF, SEEDS_OF = {"sweep": 1000, "grid": 64}, {"sweep": 16, "grid": 4}  # where none are given
GRID_STEPS = 1000  # of each training of a grid, where none are given


@dataclasses.dataclass(frozen=True)
class LRRangeConfig(Choices):
    """Which learning rates to test, and how."""

    mode: Literal["sweep", "grid"] = "sweep"
    """sweep: one training whose rate rises from --min to --max; grid: a training for each rate."""
    min: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] = 1e-3
    """The lowest learning rate."""
    max: Annotated[float, Between(0, MAX_FLOAT, open_low=True)] = 1.0
    """The highest learning rate; those between rise by a constant factor."""
    num: Annotated[int | None, Between(10, 10**6)] = None
    """How many rates; of a sweep also its steps. By default 1000 in a sweep, 64 in a grid."""
    steps: Annotated[int | None, Between(1, 10**6)] = None
    """Steps of each training of a grid, by default 1000; its loss is that of the last tenth."""
    seeds: Annotated[int | None, Between(1, 10**6)] = None
    """How many seeds, from --seed on: by default 16 in a sweep, 4 in a grid."""

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        super().__post_init__()
        if self.min >= self.max:
            raise InputError(f"--min {self.min:g} must be below --max {self.max:g}")
        if self.mode == "sweep" and self.steps is not None:
            raise InputError("--steps is for --mode grid; a sweep takes one step for each of --num")

    @property
    def num_rates(self) -> int:
        """How many rates are tested."""
        return self.num or RATES_OF[self.mode]

    @property
    def num_steps(self) -> int:
        """Steps of each training."""
        return self.num_rates if self.mode == "sweep" else self.steps or GRID_STEPS

    @property
    def num_seeds(self) -> int:
        """How many seeds are tested."""
        return self.seeds or SEEDS_OF[self.mode]


@dataclasses.dataclass(frozen=True)
class CountConfig(Choices):
    """All choices of one counted run."""

    data: DataConfig = DataConfig()
    model: CountedConfig = NgramConfig()


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Choices):
    """What is minimised on what, and from where: the choices of training and of range tests."""

    data: DataConfig = DataConfig()
    model: TrainedConfig = MLPConfig()
    optimizer: BaseOptimizerConfig = BaseOptimizerConfig()
    batch_size: Count = 32
    """Examples per minibatch."""
    full_batch: bool = False
    """Every step takes all examples, equal ones as one with a weight; not --batch-size of them."""
    regularization: Annotated[float, Between(0, MAX_FLOAT)] = 0.0
    """Adds this times the mean square of the parameters to what training minimises."""
    label_smoothing: Annotated[float, Between(0, 0.99)] = 0.0
    """Trains for this share of probability to go to all symbols alike; losses are told without."""
    init_scale: Annotated[float, Between(0, MAX_FLOAT)] = 1.0
    """Multiplies the first parameters."""
    seed: Seed = 0
    """Decides the first parameters and the minibatches."""
    data_seed: Seed | None = None
    """Decides the minibatches in place of --seed."""

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        super().__post_init__()
        if self.optimizer.optimizer == "lbfgs" and not self.full_batch:
            raise InputError("--optimizer lbfgs needs --full-batch: minibatches mislead it")


@dataclasses.dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """All choices of one training run."""

    optimizer: OptimizerConfig = OptimizerConfig()
    steps: Annotated[int, Between(0, 2**31 - 1)] = 200_000
    """Training steps, one minibatch each."""
    average_decay: Annotated[float, Between(0, 1)] = 0.0
    """Keeps an average of the parameters, of which this share stays at a step, and uses that."""
    seeds: Annotated[int, Between(1, 10**6)] = 1
    """How many members to train, of seeds from --seed on; kept as one model, their ensemble."""


@dataclasses.dataclass(frozen=True)
class RangeTestConfig(TrainingConfig):
    """All choices of one learning-rate range test."""

    lr_range: LRRangeConfig = LRRangeConfig()

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        if isinstance(self.optimizer, BaseOptimizerConfig):
            self.optimizer.check_has_rate()
        super().__post_init__()
