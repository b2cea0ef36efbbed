import dataclasses
import json
import shlex

import pytest

from mm_jax.cli.commands import sweep
from mm_jax.cli.parsing import parse_options
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.serialization import to_json
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.experiments.search_config import (
    SearchConfig,
    check_same_search,
    check_search,
    command_of,
    read_search,
    search_record,
)
from mm_jax.experiments.search_space import read_axis

CONFIG = RunConfig(model=MLPConfig(hidden_dim=64), steps=100)


def axis(name, text):
    return read_axis(CONFIG, name, text)


SEARCH = SearchConfig(
    CONFIG,
    (axis("learning_rate", "0.01:1:log"), axis("hidden_dim", "64,128")),
    num=7,
    halvings=2,
    symbols=(".", "a", "b"),
    data={"sha256": "0" * 64},
)


@pytest.fixture
def read(tmp_path):
    """Read the settings.json of SEARCH with some changes."""

    def read(**changes):
        record = json.loads(to_json(search_record(SEARCH))) | changes
        (tmp_path / "settings.json").write_text(json.dumps(record))
        return read_search(tmp_path)

    return read


def test_what_was_asked_for_is_read_as_it_was_written(read):
    assert read() == SEARCH


def changed_axis(**changes):
    return [SEARCH.axes[0]._asdict() | changes]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"axes": []}, "nothing is varied"),
        ({"axes": changed_axis(name="seeds")}, "'seeds' is not a choice that a sweep can vary"),
        ({"axes": changed_axis(table="model")}, "'learning_rate' is not a choice"),
        ({"axes": changed_axis(log="yes")}, "log and whole of 'learning_rate' are not true or"),
        ({"axes": changed_axis(low="0.1")}, "learning_rate has no values, or some of a wrong type"),
        ({"axes": changed_axis(values=["a", "b"])}, "or some of a wrong type"),
        ({"axes": changed_axis(high=1e999)}, "learning_rate"),
        ({"data": {"sha256": 3}}, "its data has no sha256"),
        ({"halvings": 1.5}, "one of its numbers is not a whole number"),
        ({"preset": "none"}, "unknown preset 'none'"),
        ({"unknown": 1}, "settings.json is damaged: TypeError"),
        ({"symbols": None}, "settings.json is damaged: TypeError"),
    ],
)
def test_a_file_that_is_not_as_we_write_it_is_refused(read, changes, reason):
    with pytest.raises(InputError) as error:
        read(**changes)
    assert reason in str(error.value)
    assert "settings.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"settings\.json: .*No such file"):
        read_search(tmp_path)
    (tmp_path / "settings.json").write_text('{"config": ')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        read_search(tmp_path)


AUTO = RunConfig(optimizer=OptimizerConfig(learning_rate="auto"), steps=100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"axes": ()}, "nothing is varied"),
        ({"config": AUTO}, "--learning-rate auto is not for a sweep"),
        ({"config": RunConfig(DataConfig(split="none"))}, "--split none holds no lines out"),
        ({"axes": (axis("steps", "10,20"),)}, "--halvings cuts --steps itself"),
        (
            {"config": dataclasses.replace(CONFIG, steps=3)},
            "--steps 3 are too few for --halvings 2",
        ),
    ],
)
def test_choices_that_do_not_belong_in_a_sweep_are_refused(changes, reason):
    check_search(SEARCH)
    with pytest.raises(InputError) as error:
        check_search(SEARCH._replace(**changes))
    assert reason in str(error.value)


@pytest.mark.parametrize("preset", [None, "modern"])
def test_the_command_that_is_written_asks_for_the_same(preset):
    config = dataclasses.replace(CONFIG, seeds=3)
    search = SEARCH._replace(config=config, preset=preset, deterministic=True, max_params=5000)
    words = shlex.split(command_of(search))
    assert words[:2] == ["mm-jax", "sweep"]
    options = parse_options(sweep, "mm-jax sweep", words[2:])
    first = dataclasses.replace(config.optimizer, learning_rate=0.01)  # of what is varied
    assert options.config == dataclasses.replace(config, optimizer=first)
    assert options.axes == search.axes
    asked = options.preset, options.num, options.halvings, options.max_params
    assert asked == (preset, 7, 2, 5000)
    assert options.runtime.deterministic


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"axes": SEARCH.axes[:1]}, "was made with other lists or ranges"),
        ({"num": 8}, "was made with --num 7, not 8"),
        ({"halvings": 0}, "was made with --halvings 2, not 0"),
        ({"max_params": 10}, "was made with --max-params None, not 10"),
        ({"config": dataclasses.replace(CONFIG, steps=99)}, "was made with --steps 100, not 99"),
    ],
)
def test_a_sweep_is_not_resumed_with_other_choices(tmp_path, changes, reason):
    with pytest.raises(InputError) as error:
        check_same_search(tmp_path, SEARCH, SEARCH._replace(**changes))
    assert reason in str(error.value)
    assert "name another --out" in str(error.value)


def test_the_first_of_varied_values_and_the_path_of_the_data_are_not_compared(tmp_path):
    model = dataclasses.replace(CONFIG.model, hidden_dim=128)
    moved = dataclasses.replace(CONFIG, model=model, data=DataConfig("/elsewhere/names.txt"))
    check_same_search(tmp_path, SEARCH, SEARCH._replace(config=moved))
