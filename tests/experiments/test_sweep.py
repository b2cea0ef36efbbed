"""A sweep in its directory, trained, interrupted and resumed; and its tables."""

import csv
import json

import pytest

from mm_jax.config.runtime import CheckpointConfig
from mm_jax.data.samples import Samples
from mm_jax.experiments import members
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.grouping import group_members
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.experiments.search_space import read_axis
from mm_jax.experiments.settings import choose_settings, members_of
from mm_jax.experiments.statistics import Spread
from mm_jax.experiments.successive_halving import SettingResult
from mm_jax.experiments.sweep import Sweep, describe_result, member_rows, total_steps
from tests.experiments.small_population import STEPS, Recorder, config, dataset

CONFIG = config(seeds=2)
SEARCH = SearchConfig(CONFIG, (read_axis(CONFIG, "learning_rate", "0.01,0.3,0.1"),))
WRITTEN = ["SHA256SUMS", "best", "ensemble", "members.csv", "sweep.json"]


@pytest.fixture(autouse=True)
def not_sampled(monkeypatch):
    """Sampling and exact losses are test_evaluation's."""
    result = EvalResult(2.25, 2.5, Samples(["abc"], [False], 64))
    monkeypatch.setattr(members, "evaluate_and_sample", lambda *_: result)


@pytest.fixture(scope="module")
def plan():
    settings = choose_settings(SEARCH, len(dataset().vocab))
    groups = group_members(members_of(settings), dataset(), members_per_slice=1)
    return settings, [group._replace(plan=group.plan._replace(workers=1)) for group in groups]


def run(path, plan, halvings=0, patience=None):
    """Train as far as the observer lets it, and write what there is."""
    path.mkdir(exist_ok=True)
    search, observer = SEARCH._replace(halvings=halvings), Recorder(patience)
    sweep = Sweep(path, search, dataset(), *plan, CheckpointConfig(), observer)
    end = sweep.train(observer)
    record = sweep.record(end)
    if end.search.best:
        record |= sweep.save_best(end.search).record | sweep.save_ensemble(end.search).record
    sweep.finish(end, record)
    return sweep, end, record


def names(path):
    return sorted(each.name for each in path.iterdir())


def test_a_sweep_writes_its_best_run_its_ensemble_and_its_tables(tmp_path, plan):
    sweep, end, record = run(tmp_path, plan)
    assert end.num_finished == 3
    assert end.steps == sweep.total_steps == 6 * STEPS
    assert names(tmp_path) == WRITTEN
    assert json.loads((tmp_path / "sweep.json").read_text()) == record
    assert record["settings"][0]["choices"] == {"learning_rate": 0.3}
    losses = record["settings"][0]["dev_losses"]
    assert (record["best_setting"], record["best_seed"]) == (1, losses.index(min(losses)))
    assert (record["dev_loss"], record["ensemble_train_loss"]) == (2.5, 2.25)
    assert "--learning-rate 0.3" in record["train_command"]
    for name, seeds in (("best", 1), ("ensemble", 2)):
        written = json.loads((tmp_path / name / "config.json").read_text())
        assert written["config"]["seeds"] == seeds
        assert written["fingerprint"]["alone"] is True
    rows = list(csv.DictReader((tmp_path / "members.csv").read_text().splitlines()))
    assert [float(row["dev_loss"]) for row in rows[:2]] == losses


@pytest.mark.parametrize("halvings", [0, 1])
def test_what_was_interrupted_is_resumed_and_ends_as_if_it_had_not_been(tmp_path, plan, halvings):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _, _, expected = run(whole, plan, halvings)
    _, end, _ = run(cut, plan, halvings, patience=3)
    assert not end.search.complete
    assert "sweep.json" not in names(cut)
    assert "checkpoints" in names(cut)
    sweep, resumed, record = run(cut, plan, halvings)
    assert sweep.first_step == end.steps > 0
    assert sweep.first_step + resumed.steps == sweep.total_steps
    for name in ("settings", "best_setting", "best_seed"):
        assert record[name] == expected[name]
    for name in ("best", "ensemble"):
        params = [path / name / "params.safetensors" for path in (whole, cut)]
        assert params[0].read_bytes() == params[1].read_bytes()
    assert names(whole) == names(cut) == WRITTEN


@pytest.mark.parametrize(
    ("halvings", "expected"),
    [
        (0, 8 * 2 * 100),
        (1, 8 * 2 * 50 + 4 * 2 * 50),
        (3, 8 * 2 * 12 + 4 * 2 * 13 + 2 * 2 * 25 + 1 * 2 * 50),
    ],
)
def test_all_steps_are_those_of_each_rung(halvings, expected):
    assert total_steps([config(steps=100)] * 16, 2, halvings) == expected


def test_without_halvings_each_member_may_have_steps_of_its_own():
    assert total_steps([config(steps=10), config(steps=30)], 1, 0) == 40


RESULTS = [
    SettingResult(1, [2.0, 2.5], Spread(2.25, 0.5), 100, 7),
    SettingResult(0, [3.0, 3.5], Spread(3.25, None), 50, 9),
]
CHANGES = [{"rate": 0.1, "dim": 8}, {"rate": 0.3, "dim": 16}]


def test_the_table_has_a_line_for_each_seed_of_each_setting():
    assert list(member_rows(RESULTS, CHANGES, 5)) == [
        ["setting", "rate", "dim", "seed", "num_params", "steps", "dev_loss"],
        [1, 0.3, 16, 5, 7, 100, 2.0],
        [1, 0.3, 16, 6, 7, 100, 2.5],
        [0, 0.1, 8, 5, 9, 50, 3.0],
        [0, 0.1, 8, 6, 9, 50, 3.5],
    ]


def test_a_result_names_the_setting_and_what_it_reached():
    assert describe_result(RESULTS[0], CHANGES) == {
        "setting": 1,
        "choices": {"rate": 0.3, "dim": 16},
        "num_params": 7,
        "steps": 100,
        "mean_dev_loss": 2.25,
        "dev_loss_interval": 0.5,
        "dev_losses": [2.0, 2.5],
    }
