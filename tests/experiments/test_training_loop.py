"""The training loop: what it writes and when, how it stops, and what it keeps where it fails."""

import functools
import json
import math
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.experiments import training_loop
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import load_setup
from mm_jax.experiments.training_loop import StepTimer, TrainingLoop, divisor, should_evaluate
from mm_jax.runs.checkpoint import checkpoint_path, checkpoint_steps, open_checkpoint
from mm_jax.runs.checkpoint_manager import CheckpointManager
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.training.optimizers import make_optimizer
from tests.helpers import assert_trees_identical

CHUNK = 5  # steps
STEPS = 40
LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]
SETTLED = OptimizerConfig(learning_rate=1.0)
# Each step multiplies the parameters by 1 - 100, and float32 ends near 3e38 = 99 ** 19.3.
DIVERGING = OptimizerConfig(learning_rate=1000.0, schedule="constant", weight_decay=0.1)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("loop") / "names.txt"
    path.write_text("\n".join(LINES))
    return str(path)


@pytest.fixture(autouse=True)
def aside(monkeypatch):
    """Chunks are short; what is to be compiled aside is noted instead."""
    submitted = []

    class Executor:
        def __init__(self, workers):
            assert workers == 1

        def submit(self, *call):
            submitted.append(call)

        def shutdown(self, *, wait):
            assert not wait

    monkeypatch.setattr(training_loop, "ThreadPoolExecutor", Executor)
    monkeypatch.setattr(training_loop, "chunk_length", lambda *_: CHUNK)
    return submitted


@functools.cache
def setup_of(names, optimizer):
    config = RunConfig(
        data=DataConfig(names),
        model=BigramConfig("scaled"),
        optimizer=optimizer,
        batch_size=8,
        steps=STEPS,
    )
    return load_setup(config, make_optimizer(optimizer, STEPS))


def loop_of(path, names, *, optimizer=SETTLED, diagnostics=False, **choices):
    """A loop that begins where the directory's newest checkpoint is."""
    path.mkdir(exist_ok=True)
    setup = setup_of(names, optimizer)
    config = setup.config
    metadata = RunMetadata(config, setup.vocab.symbols, setup.dataset.record)
    log = LossLog(config.optimizer, config.steps)
    manager = CheckpointManager(path, metadata, CheckpointConfig(**choices), log)
    made = make_optimizer(optimizer, STEPS)
    state = setup.initial_state(made)
    state = manager.restore(state, print) or state
    return TrainingLoop(config, setup, made, state, manager, diagnostics=diagnostics)


class Recorder(Observer):
    """Notes the steps it is told, and stops after ``last``."""

    def __init__(self, last=None):
        self.steps, self.losses, self.last = [], [], last

    def progress(self, step, loss_nats):
        self.steps.append(step)
        self.losses.append(loss_nats)

    def should_stop(self):
        return self.last is not None and self.steps[-1] >= self.last


def metrics(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_it_trains_to_the_last_step_and_writes_a_line_for_each(tmp_path, names):
    observer = Recorder()
    loop = loop_of(tmp_path, names)
    result = loop.run(observer)
    assert (result.step, result.steps_taken, result.reason) == (STEPS, STEPS, None)
    assert int(result.state.step) == STEPS
    assert observer.steps == list(range(CHUNK, STEPS + 1, CHUNK))
    lines = [line for line in metrics(tmp_path) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    means = np.reshape([line["loss"] for line in lines], (-1, CHUNK)).mean(1)
    np.testing.assert_allclose(observer.losses, means, rtol=1e-6)
    assert observer.losses[-1] < observer.losses[0]
    saved = open_checkpoint(checkpoint_path(tmp_path, STEPS))
    assert np.array_equal(saved.arrays["params.W"], result.state.params["W"])


def test_dev_is_measured_at_the_ends_of_chunks_and_the_best_state_is_kept(tmp_path, names):
    loop = loop_of(tmp_path, names)
    loop.run()
    dev = {line["step"]: line["dev_loss"] for line in metrics(tmp_path) if "dev_loss" in line}
    assert list(dev) == list(range(CHUNK, STEPS + 1, CHUNK))
    best = min(dev, key=dev.get)
    assert (loop.manager.best.step, loop.manager.best.dev_loss) == (best, dev[best])
    assert open_checkpoint(tmp_path / "checkpoints/best.safetensors").step == best


def test_without_lines_for_dev_there_is_nothing_to_measure(tmp_path, names):
    loop = loop_of(tmp_path, names)
    loop.dev_data = None  # as Setup has it where --split is none
    loop.run()
    assert [line for line in metrics(tmp_path) if "dev_loss" in line] == []
    assert not (tmp_path / "checkpoints/best.safetensors").exists()


@pytest.mark.parametrize("every", [None, 7], ids=["at the end of a chunk", "every 7 steps"])
def test_stopped_and_resumed_it_ends_with_the_same_bits(tmp_path, names, every):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop_of(whole, names).run()
    stopped = loop_of(parts, names, checkpoint_every=every).run(Recorder(last=12))
    assert stopped.interrupted
    assert stopped.step == {None: 15, 7: 14}[every]
    assert stopped.reason == f"interrupted after step {stopped.step}"
    assert checkpoint_steps(parts)[0] == stopped.step
    resumed = loop_of(parts, names, checkpoint_every=every)
    assert resumed.first_step == stopped.step
    result = resumed.run()
    assert (result.step, result.steps_taken) == (STEPS, STEPS - stopped.step)
    assert (parts / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    one, other = (open_checkpoint(checkpoint_path(path, STEPS)).arrays for path in (whole, parts))
    assert_trees_identical(one, other)


def test_a_run_at_its_end_takes_no_step(tmp_path, names):
    loop_of(tmp_path, names).run()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    observer = Recorder()
    result = loop_of(tmp_path, names).run(observer)
    assert (result.step, result.steps_taken, result.steps_per_second) == (STEPS, 0, 0)
    assert observer.steps == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_checkpoints_are_as_often_as_asked_for(tmp_path, names, monkeypatch):
    saved = []
    save = CheckpointManager.save
    monkeypatch.setattr(
        CheckpointManager,
        "save",
        lambda self, state, step: (saved.append(step), save(self, state, step)),
    )
    loop_of(tmp_path, names, checkpoint_every=15).run()
    assert saved == [15, 30, STEPS]


# The latest state, which another thread may save


def test_between_chunks_the_latest_state_can_be_saved_with_its_metrics(tmp_path, names):
    loop = loop_of(tmp_path, names, checkpoint_seconds=1e6)

    class Saving(Recorder):
        def progress(self, step, loss_nats):
            super().progress(step, loss_nats)
            thread = threading.Thread(target=loop.save_latest)
            thread.start()
            thread.join(60)
            newest = checkpoint_steps(tmp_path)[:1]
            assert newest == ([step] if step < STEPS else [STEPS - CHUNK])  # the end is not urgent
            if step < STEPS:
                record = open_checkpoint(
                    tmp_path / f"checkpoints/step-{step:010}.safetensors"
                ).record
                assert record["metrics"]["bytes"] == (tmp_path / "metrics.jsonl").stat().st_size

    loop.save_latest()  # nothing has begun
    assert checkpoint_steps(tmp_path) == []
    loop.run(Saving())
    loop.manager.latest = loop.state, 1
    loop.manager.saved_step = 0
    loop.save_latest()  # all has ended
    assert checkpoint_steps(tmp_path) == [STEPS, STEPS - CHUNK]


def test_a_state_whose_metrics_are_not_written_yet_cannot_be_saved(tmp_path, names, monkeypatch):
    loop = loop_of(tmp_path, names)
    seen = []
    append = CheckpointManager.append_metrics

    def look(self, lines):
        seen.append(self.latest)
        append(self, lines)

    monkeypatch.setattr(CheckpointManager, "append_metrics", look)
    loop.run()
    assert seen == [None] * (STEPS // CHUNK)


# Losses that are not finite


def test_where_it_diverges_the_last_state_with_a_finite_loss_is_kept(tmp_path, names):
    result = loop_of(tmp_path, names, optimizer=DIVERGING).run()
    assert 15 < result.step < 22
    assert not result.interrupted
    assert int(result.state.step) == result.step
    assert np.isfinite(result.state.params["W"]).all()
    assert result.reason.startswith("the loss became ")
    assert f"; the parameters after step {result.step} are kept; lower --learning-rate (1000)" in (
        result.reason
    )
    assert len([line for line in metrics(tmp_path) if "loss" in line]) <= result.step
    assert checkpoint_steps(tmp_path) == []  # none was due, and what came last is bad


def test_a_state_whose_next_loss_is_bad_is_never_a_checkpoint(tmp_path, names):
    """Also where it is asked to stop there: a run that is resumed has to be able to go on."""
    result = loop_of(tmp_path, names, optimizer=DIVERGING, checkpoint_every=1).run()
    [newest, _] = checkpoint_steps(tmp_path)
    assert f"; the last checkpoint is of step {newest}" in result.reason
    resumed = loop_of(tmp_path, names, optimizer=DIVERGING, checkpoint_every=1)
    assert bool(jnp.isfinite(resumed.take_chunk(resumed.state, limit=np.int32(1))[1][0]))
    stopped = resumed.run(Recorder(last=newest + 1))
    assert not stopped.interrupted
    assert checkpoint_steps(tmp_path)[0] == newest


@pytest.mark.parametrize("bad", [2, 1], ids=["after a good one", "the first"])
def test_where_dev_is_not_finite_the_best_state_is_kept(tmp_path, names, monkeypatch, bad):
    count = []

    def evaluate(*_args, **_options):
        count.append(1)
        return math.nan if len(count) >= bad else 2.5

    monkeypatch.setattr(training_loop, "evaluate", evaluate)
    observer = Recorder()
    loop = loop_of(tmp_path, names)
    result = loop.run(observer)
    assert observer.steps == list(range(CHUNK, bad * CHUNK + 1, CHUNK))
    assert result.step == int(result.state.step) == (bad - 1) * CHUNK
    assert result.reason.startswith(f"the dev loss became nan by step {bad * CHUNK}; the param")
    assert not result.interrupted
    assert loop.manager.latest is None
    assert checkpoint_steps(tmp_path) == []


# Diagnostics, and what is compiled aside


def test_diagnostics_are_more_lines_and_change_nothing_else(tmp_path, names, monkeypatch):
    monkeypatch.setattr(training_loop, "DIAGNOSTICS_LINES", STEPS)
    asked = []

    def line(model, optimizer, state, data, batch_size):
        asked.append((data.num_examples, batch_size))
        return {"step": int(state.step), "saturated": {}, "update_to_data": {}}

    monkeypatch.setattr(training_loop, "diagnostics_line", line)
    loop_of(tmp_path / "with", names, diagnostics=True).run()
    loop_of(tmp_path / "without", names).run()
    lines = metrics(tmp_path / "with")
    assert [line["step"] for line in lines if "saturated" in line] == list(range(1, STEPS + 1))
    others = [line for line in lines if "saturated" not in line]
    assert others == metrics(tmp_path / "without")
    assert set(asked) == {(setup_of(names, SETTLED).data.num_examples, 8)}


def test_what_follows_training_is_compiled_once_aside_unless_it_ends_at_once(
    tmp_path, names, monkeypatch, aside
):
    loop_of(tmp_path / "long", names).run()
    [(function, _, params, _)] = aside
    size = len(setup_of(names, SETTLED).vocab)
    assert function is training_loop.evaluate_and_sample
    assert jax.tree.map(jnp.shape, params) == {"W": (size, size)}
    monkeypatch.setattr(training_loop, "chunk_length", lambda *_: STEPS)
    loop_of(tmp_path / "short", names).run()
    assert len(aside) == 1


# How long chunks are


@pytest.mark.parametrize(
    ("number", "most", "expected"),
    [(1000, 5000, 1000), (1000, 200, 200), (1000, 300, 250), (1000, 0, 1), (7, 6, 1)],
)
def test_chunks_end_where_longer_ones_would(number, most, expected):
    assert divisor(number, most) == expected


def test_chunks_of_slow_steps_are_shorter_and_change_nothing_else(tmp_path, names, monkeypatch):
    loop_of(tmp_path / "long", names).run()
    setup, observer = setup_of(names, SETTLED), Recorder()
    monkeypatch.setattr(training_loop, "CHUNK_PRODUCTS", 8 * setup.num_params)
    loop_of(tmp_path / "short", names).run(observer)
    assert observer.steps == list(range(1, STEPS + 1))
    assert metrics(tmp_path / "short") == metrics(tmp_path / "long")


# Speed, and when dev is measured


def test_the_speed_leaves_out_the_first_chunk(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training_loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    timer = StepTimer(1000)
    assert timer.is_first_chunk
    now[0] += 8  # it is compiled
    timer.chunk_ended(1010)
    assert not timer.is_first_chunk
    assert timer.seconds_and_speed(1010) == (8, 10 / 8)
    now[0] += 2
    timer.chunk_ended(1050)
    now[0] += 1
    assert timer.seconds_and_speed(1070) == (11, 60 / 3)


@pytest.mark.parametrize(("length", "num_steps"), [(100, 20_000), (100, 250), (7, 1000)])
def test_dev_is_measured_twenty_times_at_most_at_ends_of_chunks_and_at_the_end(length, num_steps):
    steps = [step for step in range(1, num_steps + 1) if should_evaluate(step, length, num_steps)]
    assert steps[-1] == num_steps
    assert all(step % length == 0 for step in steps[:-1])
    assert len(steps) == min(20, math.ceil(num_steps / length))
    gaps = np.diff([0, *steps])
    assert gaps.max() <= max(length, num_steps / 20 + length)
