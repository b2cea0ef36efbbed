"""The figure of a ladder: marks where they belong, and names that do not cover one another."""

import itertools

import pytest
from matplotlib.text import Text

from mm_jax.reports.plots.ladder import Mark, ladder

CROWDED = [Mark(f"model-{i}", "net", 50 + i, 1.95 + 0.0005 * i, 0.002) for i in range(9)]
FAR = [Mark("counts", "counted", 0.5, 2.4, None), Mark("mixture", "several models", 90, 1.9, None)]


@pytest.fixture(scope="module")
def figure():
    return ladder([*CROWDED, *FAR], "seconds of training", "dev")


def test_each_model_is_named_once_beside_its_mark(figure):
    (axes,) = figure.axes
    marks = {mark.name: mark for mark in (*CROWDED, *FAR)}
    assert {text.get_text() for text in axes.texts} == marks.keys()
    for text in axes.texts:
        mark = marks[text.get_text()]
        assert text.xy == (mark.cost, mark.loss)
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "loss on dev, nats per symbol"


def test_no_name_covers_another(figure):
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without lines to marks
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))


def test_kinds_are_named_below_it(figure):
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["counted", "net", "several models"]
