"""Figures of searches: settings and seeds are drawn where their numbers are."""

import numpy as np

from mm_jax.reports import plots
from tests.reports.range_tests import make_range_test, refused_test


def test_the_choices_of_a_sweep_with_the_best_and_those_that_were_dropped():
    rows = [
        ({"rate": 0.1, "init": "lecture"}, 2.1),
        ({"rate": 1.0, "init": "scaled"}, 2.0),
        ({"rate": 0.01, "init": "scaled"}, float("inf")),
    ]
    scales = {"rate": "log", "init": "names"}
    figure = plots.choices(rows, scales, [False, True, False])
    rate, init = figure.axes
    assert (rate.get_xscale(), init.get_xscale()) == ("log", "linear")
    assert [tick.get_text() for tick in init.get_xticklabels()] == ["lecture", "scaled"]
    whole, dropped, best = (each.get_offsets().tolist() for each in rate.collections)
    assert (whole, dropped, best) == ([[0.1, 2.1]], [[1.0, 2.0]], [[0.1, 2.1]])
    assert "1 of them diverged" in figure.get_suptitle()


def test_values_of_a_list_stand_evenly_apart_in_their_order():
    rows = [({"decay": value}, 2.0 + i) for i, value in enumerate((1e-4, 0.0, 1e-2))]
    axes = plots.choices(rows, {"decay": "names"}, [False] * 3).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.0001", "0.01"]
    assert axes.collections[0].get_offsets()[:, 0].tolist() == [1, 0, 2]


def test_the_figure_has_a_log_axis_each_seed_the_median_the_band_and_named_regions():
    test = make_range_test(explode=0.6)
    figure = plots.lr_range(test)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    rate, (low, high) = test.suggestion.lr, test.suggestion.interval
    assert labels == [
        "each of 4 seeds",
        "middle half of the seeds",
        "median of the seeds",
        f"suggested: {rate:g} (90%: {low:g} to {high:g})",
    ]
    texts = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert set(texts) == {"too low", "too high", "explodes"}
    assert texts["too low"] < rate < texts["too high"] < 0.6 < texts["explodes"]
    lines = axes.get_lines()
    assert len(lines) == 4 + 2
    for line, losses in zip(lines[:4], test.losses, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), losses)
        assert line.get_alpha() <= 0.5
    assert list(lines[-1].get_xdata()) == [rate, rate]
    assert f"{rate:g}" in axes.get_title()
    mild = plots.lr_range(make_range_test()).axes[0]
    assert {text.get_text() for text in mild.texts} == {"too low", "too high"}


def test_the_figure_of_one_seed_and_of_a_refusal(tmp_path):
    alone = plots.lr_range(make_range_test(num_seeds=1))
    labels = [text.get_text() for text in alone.legends[0].get_texts()]
    assert labels == ["the one seed", f"suggested: {make_range_test(num_seeds=1).suggestion.lr:g}"]
    refused = refused_test(np.nan)
    assert "no suggestion" in plots.lr_range(refused).axes[0].get_title()
    plots.save(plots.lr_range(refused), tmp_path / "refused.png")
