"""What is printed of a training and given to --json, from its results alone."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mm_jax.cli.train_results import describe_profile, draw_losses, report_run, report_seeds
from mm_jax.config.training import RunConfig
from mm_jax.data.samples import Samples
from mm_jax.data.word_totals import TextTotals
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.members import Member
from mm_jax.experiments.seed_ensemble import EnsembleResult
from mm_jax.experiments.training_loop import TrainResult
from mm_jax.training.profiler import Profile
from tests.helpers import strict_json

RESULT = EvalResult(2.0, math.log(8), Samples(["emma", "ava"], [False, True], 64))
END = TrainResult(
    state=None,
    step=2500,
    steps_taken=1500,
    seconds=2.0,
    steps_per_second=1234.5,
    reason=None,
    interrupted=False,
)


def members(*losses):
    params = {"W": np.zeros((2, 2))}
    configs = [RunConfig(seed=seed) for seed in range(len(losses))]
    return [Member(c, 4, 100, loss, [], params) for c, loss in zip(configs, losses, strict=True)]


def test_a_run_at_its_end_reports_losses_and_speed():
    report = report_run(END, RESULT, 0.25, None, 128)
    assert (report.exit_code, report.reason) == (0, None)
    assert report.record == {
        "steps": 2500,
        "seconds": 2.0,
        "steps_per_second": 1234.5,
        "checkpoint_seconds": 0.25,
        "train_loss": 2.0,
        "dev_loss": math.log(8),
        "perplexity": pytest.approx(8),
        "bits_per_character": None,
        "unknown_rate": None,
        "samples": ["emma", "ava"],
        "num_cut": 1,
    }
    assert report.samples == RESULT.samples
    first, second, last = report.lines
    assert first == "loss       train 2.0000, dev 2.0794 nats per symbol"
    assert second == "           (dev perplexity 8.00, 3.0000 bits per symbol)"
    assert last == "time       1,500 steps in 2.0 s; 1,234 steps/s"


def test_a_run_of_words_reports_characters_and_unknown_words():
    totals = [TextTotals(800, 700, 0, 4000), TextTotals(100, 90, 9, 600), TextTotals(0, 0, 0, 0)]
    report = report_run(END, RESULT._replace(totals=totals), 0.25, None, 128)
    assert report.lines[1:3] == [
        "           (dev perplexity 8.00 per word, 0.5000 bits per character)",
        "unknown    10.0% of the words of dev",
    ]
    assert report.record["bits_per_character"] == pytest.approx(3 * 100 / 600)
    assert report.record["unknown_rate"] == 0.1
    report = report_run(END, RESULT._replace(totals=totals, dev_loss=None), 0.25, None, 128)
    assert report.record["perplexity"] == pytest.approx(math.exp(2))
    assert (report.record["unknown_rate"], len(report.lines)) == (0, 3)


def test_a_run_that_diverged_is_exit_code_1_and_one_that_was_stopped_that_of_its_signal():
    reason = "the loss became inf at step 3"
    report = report_run(END._replace(reason=reason), RESULT, 0.0, None, 128)
    assert (report.exit_code, report.reason) == (1, reason)
    assert report.record["samples"] == ["emma", "ava"]
    stopped = END._replace(reason="interrupted after step 3", interrupted=True)
    report = report_run(stopped, None, 0.0, None, 143)
    assert (report.exit_code, report.reason) == (143, "interrupted after step 3")
    assert [report.record[name] for name in ("train_loss", "dev_loss", "samples", "num_cut")] == [
        None,
        None,
        [],
        0,
    ]
    assert report.samples is None
    assert report.lines == ["time       1,500 steps in 2.0 s; 1,234 steps/s"]


def test_a_profile_names_its_trace_and_the_share_of_each_scope():
    profile = Profile(Path("run/profile/trace.json.gz"), {"embed": 1.0, "update": 3.0})
    assert describe_profile(profile) == [
        "profile    run/profile/trace.json.gz: drop it on ui.perfetto.dev, "
        "or: tensorboard --logdir run/profile",
        "               1.00 us per step,  25.0%  embed",
        "               3.00 us per step,  75.0%  update",
    ]
    report = report_run(END, RESULT, 0.0, profile, 128)
    assert report.record["profile"] == {
        "trace": "run/profile/trace.json.gz",
        "microseconds": {"embed": 1.0, "update": 3.0},
    }
    assert report.lines[-3:] == describe_profile(profile)


def test_seeds_report_their_ensemble_and_the_members_on_their_own():
    end = EnsembleResult(2, members(2.0, 3.0), 4.0, 50.0, None, False)
    report = report_seeds(end, RESULT, 100, 128)
    assert (report.exit_code, report.reason) == (0, None)
    assert report.record["steps"] == 100
    assert report.record["num_members"] == 2
    assert report.record["members_dev_loss"] == [2.0, 3.0]
    assert report.record["mean_dev_loss"] == 2.5
    assert report.record["dev_loss"] == math.log(8)
    assert report.lines[0].startswith("members    2, each on its own: dev 2.5000 ± ")
    assert report.lines[1].startswith("ensemble   train 2.0000, dev 2.0794 ")
    assert report.lines[-1] == "time       2 members in 4.0 s; 50 steps/s"


@pytest.mark.parametrize(("result", "code"), [(RESULT, 1), (None, 130)])
def test_seeds_that_diverged_or_were_stopped_have_a_reason(result, code):
    end = EnsembleResult(1, members(2.0), 4.0, 50.0, "why", result is None)
    report = report_seeds(end, result, 100, 130)
    assert (report.exit_code, report.reason) == (code, "why")
    assert ("steps" in report.record) == (result is not None)
    assert report.record["samples"] == (result.samples.texts if result else [])
    strict_json(json.dumps(report.record))


def test_the_chart_is_of_the_losses_on_disk_and_never_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert draw_losses(tmp_path) == []
    lines = [{"step": step, "loss": 3 - step / 100} for step in range(1, 101)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = draw_losses(tmp_path)
    assert rows[0] == rows[-1] == ""
    assert len(rows) > 10
    path.write_text("no JSON\n")
    assert draw_losses(tmp_path) == []
    path.write_text(json.dumps(lines[0]) + "\n")  # a curve of one point
    assert draw_losses(tmp_path) == []
