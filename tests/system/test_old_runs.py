"""A run that an earlier version made, with its checkpoints: read and resumed.

tests/runs/old_run was written by the version whose modules still lay side by side (format 3):
train --embed-dim 2 --hidden-dim 4 --steps 60 --batch-size 8 --optimizer adamw --learning-rate 0.05
--average-decay 0.9 --checkpoint-every 20, on names.txt beside it.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.config.models import MLPConfig
from mm_jax.config.training import OptimizerConfig
from mm_jax.runs.checkpoint import checkpoint_steps
from mm_jax.runs.metrics import loss_curves, read_lines
from mm_jax.runs.reader import load_run, read_samples
from tests.helpers import call, record_of

OLD = Path(__file__).parents[1] / "runs" / "old_run"
STEPS = ["--resume", "--data", "names.txt", "--out", "run"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A copy of it."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def stop_at_40(run):
    """Take back what was written after step 40, and its last steps, as if a kill had come."""
    for name in ("params.safetensors", "samples.txt", "SHA256SUMS"):
        (run / name).unlink()
    (run / "checkpoints/step-0000000060.safetensors").unlink()


def test_an_old_run_is_read(run):
    old = load_run(run)
    assert old.config.model == MLPConfig(embed_dim=2, hidden_dim=4)
    assert old.config.optimizer == OptimizerConfig("adamw", learning_rate=0.05)
    assert (old.config.steps, old.config.batch_size, old.config.average_decay) == (60, 8, 0.9)
    assert (old.step, len(old.vocab)) == (None, 27)
    expected = load_file(run / "params.safetensors")
    assert {name: np.asarray(leaf).tolist() for name, leaf in old.params.items()} == {
        name: array.tolist() for name, array in expected.items()
    }
    assert len(read_samples(run, old.config).texts) == 20
    [curve] = loss_curves(read_lines(run / "metrics.jsonl"))
    assert (curve.end, len(curve.steps)) == (60, 60)
    for path, step in (("step-0000000040", 40), ("step-0000000060", 60)):
        assert load_run(run / f"checkpoints/{path}.safetensors").step == step


@pytest.mark.parametrize("written", [1, 2])
def test_a_run_of_a_still_older_format_is_used(run, written):
    """Formats 1 and 2 had fewer choices; there were no checkpoints yet."""
    record = json.loads((run / "config.json").read_text())
    added = [["full_batch", "regularization"]]
    added += [["label_smoothing", "init_scale", "data_seed", "average_decay", "seeds"]]
    for names in added[written - 1 :]:
        for name in names:
            del record["config"][name]
    del record["config"]["model"]["dropout"]
    record["format"] = written
    for name in ("fingerprint", "lr_range"):
        del record[name]
    (run / "config.json").write_text(json.dumps(record))
    shutil.rmtree(run / "checkpoints")
    old = load_run(run)
    assert old.config.model == MLPConfig(embed_dim=2, hidden_dim=4)
    assert (old.config.average_decay, old.config.seeds) == (0.0, 1)
    samples = record_of("sample", "run", "--num", "3")["samples"]
    assert len(samples) == 3


@pytest.mark.slow
def test_an_old_run_that_was_stopped_is_read_and_resumed(run):
    finished, lines = load_run(run), read_lines(run / "metrics.jsonl")
    stop_at_40(run)
    assert load_run(run).step == 40
    record = record_of("train", *STEPS)
    assert record["steps"] == 60
    assert checkpoint_steps(run)[0] == 60
    resumed = load_run(run)
    assert resumed.step is None
    for name, leaf in finished.params.items():  # another machine may add in another order
        np.testing.assert_allclose(resumed.params[name], leaf, rtol=1e-4, atol=1e-6)
    again = read_lines(run / "metrics.jsonl")
    assert again[:40] == lines[:40]
    assert [line["step"] for line in again] == [line["step"] for line in lines]
    losses = [[line["loss"] for line in each if "loss" in line] for each in (again, lines)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_an_old_run_that_has_ended_stays_as_it_is(run):
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.name != ".lock"}
    out, _ = call("train", *STEPS)
    assert "has come to its end: 60 steps" in out
    after = {path: path.read_bytes() for path in run.rglob("*.*") if path.name != ".lock"}
    assert before == after
