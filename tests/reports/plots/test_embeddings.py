"""Figures of an embedding: every symbol is at its place, or near it."""

import numpy as np

from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import nearest_rows
from tests.helpers import V

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
ABC = Vocab((".", "a", "b"))


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
        "consonants": 21,
        "the boundary": 1,
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


def test_the_nearest_rows_each_symbol_are_named_with_their_distance():
    table = np.array([[0.0, 0], [1, 0], [3, 0]])
    figure = plots.neighbours(*nearest_rows(table), ABC)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["a  1.00", "b  3.00", ".  1.00", "b  2.00", "a  2.00", ".  3.00"]
