"""Figures of attention and gates: which panels are drawn, and what of them."""

import itertools
import re

import numpy as np
import pytest

from mm_jax.reports import plots
from mm_jax.reports.plots.inside import MAX_HEADS, MAX_LAYERS, MAX_UNITS, most_open_first

SOURCE = np.random.default_rng(0)


def titles(figure):
    return [axes.texts[0].get_text() for axes in figure.axes if axes.texts]


def test_of_many_layers_and_heads_the_first_are_drawn_and_the_title_says_so():
    line = ["."] + ["a"] * 3
    maps = {f"layer{i + 1}": SOURCE.random((MAX_HEADS + 2, 4, 4)) for i in range(MAX_LAYERS + 3)}
    figure = plots.attention(maps, line)
    drawn = titles(figure)
    assert len(drawn) == MAX_LAYERS * MAX_HEADS
    assert (drawn[0], drawn[-1]) == ("layer1, head 1", "layer6, head 8")
    assert "(the first 6 of 9 layers and the first 8 of 10 heads)" in figure.get_suptitle()
    few = plots.attention({"layer1": SOURCE.random((3, 4, 4))}, line)
    assert len(titles(few)) == 3
    assert "first" not in few.get_suptitle()


def test_layers_may_have_different_numbers_of_heads():
    maps = {"layer1": SOURCE.random((1, 2, 2)), "layer2": SOURCE.random((2, 2, 2))}
    assert titles(plots.attention(maps, [".", "a"])) == [
        *("layer1, head 1", "layer2, head 1", "layer2, head 2")
    ]


def test_all_panels_have_one_scale_of_colours():
    figures = (
        plots.attention({"layer1": 0.1 * SOURCE.random((2, 3, 3))}, [".", "a", "b"]),
        plots.gates({"layer1 reset": 0.1 * SOURCE.random((3, 5))}, [".", "a", "b"]),
    )
    for figure in figures:
        *panels, scale = figure.axes
        norms = [axes.collections[0].norm for axes in panels]
        assert {(norm.vmin, norm.vmax) for norm in norms} == {(0, 1)}
        assert scale.get_ylim() == (0, 1)


def test_of_many_layers_and_units_of_gates_some_are_drawn():
    opened = {
        f"layer{i + 1} {gate}": SOURCE.random((3, MAX_UNITS + 9))
        for i in range(MAX_LAYERS + 1)
        for gate in ("reset", "update")
    }
    figure = plots.gates(opened, [".", "a", "b"])
    assert len(titles(figure)) == 2 * MAX_LAYERS
    assert titles(figure)[-1].startswith("layer6 update, mean 0.")
    assert "(the first 6 of 7 layers and 64 of 73 units)" in figure.get_suptitle()
    assert figure.axes[0].collections[0].get_array().shape == (MAX_UNITS, 3)


def test_units_that_are_drawn_reach_from_the_most_open_to_the_least():
    each = SOURCE.random((4, 100))
    means = most_open_first(each).mean(0)
    assert means.shape == (MAX_UNITS,)
    assert (np.diff(means) <= 0).all()
    assert (means[0], means[-1]) == (each.mean(0).max(), each.mean(0).min())


def test_symbols_can_be_read_and_words_stand_upright():
    maps = {"layer1": SOURCE.random((1, 4, 4))}
    axes = plots.attention(maps, [".", " ", "$", "\u202e"]).axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == [".", "␣", r"\$", "U+202E"]
    words = plots.attention(maps, ["↵", "the", "unbelievable", "end"]).axes[0]
    assert [tick.get_text() for tick in words.get_yticklabels()][2] == "unbelieva…"
    assert {tick.get_rotation() for tick in words.get_xticklabels()} == {90}
    letters = plots.attention(maps, [".", "a", "b", "c"]).axes[0]
    assert {tick.get_rotation() for tick in letters.get_xticklabels()} == {0}


@pytest.mark.parametrize("length", [2, 9, 25])
def test_names_of_symbols_do_not_lie_upon_each_other(length):
    maps = {f"layer{i}": SOURCE.random((8, length, length)) for i in (1, 2)}
    figure = plots.attention(maps, ["m"] * length)
    figure.draw_without_rendering()
    for axes in figure.axes[:-1]:
        boxes = [tick.get_window_extent() for tick in axes.get_xticklabels()]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_a_page_has_each_cell_as_a_shape_and_keeps_the_titles_of_panels():
    maps = {"layer1": SOURCE.random((2, 3, 3))}
    svg = plots.to_page(plots.attention(maps, [".", "a", "b"]), "attention", "of a line")
    assert "<image" not in svg  # its security policy loads none
    cells = re.findall(r'<path d="M\S+ \S+H\S+V\S+H\S+z" style="fill: (#\w+)"/>', svg)
    assert len(cells) == 2 * 9 + 64  # and the scale
    assert svg.count('<g shape-rendering="crispEdges">') == 3
    assert "layer1, head 2" in svg
    assert ">Attention<" not in svg  # the title of all is the page's to say
