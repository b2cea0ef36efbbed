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
