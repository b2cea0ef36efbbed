"""Figures of losses: what is drawn is what was given."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.reports import plots
from mm_jax.reports.plots.curves import smoothed, stacked
from tests.reports.plots.inputs import make_curve

BASELINES = [("uniform", 3.2958), ("bigram", 2.45), ("order 6, Kneser-Ney", 1.975)]
DIAGNOSTICS = {
    "step": 10,
    "saturated": {"h": 0.25},
    "update_to_data": {"C": 1e-3, "b1": float("inf")},
}


def test_losses_are_drawn_as_log10_with_the_means_of_blocks():
    nats = np.concatenate([np.full(50, 10.0), np.full(50, 1.0)])
    raw, means = plots.losses(nats, "a run", block=10).axes[0].lines
    np.testing.assert_allclose(raw.get_ydata(), np.log10(nats))
    np.testing.assert_allclose(means.get_ydata(), [1] * 5 + [0] * 5)
    np.testing.assert_allclose(means.get_xdata(), np.arange(10) * 10 + 5)
    for short in (1, 7, 25):  # a block is at most a tenth
        plots.losses(np.ones(short), "short")


def test_the_loss_of_a_run_raw_smoothed_on_dev_with_its_rate_and_baselines():
    losses = np.linspace(3.0, 2.0, 200)
    axes, below = plots.training([make_curve(losses, [2.2, 2.1])], BASELINES).axes
    raw, smooth, dev, *baselines = axes.lines
    np.testing.assert_allclose(raw.get_ydata(), np.log10(losses))
    np.testing.assert_allclose(smooth.get_ydata(), np.log10(losses), atol=2e-3)
    np.testing.assert_allclose(dev.get_ydata(), np.log10([2.2, 2.1]))
    assert [line.get_ydata()[0] for line in baselines] == [np.log10(loss) for _, loss in BASELINES]
    assert [text.get_text() for text in axes.texts] == [
        *("uniform, 3.296", "bigram, 2.450", "order 6, Kneser-Ney, 1.975")
    ]
    np.testing.assert_allclose(below.lines[0].get_ydata(), 0.1)
    assert (axes.get_ylabel(), below.get_ylabel()) == ("log10 of the loss", "learning rate")
    assert below.get_xlabel() == "step"
    assert axes.child_axes[0].get_ylabel() == "loss, nats per symbol"
    dashes = {line.get_linestyle() for line in (raw, smooth, dev)}
    widths = {line.get_linewidth() for line in (raw, smooth)}
    assert (len(dashes), len(widths)) == (2, 2)  # told apart without colours


def test_a_beginning_far_above_all_else_is_left_out_and_said():
    losses = [25.0] + 199 * [2.2]
    axes = plots.training([make_curve(losses)], BASELINES).axes[0]
    assert axes.get_ylim()[1] < np.log10(5)
    assert axes.texts[0].get_text() == "from 25 nats at the start"
    long = plots.training([make_curve(100 * [25.0] + 100 * [2.2])], BASELINES).axes[0]
    assert long.get_ylim()[1] > np.log10(25)  # it is no short beginning


def test_names_of_baselines_and_ticks_of_nats_do_not_lie_upon_each_other():
    figure = plots.training([make_curve(np.linspace(3000.0, 500.0, 50))], BASELINES)
    figure.canvas.draw()
    axes = figure.axes[0]
    nats = axes.child_axes[0].get_yticklabels()
    for labels in (axes.texts, [label for label in nats if label.get_text()]):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) >= 3
        pairs = itertools.combinations(boxes, 2)
        assert not any(one.y0 < other.y1 and other.y0 < one.y1 for one, other in pairs)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6))
def test_what_is_stacked_is_apart_in_its_order_and_above_the_axis(bottoms):
    bottoms = sorted(bottoms, reverse=True)
    places = stacked(bottoms, 1.0, 0.0)
    assert min(places) >= 0
    assert all(a - b >= 1 - 1e-9 for a, b in itertools.pairwise(places))
    if all(a - b >= 1 for a, b in itertools.pairwise(bottoms)):
        assert places == bottoms


def test_a_run_without_rates_or_of_several_seeds():
    assert len(plots.training([make_curve([3.0, 2.0], rates=[])]).axes) == 1
    axes = plots.training([make_curve([3.0, 2.0], [2.1], seed=i) for i in range(3)]).axes[0]
    assert len(axes.lines) == 9
    names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert names == [
        "train, mean of 10 steps",
        "train, smoothed, each of 3 seeds",
        "dev, exact",
    ]
    still = plots.training([make_curve([2.0, 2.0], rates=[0.0, 0.1])])  # a warm-up from zero
    assert still.axes[1].get_yscale() == "linear"


@given(st.lists(st.floats(0.5, 30), min_size=1, max_size=300))
def test_smoothing_keeps_constants_the_range_and_the_length(losses):
    smooth = smoothed(np.array(losses))
    assert len(smooth) == len(losses)
    assert min(losses) - 1e-9 <= smooth.min()
    assert smooth.max() <= max(losses) + 1e-9
    half = int(len(losses) * 0.02 / 2)
    middle = len(losses) // 2
    near = losses[max(0, middle - half) : middle + half + 1]
    assert smooth[middle] == pytest.approx(np.mean(near))


def test_the_ratio_of_update_to_data_over_time():
    later = {"step": 20, "saturated": {"h": 0.5}, "update_to_data": {"C": 1e-2, "b1": 0.1}}
    axes, below = plots.ratios([DIAGNOSTICS, later]).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [-3, -2])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [np.nan, -1])  # infinite is not drawn
    np.testing.assert_allclose(below.lines[0].get_ydata(), [25, 50])
    bare = {"step": 10, "saturated": {}, "update_to_data": {"W": 1e-3}}
    assert len(plots.ratios([bare, bare]).axes) == 1


def test_arrays_of_one_kind_are_one_line_in_a_band():
    ratios = [
        {"W1": 1e-1, "W2": 1e-2, "W3": 1e-4, "b": 1.0},
        {"W1": 1e-3, "W2": float("inf"), "W3": 1e-3, "b": 0.1},
    ]
    lines = [
        {"step": i + 1, "saturated": {}, "update_to_data": each} for i, each in enumerate(ratios)
    ]
    axes = plots.ratios(lines, {"W1–3": ["W1", "W2", "W3"], "b": ["b"]}).axes[0]
    kind, alone = axes.lines[:2]
    np.testing.assert_allclose(kind.get_ydata(), [-2, -3])
    np.testing.assert_allclose(alone.get_ydata(), [0, -1])
    (band,) = axes.collections
    places = band.get_paths()[0].vertices
    assert {round(y, 6) for x, y in places if x == 1} == {-1, -4}
    assert {round(y, 6) for x, y in places if x == 2} == {-3}
    never = [{**line, "update_to_data": dict.fromkeys("ab", float("nan"))} for line in lines]
    assert np.isnan(plots.ratios(never, {"ab": ["a", "b"]}).axes[0].lines[0].get_ydata()).all()


def test_hidden_layers_are_named_and_many_of_them_are_one_line():
    def lines(count):
        saturated = {f"h{i + 1}": i / 10 for i in range(count)}
        return [{"step": i, "saturated": saturated, "update_to_data": {"W": 1.0}} for i in (1, 2)]

    few = plots.ratios(lines(2))
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["W", "h1", "h2"]
    many = plots.ratios(lines(9))
    assert [text.get_text() for text in many.legends[0].get_texts()] == ["W"]
    (line,) = many.axes[1].lines
    np.testing.assert_allclose(line.get_ydata(), 40)


@pytest.mark.parametrize("name", ["W{}", "layer{}.norm1.scale"])
def test_the_legend_of_all_arrays_that_are_drawn_alone_fits_and_tells_them_apart(name):
    ratios = {name.format(i): 10.0**-i for i in range(12)}
    line = {"step": 1, "saturated": {"h": 0.5}, "update_to_data": ratios}
    figure = plots.ratios([line, {**line, "step": 2}])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    strokes = {
        (each.get_color(), each.get_linestyle(), each.get_marker())
        for each in figure.axes[0].lines[:12]
    }
    assert len(strokes) == 12
