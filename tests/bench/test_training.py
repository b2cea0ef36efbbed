"""The sections of training: what jobs return becomes rows."""

import json
from pathlib import Path

import pytest

from mm_jax.bench import training
from mm_jax.bench.timing import Bench
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console


@pytest.fixture
def bench():
    return Bench(3, Console(json=True), with_torch=True)


def test_products_are_counted_as_the_design_does():
    assert training.step_flops(**training.LECTURE) == pytest.approx(2.2e6, rel=0.02)


def test_growth_is_the_slope_in_logarithms(bench, monkeypatch):
    def cost(name, **size):
        [(what, each)] = size.items()
        return {
            "microseconds": 3.0 * each ** {"batch_size": 1, "hidden_dim": 2, "members": 0}[what]
        }

    monkeypatch.setattr(training, "job", cost)
    sections = list(dict.fromkeys(row.section for row in training.growth(bench)))
    slopes = [float(each.rpartition("^")[2]) for each in sections]
    assert slopes == pytest.approx([1, 2, 0])


def test_a_peer_that_does_not_run_is_left_out(monkeypatch, capsys):
    def job(name, **options):
        if options.get("compiled"):
            raise InputError("no C++ compiler")
        more = {"gigaflops": 100.0} if name == "large_products" else {}
        return {"whole_seconds": 3.0, "microseconds": 100.0, "compile_seconds": 1.0, **more}

    monkeypatch.setattr(training, "job", job)
    record = json.dumps({"train_loss": 2.1, "dev_loss": 2.2})
    monkeypatch.setattr(training, "run", lambda *_, **__: (10.0, record))
    rows = training.lecture(Bench(3, Console(json=True), with_torch=True))
    assert "torch.compile is left out: no C++ compiler" in capsys.readouterr().err
    whole = {row.what: row for row in rows if "whole" in row.section}
    assert not any("torch.compile" in what for what in whole)
    eager = whole["eager PyTorch, scaled from 10,000 steps"]
    assert eager.median == pytest.approx(3 + 190_000 * 100e-6)
    assert eager.beside == "**2.2 times** ours"


def test_a_large_step_is_a_share_of_the_speed_of_products(bench, monkeypatch):
    asked = {}

    def job(name, **options):
        asked[name] = options
        return {"milliseconds": 8.0, "gigaflops": {"large_training": 50.0}.get(name, 200.0)}

    monkeypatch.setattr(training, "job", job)
    step, products = training.large(bench)
    assert asked["large_training"] == {
        "context": 16,
        "embed_dim": 64,
        "hidden_dim": 1024,
        "batch_size": 4096,
        "steps": 5,
    }
    assert (step.median, products.median) == (8.0, 50.0)
    assert products.beside == "25% of the 200 of large products"


def test_checkpoints_are_a_share_of_the_whole(bench, monkeypatch, tmp_path):
    def run(*command):
        if "train" in command:
            Path(command[command.index("--out") + 1]).mkdir()
        return 10.0, json.dumps({"checkpoint_seconds": 0.5})

    monkeypatch.setattr(training, "run", run)
    *rows, verify = training.checkpoints(bench)
    assert [row.beside for row in rows] == ["5.00% of it for checkpoints"] * 3
    assert (verify.what, verify.median) == ("`mm-jax verify` of the last", 10.0)
