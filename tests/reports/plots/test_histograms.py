"""Figures of diagnostics: the shares that are drawn are those of the histograms."""

import numpy as np
import pytest

from mm_jax.reports import plots
from tests.reports.plots.inputs import make_diagnostics


def test_activations_and_gradients_as_histograms():
    source = np.random.default_rng(0)
    before = make_diagnostics(np.r_[np.full(50, 0.99), np.zeros(50)], source.standard_normal(1000))
    after = make_diagnostics(
        np.r_[np.full(10, 0.99), np.zeros(90)], 0.1 * source.standard_normal(1000)
    )
    axes = plots.activations(before, after).axes[0]
    shares = [patch.get_data().values for patch in axes.patches]
    assert [each.sum() for each in shares] == pytest.approx([100, 100])
    assert [each[-1] for each in shares] == pytest.approx([50, 10])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "before training: 50% saturated, 12.5% of the units always"
    figure = plots.gradients(before, after)
    assert figure.axes[0].get_yscale() == "log"
    assert np.nansum(figure.axes[0].lines[0].get_ydata()) == pytest.approx(100)
    few = make_diagnostics([0.0], source.standard_normal(20))
    assert len(plots.gradients(few, few).axes[0].lines) == 0  # twenty numbers say nothing


def of_layers(count):
    one = make_diagnostics([0.5] * 100, [0.0] * 10)
    names = sorted(f"h{i + 1}" for i in range(count))  # as jit sorts them
    stuck = dict.fromkeys(names, one.stuck["h"])
    activations = dict.fromkeys(names, one.activations["h"])
    return one.replace(activations=activations, saturated=stuck, stuck=stuck)


def test_of_many_layers_some_are_drawn_evenly_spread():
    assert len(plots.activations(of_layers(4), of_layers(4)).axes) == 4
    many = plots.activations(of_layers(11), of_layers(11))
    shown = [axes.get_xlabel().split(",")[0] for axes in many.axes]
    assert shown == [f"activation h{i}" for i in (1, 3, 5, 7, 9, 11)]
    assert many.get_figheight() < 12


def test_what_is_no_tanh_is_not_called_one():
    title = plots.activations(of_layers(1), of_layers(1), "outputs").axes[0].get_title()
    assert title == "outputs; saturated beyond ±0.97"


def test_gradients_of_one_kind_are_one_line():
    source = np.random.default_rng(0)
    parts = [make_diagnostics([0.0], std * source.standard_normal(80)) for std in (1, 10)]
    both = parts[0].replace(
        gradients={"W1": parts[0].gradients["W"], "W2": parts[1].gradients["W"]},
        gradient_std={"W1": parts[0].gradient_std["W"], "W2": parts[1].gradient_std["W"]},
    )
    assert len(plots.gradients(both, both).axes[0].lines) == 0  # eighty numbers say nothing
    (line,) = plots.gradients(both, both, {"W1–2": ["W1", "W2"]}).axes[0].lines
    counts = sum(np.asarray(part.gradients["W"].counts) for part in parts)
    np.testing.assert_allclose(np.nan_to_num(line.get_ydata()), counts / 1.6)
    low, high = (f"{float(part.gradient_std['W']):.1e}" for part in parts)
    assert line.get_label() == f"W1–2: std {low} to {high}, at first {low} to {high}"
