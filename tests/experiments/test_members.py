import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.data.samples import Samples
from mm_jax.experiments import members
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.members import Member, MemberLog, save_run, save_run_results
from tests.experiments.small_population import config, dataset


@pytest.fixture(autouse=True)
def evaluated(monkeypatch):
    """The parameters that are evaluated; exact losses and samples are test_evaluation's."""
    seen = []

    def note(_model, params, *_):
        seen.append(params)
        return EvalResult(2.25, 2.5, Samples(["abc"], [False], 64))

    monkeypatch.setattr(members, "evaluate_and_sample", note)
    return seen


def member(seed=0, dev_loss=2.0, fill=1.0):
    params = {"W": np.full((2, 3), fill, np.float32), "b": np.zeros(3, np.float32)}
    return Member(config(seed=seed), 9, 24, dev_loss, [{"step": 1, "loss": 3.0}], params)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (member(), True),
        (member(dev_loss=None), True),
        (member(dev_loss=math.nan), False),
        (member(fill=np.inf), False),
    ],
)
def test_a_member_is_finite_where_its_loss_and_parameters_are(one, expected):
    assert one.is_finite is expected


def test_lines_of_metrics_are_means_and_a_log_is_restored_from_what_a_checkpoint_holds():
    one = config(steps=600)  # three steps a line
    log = MemberLog(one)
    log.add(np.arange(10, dtype=np.float32))
    assert [(line["step"], line["loss"]) for line in log.lines()] == [(3, 1.0), (6, 4.0), (9, 7.0)]
    assert log.pending == [9.0]
    restored = MemberLog(one)
    restored.restore(np.array(log.means), np.array(log.pending, np.float32))
    for each in (log, restored):
        each.add(np.float32([11.0, 13.0]))
    assert restored.lines() == log.lines()
    assert restored.lines()[-1]["loss"] == 11.0


def lines_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_single_member_is_saved_as_a_run(tmp_path):
    result = save_run(tmp_path, config(), [member()], dataset(), alone=True)
    assert result.dev_loss == 2.5
    assert lines_of(tmp_path) == [
        {"step": 1, "loss": 3.0},
        {"step": 24, "dev_loss": 2.0},
        {"step": 24, "train_loss": 2.25, "dev_loss": 2.5},
    ]
    assert load_file(tmp_path / "params.safetensors")["W"].shape == (2, 3)
    assert (tmp_path / "samples.txt").read_text() == "abc\n"
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["fingerprint"]["alone"] is True
    assert written["config"]["seeds"] == 1


def test_several_members_are_saved_as_their_ensemble_each_line_with_its_seed(tmp_path, evaluated):
    both = [member(4, fill=1.0), member(5, dev_loss=2.1, fill=2.0)]
    save_run(tmp_path, config(seed=4, seeds=2), both, dataset(), alone=False)
    lines = lines_of(tmp_path)
    assert [line.get("seed") for line in lines] == [4, 4, 5, 5, None]
    assert lines[3] == {"seed": 5, "step": 24, "dev_loss": 2.1}
    assert load_file(tmp_path / "params.safetensors")["W"][:, 0, 0].tolist() == [1.0, 2.0]
    assert [params["W"].shape for params in evaluated] == [(2, 2, 3)]
    assert json.loads((tmp_path / "config.json").read_text())["fingerprint"]["alone"] is False


def test_the_one_that_did_not_diverge_is_still_saved_as_an_ensemble(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_run_results(tmp_path, config(seeds=2), [member(1)], dataset())
    assert load_file(tmp_path / "params.safetensors")["W"].shape == (1, 2, 3)
    assert lines_of(tmp_path)[0] == {"seed": 1, "step": 1, "loss": 3.0}


def test_results_of_before_are_replaced(tmp_path):
    for _ in range(2):
        save_run(tmp_path, config(), [member()], dataset(), alone=True)
    assert len(lines_of(tmp_path)) == 3
