"""The plan of a training: what is refused before it, and how its learning rate is found."""

import dataclasses
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from mm_jax.cli.train_plan import make_plan, start_metadata
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig
from mm_jax.config.runtime import RuntimeConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import Suggestion
from mm_jax.experiments.lr_valley import SmoothedCurve
from mm_jax.runs.layout import RunMetadata, read_metadata
from mm_jax.runtime.console import Console

SUGGESTION = Suggestion(
    lr=0.25,
    interval=(0.2, 0.3),
    reason="the loss falls fastest there",
    floor=(0.2, 0.4),
    curve=SmoothedCurve(np.ones(2), np.ones(2), np.ones(2)),
)
LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    return RunConfig(data=DataConfig(str(tmp_path / "names.txt")), model=BigramConfig(), steps=10)


@pytest.fixture
def console():
    console = Console(json=False)
    console.stream = io.StringIO()
    return console


def plan_of(config, console, path, metadata=None, **runtime):
    return make_plan(path / "run", config, metadata, RuntimeConfig(**runtime), console)


def test_a_single_run_is_described_before_it_begins_and_nothing_is_written(
    config, console, tmp_path
):
    plan = plan_of(config, console, tmp_path)
    assert (plan.config, plan.groups, plan.lr_range, plan.mesh) == (config, [], None, None)
    assert plan.setup.num_params == 16
    first, *_, model, _ = console.stream.getvalue().splitlines()
    assert first.endswith("names.txt: 20 lines, 4 symbols, 0 blank lines dropped")
    assert model.startswith("model      bigram, 16 parameters; ")
    assert not (tmp_path / "run").exists()


def test_seeds_are_planned_in_groups(config, console, tmp_path):
    config = dataclasses.replace(config, seeds=3)
    [group] = plan_of(config, console, tmp_path, members_per_slice=2).groups
    assert list(group.ids) == [0, 1, 2]
    assert not group.plan.alone


@pytest.mark.parametrize(
    ("choices", "runtime", "words"),
    [
        ({"seed": 2**32 - 1, "seeds": 2}, {}, r"go past 2\*\*32"),
        ({"seeds": 2}, {"members_per_slice": 3}, "--members-per-slice 3 needs as many --seeds"),
        ({"batch_size": 9}, {"data_parallel": 2}, "--data-parallel 2 does not divide --batch-size"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(
    config, console, tmp_path, choices, runtime, words
):
    config = dataclasses.replace(config, **choices)
    with pytest.raises(InputError, match=words):
        plan_of(config, console, tmp_path, **runtime)
    assert console.stream.getvalue() == ""


def test_a_run_is_not_resumed_on_other_data(config, console, tmp_path):
    plan = plan_of(config, console, tmp_path)
    dataset = plan.setup.dataset
    metadata = RunMetadata(config, dataset.vocab.symbols, dataset.record, {"mode": "sweep"})
    assert plan_of(config, console, tmp_path, metadata).lr_range == {"mode": "sweep"}
    (tmp_path / "names.txt").write_text("\n".join([*LINES, "abba"]))
    with pytest.raises(InputError, match=r"names.txt is not what .*run was trained on"):
        plan_of(config, console, tmp_path, metadata)


def test_a_full_disk_is_refused(config, console, tmp_path, monkeypatch):
    full = SimpleNamespace(f_bavail=1, f_frsize=1000)
    monkeypatch.setattr("mm_jax.runtime.atomic_files.os.statvfs", lambda _: full)
    with pytest.raises(InputError, match=r"run will take up to .* and 1\.0 kB are free there"):
        plan_of(config, console, tmp_path)
    made = []  # the runs of a million seeds would take minutes to make
    monkeypatch.setattr("mm_jax.cli.train_plan.seeds_of", made.append)
    many = dataclasses.replace(config, seeds=10**6)
    with pytest.raises(InputError, match=r"are free there"):
        plan_of(many, console, tmp_path)
    assert not made


def test_auto_is_the_rate_that_a_range_test_suggests(config, console, tmp_path, monkeypatch):
    auto = dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate="auto"))
    asked = []

    def find_learning_rate(model, optimizer, states, data, *, batch_size, update):
        asked.append((len(states.step), batch_size))
        update(1, 2.0)
        lrs, losses = np.geomspace(1e-3, 1, 10), np.zeros((2, 10))
        return RangeTest("sweep", lrs, losses, np.array([3.0, 3.0]), SUGGESTION)

    monkeypatch.setattr("mm_jax.experiments.lr_range.find_learning_rate", find_learning_rate)
    plan = plan_of(auto, console, tmp_path)
    rate = plan.config.optimizer.learning_rate
    assert rate == plan.lr_range["suggested_lr"] == 0.25
    assert asked == [(16, 32)]
    assert plan.config == dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate=rate))
    assert f"rate       {rate:.3g}: " in console.stream.getvalue()


def test_without_a_valley_a_number_is_asked_for(config, console, tmp_path, monkeypatch):
    def find_learning_rate(*_args, **_options):
        raise InputError("no rate lowers the loss; give lr-range a wider --max")

    monkeypatch.setattr("mm_jax.experiments.lr_range.find_learning_rate", find_learning_rate)
    auto = dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate="auto"))
    with pytest.raises(InputError) as refused:
        plan_of(auto, console, tmp_path)
    assert str(refused.value) == ("--learning-rate auto: no rate lowers the loss; give a number")


@pytest.mark.parametrize("deterministic", [False, True])
def test_config_json_says_all_that_decides_the_run(
    config, console, tmp_path, deterministic, monkeypatch
):
    plan = plan_of(config, console, tmp_path)
    plan = plan._replace(lr_range={"mode": "sweep"})
    runtime = RuntimeConfig(deterministic=deterministic)
    metadata = start_metadata(tmp_path / "run", plan, runtime)
    assert read_metadata(tmp_path / "run") == metadata
    assert metadata.config == config
    assert metadata.symbols == (".", "a", "b", "c")
    assert metadata.data["split_lines"] == [16, 2, 2]
    assert metadata.lr_range == {"mode": "sweep"}
    assert metadata.fingerprint["deterministic"] is deterministic
    assert metadata.fingerprint["alone"] is True
    json.dumps(metadata.fingerprint)
