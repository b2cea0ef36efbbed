"""The losses of steps as lines of metrics.jsonl, and these lines as curves."""

import json
import math

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.runs.metrics import MAX_LINES, LossLog, last_line, loss_curves, read_lines

LINES = [
    {"step": 10, "loss": 3.0, "learning_rate": 0.1},
    {"step": 10, "saturated": {"h": 0.5}, "update_to_data": {"W": 1e-3}},
    {"step": 20, "loss": 2.5, "learning_rate": 0.01},
    {"step": 20, "dev_loss": 2.6},
    {"step": 20, "train_loss": 2.4, "dev_loss": 2.61},
]

# Writing


def added(log, losses, *ends):
    """The lines of losses that come in chunks, which end at ``ends``."""
    chunks = np.split(np.asarray(losses, np.float32), ends)
    return [line for chunk in chunks for line in log.add(chunk)]


def test_each_line_is_the_mean_of_as_many_steps_and_has_the_rate_of_its_last_one():
    config = OptimizerConfig("sgd", learning_rate=0.5, schedule="cosine")
    log = LossLog(config, num_steps=10, max_lines=3)
    assert log.interval == 3
    losses = [3.0, 2.5, 1.0, 1.0, 1.5, 2.0, 0.5, 0.25, 0.125, 9.0]
    lines = added(log, losses)
    assert [line["step"] for line in lines] == [3, 6, 9]
    means = [sum(losses[i : i + 3]) / 3 for i in (0, 3, 6)]
    np.testing.assert_allclose([line["loss"] for line in lines], means, rtol=1e-15)
    # The step before which i were taken has the rate of half a cosine at i of num_steps.
    rates = [0.25 * (1 + math.cos(math.pi * i / 10)) for i in (2, 5, 8)]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], rates, rtol=1e-6)
    assert (log.num_lines, log.pending) == (3, [9.0])


@pytest.mark.parametrize("ends", [(), (1,), (3, 6, 9), (2, 4, 8), range(1, 10)])
def test_where_a_line_ends_does_not_depend_on_the_chunks(ends):
    config = OptimizerConfig("sgd", learning_rate=0.1, schedule="constant")
    losses = np.random.default_rng(0).uniform(1, 3, 10)
    whole = added(LossLog(config, 10, max_lines=3), losses)
    assert added(LossLog(config, 10, max_lines=3), losses, *ends) == whole
    assert len(whole) == 3


def test_a_log_continues_where_another_ended():
    config = OptimizerConfig("sgd", learning_rate=0.1, schedule="step")
    losses = np.random.default_rng(0).uniform(1, 3, 10)
    first, second = LossLog(config, 10, max_lines=3), LossLog(config, 10, max_lines=3)
    lines = added(first, losses[:5])
    second.num_lines, second.pending = first.num_lines, first.pending
    assert lines + added(second, losses[5:]) == added(LossLog(config, 10, max_lines=3), losses)


def test_a_loss_that_is_not_finite_is_written_as_such():
    config = OptimizerConfig("sgd", learning_rate=0.1, schedule="constant")
    lines = LossLog(config, 2).add(np.array([math.inf, math.nan], np.float32))
    assert lines[0]["loss"] == math.inf
    assert math.isnan(lines[1]["loss"])


def test_lbfgs_has_no_rate_and_a_long_run_at_most_so_many_lines():
    log = LossLog(OptimizerConfig("lbfgs"), num_steps=5)
    assert log.add(np.array([2.0], np.float32)) == [{"step": 1, "loss": 2.0}]
    for num_steps in (0, 1, MAX_LINES, MAX_LINES + 1, 2 * MAX_LINES, 200_000):
        interval = LossLog(OptimizerConfig("lbfgs"), num_steps).interval
        assert 1 <= interval <= max(1, num_steps)
        assert num_steps // interval < 2 * MAX_LINES


def test_the_last_line_is_the_last_one_that_is_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_line(path) == {}
    for text, line in {
        "": {},
        '{"step": 1}': {},
        '{"step": 1}\n': {"step": 1},
        '{"step": 1}\n{"step": 2}\n{"st': {"step": 2},
        '{"step": 1}\n[2]\n': {},
        '{"step": 1}\nnonsense\n': {},
    }.items():
        path.write_text(text)
        assert last_line(path) == line


# Reading


def test_lines_become_a_curve_and_the_exact_loss_at_the_end_counts():
    (curve,) = loss_curves(LINES)
    assert curve.steps.tolist() == [10, 20]
    assert curve.losses.tolist() == [3.0, 2.5]
    assert curve.rates.tolist() == [0.1, 0.01]
    assert (curve.dev_steps.tolist(), curve.dev_losses.tolist()) == ([20], [2.61])
    assert curve.diagnostics == [LINES[1]]
    assert (curve.end, curve.interval, curve.seed) == (20, 10, None)


def test_an_ensemble_has_a_curve_for_each_member():
    lines = [{"seed": seed, **line} for seed in (3, 4) for line in LINES[:4]]
    curves = loss_curves([*lines, LINES[4]])
    assert [curve.seed for curve in curves] == [3, 4]
    assert [curve.dev_losses.tolist() for curve in curves] == [[2.6], [2.6]]


def test_losses_that_are_none_or_not_finite_are_left_out():
    lines = [*LINES[:1], {"step": 20, "loss": math.nan}, {"step": 30, "loss": math.inf}]
    (curve,) = loss_curves([*lines, {"step": 30, "learning_rate": 0.1}])
    assert curve.losses.tolist() == [3.0]
    assert len(curve.dev_losses) == 0
    assert loss_curves([{"train_loss": 2.0, "dev_loss": 2.5}]) == []  # of what was counted
    without = loss_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 2.0}])[0]
    assert len(without.rates) == 0


def test_a_line_in_the_making_is_not_read_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    path.write_text(text + '{"step": 30, "lo')
    assert read_lines(path) == LINES
    for damaged in (
        "{",
        "[1]",
        '{"step": "x"}',
        '{"step": -1}',
        '{"step": true}',
        '{"step": 1' + 400 * "0" + "}",
        '{"step": 1, "seed": [1]}',
        '{"step": 1, "loss": "much"}',
        '{"step": 1, "loss": []}',
        '{"step": 1, "loss": true}',
        '{"step": 1, "loss": 1' + 400 * "0" + "}",
        '{"step": 1, "learning_rate": {}}',
        '{"step": 1, "saturated": 3}',
        '{"step": 1, "update_to_data": {"W": "x"}}',
        '{"step": 1, "update_to_data": {"W": null}}',
        100_000 * "[",
    ):
        path.write_text(text + damaged + "\n")
        with pytest.raises(InputError, match=r"metrics\.jsonl, line 6 is damaged"):
            loss_curves(read_lines(path))


def test_what_no_figure_can_show_is_left_out():
    far = [{"step": 20, "loss": 1e300}, {"step": 30, "loss": 1e-320}, {"step": 40, "loss": 0.0}]
    (curve,) = loss_curves([*LINES[:1], *far])
    assert curve.losses.tolist() == [3.0]
    partly = [*LINES[:1], {"step": 20, "loss": 2.0}]
    assert len(loss_curves(partly)[0].rates) == 0
    assert len(loss_curves([{**LINES[0], "learning_rate": math.inf}])[0].rates) == 0


def test_numbers_are_float64():
    assert loss_curves(LINES)[0].losses.dtype == np.float64
