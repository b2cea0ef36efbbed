"""A single run in its directory: begun, interrupted, resumed, finished."""

import dataclasses
import hashlib
import json
import math

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.config.data import DataConfig
from mm_jax.config.models import TRAINED, BigramConfig
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.samples import Samples
from mm_jax.experiments import single_run, training_loop
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import load_setup
from mm_jax.experiments.single_run import SingleRun
from mm_jax.runs.checkpoint import checkpoint_path
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.writer import write_metadata
from mm_jax.training.optimizers import make_optimizer

STEPS = 40
LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]
SAMPLES = Samples(["abc", "", "ca"], [False, False, True], 64)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    path = tmp_path_factory.mktemp("single") / "names.txt"
    path.write_text("\n".join(LINES))
    config = RunConfig(
        data=DataConfig(str(path)),
        model=BigramConfig("scaled"),
        optimizer=OptimizerConfig("adam", learning_rate=0.01),
        average_decay=0.9,
        batch_size=8,
        steps=STEPS,
    )
    return load_setup(config, make_optimizer(config.optimizer, STEPS))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Chunks are short, and nothing is sampled: test_evaluation does that."""
    monkeypatch.setattr(training_loop, "chunk_length", lambda *_: 5)

    def evaluate_and_sample(model, params, dataset):
        total = sum(float(np.sum(leaf)) for leaf in jax.tree.leaves(params))
        return EvalResult(total, 2.5, SAMPLES)

    monkeypatch.setattr(single_run, "evaluate_and_sample", evaluate_and_sample)
    monkeypatch.setattr(training_loop, "evaluate_and_sample", evaluate_and_sample)


class Recorder(Observer):
    """Keeps what it is told, and stops after ``last``."""

    def __init__(self, last=math.inf):
        self.messages, self.warnings, self.step, self.last = [], [], 0, last

    def message(self, text):
        self.messages.append(text)

    def warning(self, text):
        self.warnings.append(text)

    def progress(self, step, loss_nats):  # noqa: ARG002
        self.step = step

    def should_stop(self):
        return self.step >= self.last


def begin(path, setup, observer=None, **choices):
    """A run in a directory that holds its config.json, as mm-jax train makes it."""
    metadata = RunMetadata(setup.config, setup.vocab.symbols, setup.dataset.record, None, {})
    if not path.exists():
        write_metadata(path, metadata)
    return SingleRun(path, metadata, setup, CheckpointConfig(**choices), observer)


def test_a_run_is_trained_and_its_results_written_and_summed(tmp_path, setup):
    run = begin(tmp_path / "run", setup)
    assert run.first_step == 0
    end, result = run.finish(run.train())
    assert (end.step, end.reason) == (STEPS, None)
    params = load_file(tmp_path / "run/params.safetensors")
    np.testing.assert_array_equal(params["W"], end.state.average["W"])  # and not the last ones
    assert not np.array_equal(params["W"], end.state.params["W"])
    assert (tmp_path / "run/samples.txt").read_text() == "abc\n\nca\t(cut)\n"
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": STEPS, "train_loss": result.train_loss, "dev_loss": 2.5}
    assert result.train_loss == pytest.approx(params["W"].sum())
    for line in (tmp_path / "run/SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest() == digest


def test_interrupted_and_resumed_every_file_has_the_same_bits(tmp_path, setup):
    whole = begin(tmp_path / "whole", setup)
    whole.finish(whole.train())
    end = begin(tmp_path / "run", setup).train(Recorder(last=15))
    assert end.interrupted
    observer = Recorder()
    run = begin(tmp_path / "run", setup, observer)
    assert run.first_step == 15
    assert observer.messages == ["resumed    after step 15"]
    assert observer.warnings == []
    run.finish(run.train())
    names = ("params.safetensors", "metrics.jsonl", "samples.txt", "SHA256SUMS", "config.json")
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["bow", "wavenet", "lstm", "transformer"])
def test_each_kind_of_model_resumes_with_the_same_bits(tmp_path, setup, name):
    drops = {"dropout": 0.3} | ({"recurrent_dropout": 0.3} if name == "lstm" else {})
    sizes = {"embed_dim": 8} | ({} if name == "transformer" else {"hidden_dim": 8})
    config = dataclasses.replace(
        setup.config,
        model=TRAINED[name](**drops, **sizes),
        row_length=0 if name == "wavenet" else 12,
        steps=10,
    )
    of_model = load_setup(config, make_optimizer(config.optimizer, 10), dataset=setup.dataset)
    whole = begin(tmp_path / "whole", of_model)
    whole.finish(whole.train())
    begin(tmp_path / "run", of_model).train(Recorder(last=5))
    run = begin(tmp_path / "run", of_model)
    assert run.first_step == 5
    run.finish(run.train())
    for file in ("params.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_what_the_user_should_know_of_a_checkpoint_is_a_warning(tmp_path, setup):
    begin(tmp_path / "run", setup).train(Recorder(last=15))
    path = checkpoint_path(tmp_path / "run", 15)
    path.write_bytes(path.read_bytes()[:-1])
    observer = Recorder()
    assert begin(tmp_path / "run", setup, observer).first_step == 0
    [warning] = observer.warnings
    assert warning.endswith("is damaged: its checksum is wrong; training begins anew")
    assert observer.messages == []


@pytest.mark.parametrize("losses", [(math.nan, 2.0), (2.0, math.inf), (math.nan, None)])
def test_losses_that_are_not_finite_at_the_end_are_a_reason_and_the_results_stay(
    tmp_path, setup, monkeypatch, losses
):
    """Every minibatch and dev on the way can be finite where the whole of train is not."""
    result = EvalResult(*losses, SAMPLES)
    monkeypatch.setattr(single_run, "evaluate_and_sample", lambda *_: result)
    run = begin(tmp_path / "run", setup)
    end, _ = run.finish(run.train())
    assert end.reason == (
        f"the loss at the end is not finite (train {losses[0]}, dev {losses[1]}); "
        "lower --learning-rate"
    )
    assert not end.interrupted
    assert (tmp_path / "run/params.safetensors").exists()
    end, _ = run.finish(end._replace(reason="the loss became inf at step 7"))
    assert end.reason == "the loss became inf at step 7"
