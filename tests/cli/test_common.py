"""What commands share: base choices, checks, lines for the console, records for --json."""

import dataclasses
import math
import os
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mm_jax.cli import common
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig, MLPConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.runtime import RuntimeConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import Samples
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.runtime.console import Console

NO_SAMPLES = Samples([], [], 64)


def members(*losses):
    return [SimpleNamespace(dev_loss=loss) for loss in losses]


# Choices


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, RunConfig()),
        ({"model": "mlp"}, RunConfig()),
        ({"model": "bigram"}, RunConfig(model=BigramConfig())),
        ({"model": "gru"}, PRESETS["gru"].config),
        ({"model": "transformer"}, PRESETS["transformer"].config),
        ({"preset": "modern"}, PRESETS["modern"].config),
        ({"preset": "bigram", "model": "bigram"}, PRESETS["bigram"].config),
        ({"out": "run"}, RunConfig()),
    ],
)
def test_base_choices_are_those_of_the_preset_or_the_model(given, expected):
    assert common.base_config(given) == expected


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"preset": "other"}, "unknown preset 'other'; choose from lecture, bigram, modern"),
        ({"model": "other"}, "unknown model 'other'; choose from bigram, mlp"),
        ({"model": "ngram"}, "ngram is counted, not trained; use mm-jax count"),
        ({"preset": "modern", "model": "bigram"}, "preset modern is for --model mlp, not bigram"),
    ],
)
def test_base_choices_that_do_not_exist_are_refused(given, error):
    with pytest.raises(InputError, match=error):
        common.base_config(given)


def test_a_data_path_becomes_absolute_and_a_name_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = DataConfig("a/names.txt", split="unique", split_seed=3)
    assert common.with_absolute_path(relative) == dataclasses.replace(
        relative, data=f"{os.path.realpath(tmp_path)}/a/names.txt"
    )
    for name in ("names", "lecture-names"):
        assert common.with_absolute_path(DataConfig(name)) == DataConfig(name)


@pytest.mark.parametrize(
    ("config", "runtime", "error"),
    [
        (RunConfig(seeds=2), RuntimeConfig(members_per_slice=3), "--members-per-slice 3 needs as"),
        (RunConfig(), RuntimeConfig(data_parallel=3), "--data-parallel 3 does not divide .* 32"),
    ],
)
def test_devices_and_slices_must_fit_the_run(config, runtime, error):
    with pytest.raises(InputError, match=error):
        common.check_runtime(config, runtime)


def test_devices_and_slices_that_fit_are_accepted():
    common.check_runtime(RunConfig(seeds=3), RuntimeConfig(members_per_slice=3, data_parallel=4))
    common.check_runtime(RunConfig(full_batch=True), RuntimeConfig(data_parallel=3))


@pytest.mark.skipif(jax.device_count() > 1, reason="about a machine with one device")
def test_one_device_needs_no_mesh():
    assert common.choose_mesh(RuntimeConfig(), 5) is None
    with pytest.raises(InputError):
        common.choose_mesh(RuntimeConfig(data_parallel=2), 1)


def test_a_process_alone_prints(monkeypatch):
    pinned = []
    monkeypatch.setattr(common, "pin_threads", lambda: pinned.append(True))
    console = Console(json=False)
    assert common.join_processes(RuntimeConfig(), console)
    assert pinned == []
    assert common.join_processes(RuntimeConfig(deterministic=True), console)
    assert pinned == [True]
    assert console.stream is sys.stdout


@pytest.mark.parametrize("primary", [True, False])
def test_of_several_processes_only_the_first_prints(monkeypatch, primary, capfd):
    joined = []
    monkeypatch.setattr("mm_jax.runtime.mesh.join", joined.append)
    monkeypatch.setattr("mm_jax.runtime.mesh.is_primary", lambda: primary)
    console = Console(json=False)
    monkeypatch.setattr(console, "reserve_stdout", lambda: joined.append("stdout is reserved"))
    runtime = RuntimeConfig(coordinator="auto")
    assert common.join_processes(runtime, console) == primary
    assert joined == ["stdout is reserved", runtime]
    console.say("a line")
    console.note("a note")
    if not primary:
        console.stream.close()
    assert capfd.readouterr() == (("a line\n", "a note\n") if primary else ("", ""))


# Lines for the console


def test_losses_are_described_in_nats_bits_and_perplexity():
    lines = list(common.describe_losses(EvalResult(2.0, math.log(8), NO_SAMPLES), "best"))
    assert lines == [
        "best       train 2.0000, dev 2.0794 nats per symbol",
        "           (dev perplexity 8.00, 3.0000 bits per symbol)",
    ]
    train_only = list(common.describe_losses(EvalResult(math.log(2), None, NO_SAMPLES)))
    assert train_only == [
        "loss       train 0.6931 nats per symbol",
        "           (train perplexity 2.00, 1.0000 bits per symbol)",
    ]
    assert "perplexity huge" in list(common.describe_losses(EvalResult(30.0, None, NO_SAMPLES)))[1]


def test_members_are_described_by_their_mean():
    """Two losses 0.2 apart: the interval is 12.706 (Student's t, one degree) times 0.1."""
    [line] = common.describe_members(members(2.0, 2.2))
    assert line == "members    2, each on its own: dev 2.1000 ± 1.2706 nats per symbol"
    assert list(common.describe_members(members(None, None))) == []


def test_the_record_of_members():
    record = common.members_record(members(2.0, 2.2))
    assert record["num_members"] == 2
    assert record["members_dev_loss"] == [2.0, 2.2]
    assert record["mean_dev_loss"] == pytest.approx(2.1)
    assert record["dev_loss_interval"] == pytest.approx(1.2706, abs=1e-4)
    assert common.members_record(members(None, None, None)) == {"num_members": 3}


def test_the_record_of_a_range_test():
    suggestion = SimpleNamespace(
        lr=0.1, interval=(0.05, 0.2), reason="why", floor=(0.1, 0.2), too_low=0.01, too_high=0.5,
        explodes=None,
    )  # fmt: skip
    test = SimpleNamespace(
        mode="grid",
        lrs=np.array([0.01, 0.1, 1.0]),
        losses=np.zeros((2, 3)),
        untrained=np.array([3.0, 3.5]),
        suggestion=suggestion,
    )
    assert common.range_record(test) == {
        "suggested_lr": 0.1,
        **{name: getattr(suggestion, name) for name in vars(suggestion) if name != "lr"},
        "mode": "grid",
        "min": 0.01,
        "max": 1.0,
        "num_rates": 3,
        "num_seeds": 2,
        "untrained": [3.0, 3.5],
    }


# Reports


def test_a_checkpoint_is_not_summarized(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"")
    monkeypatch.setattr("mm_jax.runs.reader.load_run", lambda _: SimpleNamespace(path=path))
    with pytest.raises(InputError, match="is a checkpoint; give the run directory"):
        common.summarize(str(path), Console(json=False))


@pytest.mark.parametrize("backend", [None, "module://nowhere.backend"])
def test_figures_are_drawn_whatever_window_matplotlib_is_told_to_use(monkeypatch, backend):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if backend:
        monkeypatch.setenv("MPLBACKEND", backend)
    assert common.import_plots().__name__ == "mm_jax.reports.plots"
    assert os.environ.get("MPLBACKEND") == backend


def test_the_model_choices_of_a_setup_are_described(monkeypatch, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("emma\nava\n" * 10)
    config = RunConfig(data=DataConfig(str(path)), model=MLPConfig())
    setup = SimpleNamespace(
        config=config, dataset=load_dataset(config.data), num_params=11_897, num_examples=182_625
    )
    lines = list(common.describe_setup(setup))
    assert lines[2] == "model      mlp, 11,897 parameters; 182,625 training examples"
    assert lines[3].startswith("device     ")
    assert lines[3].endswith(f" x {jax.device_count()}")
