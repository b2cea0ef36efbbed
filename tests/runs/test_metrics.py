"""metrics.jsonl read again, as curves."""

import json
import math

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.reports.text_tables import loss_chart
from mm_jax.runs.metrics import loss_curves, read_lines

LINES = [
    {"step": 10, "loss": 3.0, "learning_rate": 0.1},
    {"step": 10, "saturated": {"h": 0.5}, "update_to_data": {"W": 1e-3}},
    {"step": 20, "loss": 2.5, "learning_rate": 0.01},
    {"step": 20, "dev_loss": 2.6},
    {"step": 20, "train_loss": 2.4, "dev_loss": 2.61},
]


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


def test_the_chart_has_minibatches_their_mean_and_dev_where_they_are():
    lines = [{"step": 2 * i, "loss": 4.0 * 2 ** (-i / 50)} for i in range(1, 101)]
    (curve,) = loss_curves([*lines, {"step": 200, "dev_loss": 2.0}])
    rows = list(loss_chart(curve, width=71, height=9))
    assert len(rows) == 9 + 3
    canvas = [row[11:].ljust(60) for row in rows[:9]]
    means = {row.index("o"): number for number, row in enumerate(canvas) if "o" in row}
    assert [means[column] for column in sorted(means)] == sorted(means.values())  # it falls
    columns = [[row[i] for row in canvas] for i in range(60)]
    assert all("o" in marks or "." in marks for marks in columns[3:-1])
    assert [row for row in range(9) if canvas[row][-1] == "+"] == [4]  # 2 of 4 to 1, log scale
    assert rows[-2].split() == ["step", "0", "100", "200"]
    assert "+ dev" in rows[-1]
    assert "dev" not in list(loss_chart(loss_curves(lines)[0], width=50))[-1]
    still = loss_curves([{"step": i, "loss": 2.0} for i in (1, 2)])[0]
    assert len(list(loss_chart(still))) == 13  # nothing differs, and it is drawn all the same


def test_numbers_are_float64():
    assert loss_curves(LINES)[0].losses.dtype == np.float64
