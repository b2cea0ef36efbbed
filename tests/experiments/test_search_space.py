import dataclasses
import math

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import BigramConfig, MLPConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.experiments.search_space import (
    apply_setting,
    list_settings,
    read_axis,
    seeds_of,
    sweepable_fields,
)

CONFIG = RunConfig()


def axis(name, text):
    return read_axis(CONFIG, name, text)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("hidden_dim", "64,128,256", (64, 128, 256)),
        ("hidden_dim", " 64, 128", (64, 128)),
        ("learning_rate", "0.1,1", (0.1, 1.0)),
        ("optimizer", "sgd,adamw", ("sgd", "adamw")),
        ("init", "lecture,scaled", ("lecture", "scaled")),
        ("learning_rate", "0.01:1:log:3", (0.01, 0.1, 1.0)),
        ("dropout", "0:0.4:5", (0.0, 0.1, 0.2, 0.3, 0.4)),
        ("dropout", "0:0.4:lin:3", (0.0, 0.2, 0.4)),
        ("context", "2:4:9", (2, 3, 4)),
    ],
)
def test_a_list_or_a_range_with_a_count_has_these_values(name, text, values):
    assert axis(name, text).values == values


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("learning_rate", "0.01:", "--learning-rate 0.01: is a range without end; write LOW:HIGH"),
        ("learning_rate", ":1", "a range without beginning"),
        ("learning_rate", "1:0.01", "1 must be below 0.01"),
        ("learning_rate", "0.1:0.1", "0.1 must be below 0.1"),
        ("learning_rate", "0:1:log", "a log range begins above 0"),
        ("learning_rate", "0.1:1:exp", "comes log or lin, then how many; 'exp' is not"),
        ("learning_rate", "0.1:1:log:3:4", "comes log or lin"),
        ("learning_rate", "0.1:1:log:1", "cut into 2 values or more, not 1"),
        ("learning_rate", "0.1:inf", "inf is not a finite number"),
        ("learning_rate", "0.1:x", "x is not a number"),
        ("learning_rate", "0.1,0.2:0.3", "a list and a range at once"),
        ("learning_rate", "0.1,,0.3", "has an empty place"),
        ("learning_rate", "0.1,0.10", "has a value twice"),
        ("hidden_dim", "64,x", "x is not a whole number"),
        ("hidden_dim", "1.5:3", "1.5 is not a whole number"),
        ("optimizer", "sgd:adam", "only numbers have ranges"),
    ],
)
def test_what_is_no_list_and_no_range_is_refused_with_what_is_wrong(name, text, complaint):
    with pytest.raises(InputError) as error:
        axis(name, text)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_every_number_and_name_of_a_run_can_be_swept_but_its_data_seed_and_switches():
    names = set(sweepable_fields(CONFIG))
    assert {"learning_rate", "hidden_dim", "dropout", "init", "optimizer", "steps"} <= names
    assert not {"seed", "seeds", "data", "split", "full_batch", "model"} & names
    assert "hidden_dim" not in sweepable_fields(RunConfig(model=BigramConfig()))


def test_lists_are_a_grid():
    grid = list_settings(
        [axis("hidden_dim", "64,128"), axis("learning_rate", "0.1,0.2,0.3")], None, 0
    )
    assert len(grid) == 6
    assert grid[0] == {"hidden_dim": 64, "learning_rate": 0.1}
    assert grid[-1] == {"hidden_dim": 128, "learning_rate": 0.3}
    some = list_settings([axis("hidden_dim", "64,128"), axis("learning_rate", "0.1,0.2,0.3")], 4, 0)
    assert len(some) == 4
    assert all(setting in grid for setting in some)


def test_ranges_are_drawn_from_within_and_by_the_seed_alone():
    axes = [
        axis("learning_rate", "0.01:1:log"),
        axis("context", "2:4"),
        axis("init", "lecture,scaled"),
    ]
    drawn = list_settings(axes, 400, 0)
    assert len(drawn) == 400
    rates = np.array([setting["learning_rate"] for setting in drawn])
    assert 0.01 <= rates.min() < 0.0125
    assert 0.8 < rates.max() <= 1
    below = (rates < 0.1).mean()  # half of them, in log: within 5 sigma
    assert abs(below - 0.5) < 5 * 0.5 / math.sqrt(400)
    assert {setting["context"] for setting in drawn} == {2, 3, 4}
    assert list_settings(axes, 400, 0) == drawn != list_settings(axes, 400, 1)
    assert len(list_settings(axes, None, 0)) == 16


def test_fewer_whole_numbers_than_draws_are_all_of_them():
    drawn = list_settings([axis("context", "2:4")], 50, 0)
    assert sorted(setting["context"] for setting in drawn) == [2, 3, 4]


def test_a_grid_that_is_too_large_is_refused():
    axes = [axis("learning_rate", "0.1:1:2000"), axis("hidden_dim", "1:2000:2000")]
    with pytest.raises(InputError, match="a grid of 4,000,000 settings"):
        list_settings(axes, None, 0)


def test_a_setting_changes_its_own_choices_and_no_others():
    axes = [
        axis("learning_rate", "0.1,0.2"),
        axis("hidden_dim", "64,128"),
        axis("batch_size", "8,16"),
    ]
    one = apply_setting(CONFIG, axes, {"learning_rate": 0.2, "hidden_dim": 64, "batch_size": 16})
    expected = dataclasses.replace(
        CONFIG,
        optimizer=OptimizerConfig(learning_rate=0.2),
        model=MLPConfig(hidden_dim=64),
        batch_size=16,
    )
    assert one == expected
    with pytest.raises(InputError, match="--hidden-dim must be at least 1, not 0"):
        apply_setting(CONFIG, [axis("hidden_dim", "0,1")], {"hidden_dim": 0})


def test_seeds_are_counted_from_the_first():
    runs = seeds_of(dataclasses.replace(CONFIG, seed=5, seeds=3))
    assert [(run.seed, run.seeds) for run in runs] == [(5, 1), (6, 1), (7, 1)]
    with pytest.raises(InputError, match=r"go past 2\*\*32"):
        seeds_of(dataclasses.replace(CONFIG, seed=2**32 - 2, seeds=3))


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("hidden_dim", "64,128", "64,128"),
        ("init", "lecture, scaled", "lecture,scaled"),
        ("learning_rate", "0.01:1:log", "0.01:1.0:log"),
        ("context", "2:4", "2:4"),
        ("dropout", "0:0.4:3", "0.0,0.2,0.4"),
    ],
)
def test_values_are_written_as_a_flag_that_gives_them_again(name, text, written):
    assert axis(name, text).text == written
    assert axis(name, written) == axis(name, text)
