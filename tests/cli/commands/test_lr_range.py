"""mm-jax lr-range and --learning-rate auto: what they say, draw, write and refuse."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.serialization import from_dict
from mm_jax.config.training import NUM_SEEDS, RunConfig
from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import suggest
from mm_jax.reports import plots
from mm_jax.training.optimizers import make_optimizer
from tests.cli.commands.test_train import LINES, SMALL, start
from tests.helpers import call, record_of, strict_json

MODEL = SMALL[: SMALL.index("--learning-rate")]
LRS = np.geomspace(1e-3, 1, 200)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No command depends on the folder that it is started from."""
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("\n".join(LINES))


def known(explode=math.inf, best=0.05, num_seeds=4, lrs=LRS):
    """A range test with a valley at ``best`` that explodes at a rate."""
    curve = 3 - np.exp(-0.5 * (np.log10(lrs / best) / 0.5) ** 2)
    noise = 0.03 * np.random.default_rng(0).standard_normal((num_seeds, len(lrs)))
    losses = np.where(lrs < explode, curve + noise, np.nan).astype(np.float32)
    return RangeTest("sweep", lrs, losses, np.full(num_seeds, 3.0), suggest(lrs, losses))


def test_a_sweep_says_what_it_tested_found_and_draws_it():
    flags = ["--data", "names.txt", *MODEL, "--max", "10", "--seeds", "4", "--num", "300"]
    record = record_of("lr-range", *flags)
    assert record["command"] == "lr-range"
    assert record["config"]["lr_range"] == {
        "mode": "sweep", "min": 1e-3, "max": 10.0, "num": 300, "steps": None, "seeds": 4,
    }  # fmt: skip
    assert np.shape(record["lrs"]) == (300,)
    assert np.shape(record["losses"]) == (4, 300)
    np.testing.assert_allclose(np.diff(np.log(record["lrs"])), math.log(1e4) / 299, rtol=1e-6)
    assert 0.05 < record["suggested_lr"] < 8
    low, high = record["interval"]
    assert low <= record["suggested_lr"] <= high
    assert record["vocab_size"] == len(set("".join(LINES))) + 1
    assert record["seconds"] > 0
    assert record["steps_per_second"] > 0
    assert record["figure"] is None
    out, err = call("lr-range", *flags)
    assert err == ""
    assert "\x1b" not in out
    assert f"suggested  {record['suggested_lr']:g}: {record['reason']}" in out
    assert f"^ {record['suggested_lr']:g}" in out
    assert "300 from 0.001 to 10" in out
    assert sorted(p.name for p in Path().iterdir()) == ["names.txt"]  # nothing is written


def test_a_grid_of_any_model_and_optimizer():
    flags = ["--data", "names.txt", "--model", "bigram", "--full-batch", "--optimizer", "adam"]
    grid = ["--mode", "grid", "--num", "12", "--steps", "50", "--seeds", "2", "--min", "1e-4"]
    record = record_of("lr-range", *flags, *grid, "--max", "1000")
    assert np.shape(record["losses"]) == (2, 12)
    assert len(record["untrained"]) == 2
    assert record["losses"][0][0] == pytest.approx(record["untrained"][0], abs=0.1)
    assert 0.01 < record["suggested_lr"] < 100
    again = record_of("lr-range", *flags, *grid, "--max", "1000")
    assert again["losses"] == record["losses"]
    assert again["suggested_lr"] == record["suggested_lr"]
    other = record_of("lr-range", *flags, *grid, "--max", "1000", "--seed", "1")
    assert other["losses"][0] == pytest.approx(record["losses"][1], rel=1e-5)  # seeds 1, 2


def test_a_preset_decides_the_model_the_batch_and_the_optimizer():
    flags = ["--preset", "modern", "--data", "names.txt", "--hidden-dim", "8", "--num", "10"]
    record = record_of("lr-range", *flags, "--seeds", "1", code=1)
    assert record["config"]["optimizer"] == {
        "optimizer": "adamw", "weight_decay": None, "clip_norm": None, "b1": None, "b2": None,
        "decay_biases": "yes",
    }  # fmt: skip
    assert record["config"]["batch_size"] == 128
    assert record["config"]["model"]["context"] == 6
    assert record["config"]["model"]["hidden_dim"] == 8


def test_where_there_is_nothing_to_suggest_the_exit_code_is_1_and_the_reason_is_told():
    flags = ["--data", "names.txt", *MODEL, "--min", "1e-9", "--max", "1e-7", "--seeds", "2"]
    out, err = call("lr-range", *flags, "--num", "100", "--figure", "flat.png", code=1)
    assert err.count("\n") == 1
    assert err.startswith("mm-jax lr-range: error: no learning rate to suggest: the curve is flat")
    assert "rate" in out
    assert Path("flat.png").stat().st_size > 10_000  # it is drawn all the same
    record = record_of("lr-range", *flags, "--num", "100", code=1)
    assert record["suggested_lr"] is None
    assert record["interval"] is None
    assert "flat" in record["reason"]


def test_a_figure_that_cannot_be_written_after_all_loses_nothing_of_what_was_found(monkeypatch):
    def full(*_args):
        raise InputError("cannot write a.png: No space left on device")

    monkeypatch.setattr(plots, "save", full)
    flags = ["--data", "names.txt", *MODEL, "--max", "10", "--seeds", "2", "--num", "300"]
    record = record_of("lr-range", *flags, "--figure", "a.png", code=1)
    assert 0.05 < record["suggested_lr"] < 8


@pytest.mark.slow
def test_no_window_that_matplotlib_was_told_of_is_in_the_way():
    """Jupyter sets this for its cells, and what they start may not have that package."""
    flags = ["--data", "names.txt", "--num", "10", "--seeds", "1", "--figure", "a.png"]
    env = {"MPLBACKEND": "module://not_here.backend", "HOME": "/proc/not_here"}
    done = start("lr-range", *flags, cwd=Path.cwd(), env=env)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 1, err  # ten steps show nothing
    assert err.count("\n") == 1
    assert "figure     a.png" in out


# --learning-rate auto


def test_auto_trains_with_the_rate_that_it_found_and_records_how(monkeypatch):
    monkeypatch.setitem(NUM_SEEDS, "sweep", 4)
    flags = ["--data", "names.txt", *MODEL, "--steps", "50", "--schedule", "constant"]
    out, err = call("train", *flags, "--learning-rate", "auto", "--out", "auto", "--json")
    record = strict_json(out)
    rate = record["config"]["optimizer"]["learning_rate"]
    assert record["lr_range"]["suggested_lr"] == rate
    assert 0.05 < rate < 8
    kept = json.loads(Path("auto/config.json").read_text())
    assert kept["lr_range"] == record["lr_range"]
    assert kept["lr_range"]["interval"][0] <= rate <= kept["lr_range"]["interval"][1]
    assert from_dict(kept["config"]).optimizer.rate == rate
    rows = [json.loads(row) for row in Path("auto/metrics.jsonl").read_text().splitlines()]
    assert rows[0]["learning_rate"] == pytest.approx(rate)
    plain = record_of("train", *flags, "--learning-rate", str(rate), "--out", "plain")
    assert plain["lr_range"] is None
    same = [Path(name, "params.safetensors").read_bytes() for name in ("auto", "plain")]
    assert same[0] == same[1]  # the range test leaves no trace in the training
    assert record_of("eval", "auto")["loss"] == pytest.approx(record["dev_loss"], rel=1e-5)
    assert f"rate       {rate:.3g}: {record['lr_range']['reason']}" in err


def test_auto_without_a_valley_writes_nothing_and_does_not_advise_what_train_lacks(monkeypatch):
    def refuse(*_args, **_options):
        raise InputError("no learning rate to suggest: the curve is flat; widen --min to --max")

    monkeypatch.setattr("mm_jax.experiments.lr_range.find_learning_rate", refuse)
    flags = ["--data", "names.txt", *MODEL, "--learning-rate", "auto", "--out", "run"]
    _, err = call("train", *flags, code=2)
    assert err == (
        "mm-jax train: error: --learning-rate auto: no learning rate to suggest: "
        "the curve is flat; give a number\n"
    )
    assert not Path("run").exists()


def test_auto_is_not_for_lbfgs_and_is_no_number_until_it_is_found():
    flags = ["--optimizer", "lbfgs", "--full-batch", "--learning-rate", "auto"]
    _, err = call("train", "--data", "names.txt", *flags, code=2)
    assert "lbfgs finds its own step length" in err
    config = RunConfig().optimizer
    auto = type(config)(learning_rate="auto")
    with pytest.raises(InputError, match="auto is not a number yet"):
        make_optimizer(auto, 10)


def test_seeds_that_do_not_fit_in_memory_are_told_how_many_do(monkeypatch):
    size = len(set("".join(LINES))) + 1
    state = 4 * (size * 4 + 12 * 16 + 16 + 16 * size + size)
    num = sum(len(line) + 1 for line in LINES)
    data = 24 * len(LINES) + 2 * (num + 3) + 16 * num * size  # offsets, ids, logits
    there = 7 * state + data
    monkeypatch.setattr("mm_jax.experiments.setup.device_bytes", lambda _: there)
    flags = ["--data", "names.txt", *MODEL, "--num", "10"]
    _, err = call("lr-range", *flags, "--seeds", "1000", code=2)
    most = int(re.search(r"--seeds (\d+) takes less", err)[1])
    assert 1 <= most < 10
