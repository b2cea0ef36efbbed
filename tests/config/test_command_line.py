import dataclasses
import shlex

import pytest

from mm_jax.cli.commands import count as count_command
from mm_jax.cli.commands import mix as mix_command
from mm_jax.cli.commands import train as train_command
from mm_jax.cli.parsing import parse_options
from mm_jax.config.command_line import command_of, flags_of
from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    BigramConfig,
    InterpolatedConfig,
    KneserNeyConfig,
    MixtureConfig,
    MLPConfig,
    NgramConfig,
)
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import CountConfig, MixConfig, OptimizerConfig, RunConfig

DATA = DataConfig("a b.txt", split="unique", split_seed=7)
EVERY_CHOICE = RunConfig(
    data=DATA,
    model=MLPConfig(5, 6, 7, "scaled", 0.1),
    optimizer=OptimizerConfig("adamw", 0.1, 1.0, 3e-4, "cosine", 10),
    full_batch=True,
    regularization=0.1,
    seed=3,
    data_seed=4,
    steps=9,
    average_decay=0.9,
    seeds=2,
)


def parsed(command):
    """The options that a command line gives."""
    words = shlex.split(command)
    assert words[0] == "mm-jax"
    modules = {"train": train_command, "count": count_command, "mix": mix_command}
    module = modules[words[1]]
    return parse_options(module, "mm-jax", words[2:])


@pytest.mark.parametrize(
    "config",
    [
        EVERY_CHOICE,
        RunConfig(data=DATA, model=BigramConfig()),
        RunConfig(data=DataConfig("a.csv", column="its name", weights="3", lower=True)),
        RunConfig(data=DataConfig("a.txt", items="document", unit="word", min_count=2, block=9)),
        RunConfig(model=BigramConfig("scaled"), optimizer=OptimizerConfig(learning_rate="auto")),
        *(preset.config for preset in PRESETS.values()),
    ],
)
def test_the_command_gives_the_same_choices(config):
    assert parsed(command_of(config)).config == config


COUNTED_MODELS = [
    NgramConfig(3, 0.25),
    NgramConfig(2, 0.0),
    KneserNeyConfig(4),
    InterpolatedConfig(5),
]


@pytest.mark.parametrize("model", COUNTED_MODELS, ids=repr)
def test_the_command_that_counts_gives_the_same_choices(model):
    options = parsed(command_of(CountConfig(DATA, model)))
    assert (options.data, options.order) == (DATA, model.order)
    assert (options.model, options.smoothing) == (model.name, getattr(model, "smoothing", 1.0))


COUNTED = CountConfig(DATA, NgramConfig())


@pytest.mark.parametrize(
    ("choices", "command"),
    [
        ({}, "mm-jax mix '/a b/x' /y"),
        ({"model": MixtureConfig("linear")}, "mm-jax mix '/a b/x' /y --kind linear"),
        ({"model": MixtureConfig("frequency")}, "mm-jax mix '/a b/x' /y --kind frequency"),
        ({"held_out": "/a b.txt"}, "mm-jax mix '/a b/x' /y --held-out '/a b.txt'"),
        ({"fixed_weights": (0.25, 1.0)}, "mm-jax mix '/a b/x' /y --fixed-weights 0.25,1.0"),
    ],
)
def test_the_command_that_mixes_gives_the_same_choices(choices, command):
    base = MixConfig(DATA, MixtureConfig(), (COUNTED, EVERY_CHOICE), ("/a b/x", "/y"))
    config = dataclasses.replace(base, **choices)
    assert command_of(config) == command
    options = parsed(command)
    assert (options.runs, options.model) == (config.paths, config.model)
    assert options.held_out == config.held_out
    weights = options.fixed_weights and tuple(map(float, options.fixed_weights.split(",")))
    assert weights == config.fixed_weights


def test_the_command_is_the_shortest():
    assert command_of(RunConfig()) == "mm-jax train"
    assert command_of(PRESETS["large"].config) == "mm-jax train --preset large"
    nearly = dataclasses.replace(PRESETS["modern"].config, seed=5)
    assert command_of(nearly) == "mm-jax train --preset modern --seed 5"
    assert command_of(RunConfig(model=BigramConfig())) == "mm-jax train --model bigram"


def test_a_choice_that_no_flag_takes_back_does_not_start_from_its_preset():
    """The preset bigram has --full-batch, and no flag turns that off again."""
    config = dataclasses.replace(PRESETS["bigram"].config, full_batch=False)
    words = shlex.split(command_of(config))
    assert "--preset" not in words
    assert parsed(command_of(config)).config == config


def test_flags_are_of_what_differs():
    modern = PRESETS["modern"].config
    assert flags_of(modern, modern) == []
    other = dataclasses.replace(
        modern,
        full_batch=True,
        model=dataclasses.replace(modern.model, dropout=0.25),
        optimizer=dataclasses.replace(modern.optimizer, learning_rate=0.01),
    )
    assert flags_of(other, modern) == [
        *("--dropout", "0.25"),
        *("--learning-rate", "0.01"),
        "--full-batch",
    ]
