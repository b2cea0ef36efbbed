"""Several seeds in one directory: trained, interrupted, resumed; the finite ones are kept."""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import Samples
from mm_jax.experiments import members, seed_ensemble
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.grouping import group_members
from mm_jax.experiments.members import Member
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.search_space import seeds_of
from mm_jax.experiments.seed_ensemble import SeedEnsemble
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.writer import write_metadata

STEPS, SEEDS = 10, 3
LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """Choices, the dataset, and the group of three members that share a program."""
    path = tmp_path_factory.mktemp("seeds") / "names.txt"
    path.write_text("\n".join(LINES))
    config = RunConfig(
        data=DataConfig(str(path)),
        model=BigramConfig("scaled"),
        optimizer=OptimizerConfig(learning_rate=0.5),
        batch_size=8,
        steps=STEPS,
        seeds=SEEDS,
        seed=4,
    )
    dataset = load_dataset(config.data)
    return config, dataset, group_members(seeds_of(config), dataset, members_per_slice=1)


@pytest.fixture(autouse=True)
def not_sampled(monkeypatch):
    """Sampling and exact losses are test_evaluation's."""
    result = EvalResult(2.25, 2.5, Samples(["abc"], [False], 64))
    monkeypatch.setattr(members, "evaluate_and_sample", lambda *_: result)


class Recorder(Observer):
    def __init__(self, stopping=False):
        self.messages, self.steps, self.stopping = [], [], stopping

    def message(self, text):
        self.messages.append(text)

    def progress(self, step, loss_nats):  # noqa: ARG002
        self.steps.append(step)

    def should_stop(self):
        return self.stopping and bool(self.steps)


def begin(path, population, observer=None):
    config, dataset, groups = population
    metadata = RunMetadata(config, dataset.vocab.symbols, dataset.record, None, {})
    write_metadata(path, metadata)
    return SeedEnsemble(path, metadata, dataset, groups, CheckpointConfig(), observer)


def test_all_seeds_are_trained_and_kept_as_one_ensemble(tmp_path, population):
    observer = Recorder()
    run = begin(tmp_path, population)
    assert run.first_step == 0
    end = run.train(observer)
    assert (end.num_trained, end.reason, end.interrupted) == (SEEDS, None, False)
    assert [member.config.seed for member in end.members] == [4, 5, 6]
    assert max(observer.steps) == SEEDS * STEPS
    assert end.steps_per_second * end.seconds == pytest.approx(SEEDS * STEPS)
    assert list(tmp_path.glob("checkpoints/*"))
    assert run.finish(end).dev_loss == 2.5
    assert not list(tmp_path.glob("checkpoints/*"))
    W = load_file(tmp_path / "params.safetensors")["W"]
    for row, member in zip(W, end.members, strict=True):
        np.testing.assert_array_equal(row, member.params["W"])
    assert len({row.tobytes() for row in W}) == SEEDS


def test_interrupted_and_resumed_the_members_have_the_same_bits(tmp_path, population):
    whole = begin(tmp_path / "whole", population).train()
    end = begin(tmp_path / "run", population).train(Recorder(stopping=True))
    assert end.interrupted
    assert 0 < end.num_trained < SEEDS
    assert end.reason == f"interrupted; {end.num_trained} of {SEEDS} members are trained"
    observer = Recorder()
    run = begin(tmp_path / "run", population, observer)
    assert run.first_step == end.num_trained * STEPS
    assert observer.messages == [f"resumed    {run.first_step} steps of members are taken already"]
    end = run.train(observer)
    assert end.steps_per_second * end.seconds == pytest.approx(SEEDS * STEPS - run.first_step)
    for member, expected in zip(end.members, whole.members, strict=True):
        np.testing.assert_array_equal(member.params["W"], expected.params["W"])


@pytest.mark.parametrize("bad", [(5,), (4, 6), (4, 5, 6)])
def test_members_that_diverged_are_named_and_left_out(tmp_path, population, monkeypatch, bad):
    def train_members(configs, groups, **_):
        nats = [math.nan if config.seed in bad else 2.0 for config in configs]
        W = np.zeros((4, 4), np.float32)
        return {
            i: Member(config, 16, STEPS, loss, [], {"W": W})
            for i, (config, loss) in enumerate(zip(configs, nats, strict=True))
        }

    monkeypatch.setattr(seed_ensemble, "train_members", train_members)
    run = begin(tmp_path, population)
    end = run.train()
    seeds = ", ".join(map(str, bad))
    assert end.reason == f"training diverged for --seed {seeds}; lower --learning-rate"
    assert not end.interrupted
    assert [member.config.seed for member in end.members] == sorted({4, 5, 6} - {*bad})
    if end.members:
        run.finish(end)
        assert len(load_file(tmp_path / "params.safetensors")["W"]) == SEEDS - len(bad)
