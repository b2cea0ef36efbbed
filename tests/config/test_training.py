import dataclasses

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import BigramConfig, NgramConfig
from mm_jax.config.training import (
    CountConfig,
    LRRangeConfig,
    OptimizerConfig,
    RangeTestConfig,
    RunConfig,
    TrainingConfig,
)


def test_the_default_run_is_the_last_one_of_the_second_lecture():
    """200,000 steps of 32 examples, SGD at 0.1, a tenth of it in the second half."""
    config = RunConfig()
    assert (config.steps, config.batch_size, config.full_batch) == (200_000, 32, False)
    expected = OptimizerConfig("sgd", learning_rate=0.1, schedule="step")
    assert config.optimizer == expected


def test_auto_is_no_rate_yet():
    assert OptimizerConfig(learning_rate=3).rate == 3.0
    with pytest.raises(InputError, match="--learning-rate auto is not a number yet"):
        _ = OptimizerConfig(learning_rate="auto").rate


@pytest.mark.parametrize("name", ["lbfgs", "rprop"])
def test_optimizers_without_a_rate_have_none_to_find(name):
    assert OptimizerConfig(name).optimizer == name
    message = f"{name} finds its own step length"
    with pytest.raises(InputError, match=message):
        OptimizerConfig(name, learning_rate="auto")
    with pytest.raises(InputError, match=message):
        RangeTestConfig(optimizer=OptimizerConfig(name), full_batch=True)


def test_lbfgs_needs_the_full_batch():
    with pytest.raises(InputError, match="--optimizer lbfgs needs --full-batch"):
        RunConfig(optimizer=OptimizerConfig("lbfgs"))
    assert RunConfig(optimizer=OptimizerConfig("lbfgs"), full_batch=True).full_batch


def test_an_unknown_optimizer_is_answered_with_all_of_them():
    with pytest.raises(
        InputError, match=r"--optimizer must be one of sgd, adam, .*, lbfgs, not 'x'"
    ):
        OptimizerConfig("x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (1000, 1000, 16)),
        ({"mode": "grid"}, (64, 1000, 4)),
        ({"num": 50}, (50, 50, 16)),
        ({"mode": "grid", "num": 50, "steps": 7, "seeds": 2}, (50, 7, 2)),
        ({"seeds": 3}, (1000, 1000, 3)),
    ],
)
def test_sizes_of_a_range_test(values, expected):
    config = LRRangeConfig(**values)
    assert (config.num_rates, config.num_steps, config.num_seeds) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min": 1.0, "max": 1.0}, "--min 1 must be below --max 1"),
        ({"min": 2.0}, "--min 2 must be below --max 1"),
        ({"steps": 5}, "--steps is for --mode grid"),
        ({"num": 9}, "--num must be at least 10, not 9"),
    ],
)
def test_a_range_that_cannot_be_tested_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        LRRangeConfig(**values)


def test_counted_models_are_not_trained_and_trained_ones_not_counted():
    with pytest.raises(InputError, match="--model must be a table of choices"):
        RunConfig(model=NgramConfig())
    with pytest.raises(InputError, match="--model must be a table of choices"):
        CountConfig(model=BigramConfig())


def test_runs_and_range_tests_share_the_choices_of_training():
    shared = {field.name for field in dataclasses.fields(TrainingConfig)}
    for config in (RunConfig, RangeTestConfig):
        assert shared < {field.name for field in dataclasses.fields(config)}
