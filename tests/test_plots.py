"""Figures: what is drawn is what was given."""

import numpy as np
import pytest
from helpers import V

from mm_jax import plots
from mm_jax.choices import InputError
from mm_jax.vocab import Vocab

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
ABC = Vocab((".", "a", "b"))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_table_of_bigrams_has_each_cell_with_its_count():
    counts = np.array([[0, 5, 2], [6, 0, 1], [1, 2, 0]])
    figure = plots.bigram_table(counts, ABC)
    assert texts(figure)[:4] == ["..\n0", ".a\n5", ".b\n2", "a.\n6"]
    assert len(texts(figure)) == 9
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), counts)
    assert "17 bigrams" in figure.axes[0].get_title()
    dark, light, none = (figure.axes[0].texts[i].get_color() for i in (3, 2, 0))
    assert (dark, light, none) == ("white", "black", plots.GREY)


def test_one_hot_rows_are_drawn_from_the_top():
    figure = plots.one_hot(np.eye(3, dtype=np.float32)[[0, 1]], [".", "a"], ABC)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_array(), [[1, 0, 0], [0, 1, 0]])
    assert axes.yaxis_inverted()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [".", "a"]


def test_losses_are_drawn_as_log10_with_the_means_of_blocks():
    nats = np.concatenate([np.full(50, 10.0), np.full(50, 1.0)])
    raw, means = plots.losses(nats, "a run", block=10).axes[0].lines
    np.testing.assert_allclose(raw.get_ydata(), np.log10(nats))
    np.testing.assert_allclose(means.get_ydata(), [1] * 5 + [0] * 5)
    np.testing.assert_allclose(means.get_xdata(), np.arange(10) * 10 + 5)
    for short in (1, 7, 25):  # a block is at most a tenth
        plots.losses(np.ones(short), "short")


def test_the_embedding_has_each_symbol_at_its_place():
    table = np.random.default_rng(0).uniform(-5, 5, (V, 2)).astype(np.float32)
    table[:6] = [[0, 0], [9, 9], [-9, 9], [9, -9], [-9, -9], [0, 9]]
    figure = plots.embedding(table, LETTERS)
    labels = figure.axes[0].texts
    assert [label.get_text() for label in labels] == list(LETTERS.symbols)
    np.testing.assert_allclose([label.xy for label in labels[:6]], table[:6], atol=1e-6)
    groups = {each.get_label(): each.get_offsets() for each in figure.axes[0].collections}
    assert {name: len(places) for name, places in groups.items()} == {
        "vowels": 5,
        "the boundary": 1,
        "other symbols": 21,
    }
    np.testing.assert_allclose(groups["the boundary"], table[:1], atol=1e-6)


def test_symbols_on_one_place_are_spread_and_others_stay():
    places = np.zeros((6, 2))
    places[5] = 100
    moved = plots.spread(places, 1.0)
    distance = np.linalg.norm(moved[:, None] - moved, axis=-1) + 9 * np.eye(6)
    assert distance.min() > 0.9
    np.testing.assert_allclose(moved[5], 100, atol=1e-6)
    assert np.abs(moved[:5]).max() < 3
    np.testing.assert_allclose(plots.spread(moved, 0.5), moved, atol=1e-6)  # apart already


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    figure = plots.one_hot(np.eye(3, dtype=np.float32), [".", "a", "b"], ABC)
    with pytest.raises(InputError, match="cannot write"):
        plots.save(figure, tmp_path / "nowhere" / "a.png")
