"""mm-jax sweep and mm-jax train --seeds: what they say, write and keep."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.experiments.statistics import spread_of
from mm_jax.reports.figures import choices_figure
from mm_jax.reports.sweep_summary import summarize_sweep
from tests.helpers import call, ended_within, record_of

LINES = [
    a + b for a in ("em", "av", "li", "no", "ka", "so") for b in ("ma", "a", "el", "ora", "nie")
]
NET = ["--embed-dim", "4", "--hidden-dim", "16", "--init", "scaled", "--batch-size", "16"]
DATA = ["--data", "names.txt", "--steps", "60"]
SWEEP = ["sweep", *DATA, *NET, "--learning-rate", "0.03,0.3,0.1", "--seeds", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, a sweep, and an ensemble of the same choices as its best setting."""
    path = tmp_path_factory.mktemp("sweep")
    (path / "names.txt").write_text("\n".join(LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        sweep = record_of(*SWEEP, "--out", "swept")
        train = record_of(
            "train", *DATA, *NET, "--learning-rate", "0.3", "--seeds", "3", "--out", "seeds"
        )
    return path, sweep, train


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder[0])


@pytest.fixture
def swept(folder):
    return folder[1]


@pytest.fixture
def seeds(folder):
    return folder[2]


def test_settings_come_lowest_mean_first_with_the_interval_over_seeds(swept):
    assert [each["choices"] for each in swept["settings"]] == [
        {"learning_rate": 0.3},
        {"learning_rate": 0.1},
        {"learning_rate": 0.03},
    ]
    means = [each["mean_dev_loss"] for each in swept["settings"]]
    assert means == sorted(means)
    for each in swept["settings"]:
        assert (each["mean_dev_loss"], each["dev_loss_interval"]) == spread_of(each["dev_losses"])
        assert len(set(each["dev_losses"])) == 3


def test_everything_is_in_files_too(swept):
    assert sorted(path.name for path in Path("swept").iterdir()) == [
        *(".lock", "SHA256SUMS", "best", "ensemble", "members.csv", "settings.json", "sweep.json"),
    ]
    assert json.loads(Path("swept/sweep.json").read_text()) == swept
    rows = list(csv.DictReader(Path("swept/members.csv").read_text().splitlines()))
    losses = [loss for each in swept["settings"] for loss in each["dev_losses"]]
    assert [float(row["dev_loss"]) for row in rows] == losses
    assert [row["seed"] for row in rows] == ["0", "1", "2"] * 3
    assert {row["steps"] for row in rows} == {"60"}


def test_the_best_member_is_an_ordinary_run(swept):
    best = swept["settings"][0]["dev_losses"]
    assert swept["dev_loss"] == pytest.approx(min(best), abs=1e-6)
    assert swept["best_seed"] == int(np.argmin(best))
    found = record_of("eval", "swept/best")
    assert found["loss"] == swept["dev_loss"]
    assert found["config"]["optimizer"]["learning_rate"] == 0.3
    assert len(record_of("sample", "swept/best", "--num", "5")["samples"]) == 5
    assert not Path("swept/best/test_looks.jsonl").exists()


def test_the_command_that_is_printed_trains_the_best_again_bit_for_bit(swept):
    command = swept["train_command"].split()
    assert command[:2] == ["mm-jax", "train"]
    record_of(*command[1:], "--out", "again")
    again, best = (load_file(f"{run}/params.safetensors") for run in ("again", "swept/best"))
    assert again.keys() == best.keys()
    assert all(np.array_equal(again[name], best[name]) for name in best)
    lines = [json.loads(line) for line in Path("swept/best/metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, 61))


def test_a_sweep_over_steps_of_one_seed_is_drawn_with_its_best_and_nothing_dropped():
    sweep = ["sweep", *DATA[:2], *NET, "--learning-rate", "0.3", "--steps", "5,40", "--seeds", "1"]
    record = record_of(*sweep, "--out", "steps")
    found = record["settings"]
    assert "ensemble_dir" not in record
    assert not Path("steps/ensemble").exists()
    summary = summarize_sweep(Path("steps"))
    assert summary.dropped == [False, False]
    assert f"the best, {found[0]['mean_dev_loss']:.4f}" in choices_figure(summary).description


def test_training_seeds_is_the_sweep_of_one_setting(swept, seeds):
    assert seeds["members_dev_loss"] == swept["settings"][0]["dev_losses"]
    assert seeds["mean_dev_loss"] == swept["settings"][0]["mean_dev_loss"]
    assert seeds["dev_loss"] == swept["ensemble_dev_loss"]
    ours, theirs = (load_file(f"{run}/params.safetensors") for run in ("seeds", "swept/ensemble"))
    assert ours["W1"].shape == (3, 12, 16)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_an_ensemble_is_one_model_that_beats_its_mean_member(seeds):
    assert seeds["num_members"] == 3
    assert seeds["dev_loss"] < seeds["mean_dev_loss"]
    assert record_of("eval", "seeds")["loss"] == seeds["dev_loss"]
    assert record_of("sample", "seeds")["samples"] == seeds["samples"]


def test_an_ensemble_scores_by_the_mean_of_its_members_probabilities(seeds):
    nats = record_of("score", "seeds", "emma")["symbols"][0]
    each = []
    for seed in range(3):
        name = f"member-{seed}"
        record_of(
            "train", *DATA, *NET, "--learning-rate", "0.3", "--seed", str(seed), "--out", name
        )
        each.append([n for _, n in record_of("score", name, "emma")["symbols"][0]])
    expected = -np.log(np.mean(np.exp(-np.array(each)), 0))
    np.testing.assert_allclose([n for _, n in nats], expected, rtol=1e-5)


def test_metrics_of_an_ensemble_are_those_of_each_seed_and_of_all(seeds):
    lines = [json.loads(line) for line in Path("seeds/metrics.jsonl").read_text().splitlines()]
    assert lines[-1] == {
        "step": 60,
        "train_loss": seeds["train_loss"],
        "dev_loss": seeds["dev_loss"],
    }
    ends = [line for line in lines if "dev_loss" in line and "seed" in line]
    assert [line["seed"] for line in ends] == [0, 1, 2]
    assert [line["dev_loss"] for line in ends] == seeds["members_dev_loss"]


def test_what_is_printed_is_the_table_and_where_things_are():
    """With a list of shapes, some of which have too many parameters."""
    shapes = ["--hidden-dim", "16,400", "--max-params", "460"]
    out, err = call(*SWEEP, *shapes, "--num", "4", "--out", "said")
    assert err == ""
    lines = [line.split() for line in out.splitlines()]
    rows = [words for words in lines if words and words[0] in ("0.3", "0.1", "0.03")]
    assert 1 <= len(rows) <= 3  # of four that were drawn from three with 460 and three with more
    assert rows[0][1:4] == ["16", "460", "60"]
    assert rows[0][5] == "±"
    assert "to train it again:" in out
    assert "3 seeds of the first line as one model" in out


BAD = {
    "nothing varied": ("sweep --steps 3", "nothing is varied"),
    "no end": ("sweep --learning-rate 0.1:", "is a range without end"),
    "unknown name": ("sweep --hiden-dim 64,128", "did you mean --hidden-dim"),
    "unknown name in a range": ("sweep --hiden-dim=64:128", "did you mean --hidden-dim"),
    "a value that cannot be": ("sweep --hidden-dim 0,8", "--hidden-dim must be at least 1, not 0"),
    "a name that is none": ("sweep --init lecture,scald", "--init must be one of lecture, scaled"),
    "auto": ("sweep --learning-rate auto --hidden-dim 8,16", "auto is not for a sweep"),
    "auto in a list": ("sweep --learning-rate 0.1,auto", "auto is not a number"),
    "no dev": ("sweep --split none --hidden-dim 8,16", "--split none holds no lines out"),
    "no seeds": ("sweep --seeds 0 --hidden-dim 8,16", "--seeds must be at least 1"),
    "no seeds to train": ("train --seeds 0", "--seeds must be at least 1"),
    "too many seeds": ("train --seeds 3 --seed 4294967295", "go past 2**32"),
    "seeds in a list": (
        "sweep --seeds 1,2 --hidden-dim 8,16",
        "--seeds is not a whole number",
    ),
    "slices": ("sweep --hidden-dim 8,16 --members-per-slice 3", "more than all 2 members"),
    "slices of one run": (
        "train --members-per-slice 4",
        "--members-per-slice 4 needs as many --seeds",
    ),
    "devices": ("train --data-parallel 3", "--data-parallel 3 does not divide"),
    "too small": (
        "sweep --hidden-dim 8,16 --max-params 10",
        "no setting has at most --max-params 10",
    ),
    "halvings": ("sweep --hidden-dim 8,16 --halvings 2", "2 settings cannot be halved 2 times"),
    "halved steps": ("sweep --steps 10,20 --halvings 1", "--halvings cuts --steps itself"),
    "few steps": ("sweep --hidden-dim 8,16 --steps 1 --halvings 1", "--steps 1 are too few"),
    "coordinator": ("train --coordinator host", "--coordinator must be HOST:PORT or auto"),
    "process": ("train --process-id 0", "need a --coordinator HOST:PORT"),
    "processes": (
        "train --coordinator h:1 --num-processes 2 --process-id 2",
        "--process-id 2 must be below --num-processes 2",
    ),
}


@pytest.mark.parametrize(("line", "complaint"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_leaves_nothing(line, complaint, tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    monkeypatch.chdir(tmp_path)
    out, err = call(*line.split(), "--data", "names.txt", "--out", "made", code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert complaint in err
    assert not Path("made").exists()


def test_what_does_not_fit_says_how_many_would(monkeypatch):
    monkeypatch.setattr("mm_jax.population.planning.device_bytes", lambda _: 200_000)
    flags = ["--hidden-dim", "8:400:9", "--members-per-slice", "9", "--out", "made"]
    _, err = call("sweep", *DATA, *flags, code=2)
    assert err.count("\n") == 1
    assert "members of about" in err or "one model in training takes" in err


def test_a_sweep_that_diverges_everywhere_says_so(monkeypatch):
    monkeypatch.setattr("mm_jax.experiments.population_loop.slice_losses", lambda *_: [math.nan])
    flags = ["--learning-rate", "0.1,0.2", "--out", "diverged"]
    _, err = call("sweep", *DATA, *NET, *flags, code=1)
    assert "training diverged in every setting; lower --learning-rate" in err
    assert len(Path("diverged/members.csv").read_text().splitlines()) == 3
    assert not Path("diverged/best").exists()
    assert record_of("plot", "diverged")["figures"] == {}
    call("report", "diverged")
    page = Path("diverged/report.html").read_text()
    assert "Training diverged in every setting" in page
    assert "inf nats" not in page


def test_members_that_diverge_are_left_out_of_the_ensemble(monkeypatch):
    losses = iter([2.5, math.nan, 2.6])
    monkeypatch.setattr("mm_jax.population.planning.num_cores", lambda: 1)  # one after another
    monkeypatch.setattr(
        "mm_jax.experiments.population_loop.slice_losses", lambda *_: [next(losses)]
    )
    record = record_of("train", *DATA, *NET, "--seeds", "3", "--out", "two", code=1)
    assert record["members_dev_loss"] == [2.5, 2.6]
    assert "diverged for --seed 1" in record["stopped"]
    assert load_file("two/params.safetensors")["W1"].shape[0] == 2
    assert record_of("eval", "two")["loss"] == record["dev_loss"]
    losses = iter([math.nan, 2.5])
    record = record_of("train", *DATA, *NET, "--seeds", "2", "--out", "left", code=1)
    assert record["num_members"] == 1
    assert record_of("eval", "left")["loss"] == record["dev_loss"]


MAIN = """
import signal, sys
from mm_jax.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_an_interrupt_keeps_the_members_that_are_whole(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    flags = ["--data", "names.txt", *NET, "--steps", "5000", "--seeds", "500", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "train", *flags],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with ended_within(300, process):
        for line in process.stdout:
            if line.startswith("step"):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert "of 500 members are trained" in err
    assert "resume with: mm-jax train --resume --out run" in err
    found = record_of("eval", str(tmp_path / "run"))
    assert math.isfinite(found["loss"])
    assert found["step"] == 5000  # of those members that are whole
