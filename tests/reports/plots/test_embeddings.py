"""Figures of an embedding: every symbol is at its place, or near it."""

import itertools

import numpy as np
import pytest

from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.embeddings import nearest_rows
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


WORDS = (
    "the of and to in a that for be is which by it on this we with our as have not will are has "
    "or from I been was all an their its at but they States United Government no who year "
    "should would may upon must such these so more Congress other than people any were can now "
    "country war great under nation there those made American only what if new world when us "
    "them time every public before every shall law first work some into peace national two most "
    "last power between America part without necessary during years over government nations "
    "important countries general interest against purpose Department legislation consideration "
    "administration international responsibility "
)


def boxes_of(figure):
    """The box of each label of a figure as it is written, in points of type."""
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    return np.array([text.get_window_extent().get_points() for text in texts]) * 72 / figure.dpi


def overlapping(boxes):
    """The pairs of boxes that overlap by more than the rounding of letters to pixels."""
    return [
        (i, k)
        for (i, one), (k, other) in itertools.combinations(enumerate(boxes), 2)
        if (np.minimum(one[1], other[1]) - np.maximum(one[0], other[0]) > 0.5).all()
    ]


@pytest.fixture(scope="module")
def crowd():
    """Two hundred words in five clusters, the most frequent ones of a larger alphabet."""
    distinct = sorted({*WORDS.split()})
    words = (distinct + [word.capitalize() + "s" for word in distinct])[:200]
    source = np.random.default_rng(0)
    vocab = Vocab(("↵", *words, *(f"rare{i}" for i in range(99))), "word")
    table = source.standard_normal((len(vocab), 3)) * 0.3
    table += 3 * source.standard_normal((5, 3))[np.arange(len(vocab)) % 5]
    frequency = np.where(np.arange(len(vocab)) > 200, 1, 9)
    frequency[0] = 0
    return plots.embedding(table, vocab, frequency), vocab


def test_no_two_of_two_hundred_words_overlap_and_none_is_far_from_its_point(crowd):
    figure, vocab = crowd
    boxes = boxes_of(figure)
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == list(vocab.symbols[1:201])
    assert overlapping(boxes) == []
    (marks,) = figure.axes[0].collections
    places = figure.axes[0].transData.transform(marks.get_offsets()) * 72 / figure.dpi
    moved = np.linalg.norm(np.clip(places, boxes[:, 0], boxes[:, 1]) - places, axis=1)
    assert np.median(moved) < 20
    assert moved.max() < 120  # points of type, of a figure of 790
    size = figure.get_size_inches() * 72
    assert ((boxes >= 0) & (boxes <= size)).all()


def test_words_overlap_no_more_when_a_page_has_removed_the_title(crowd):
    figure, _ = crowd
    svg = plots.to_page(figure, "embedding", "words")
    assert "<text" in svg
    assert overlapping(boxes_of(figure)) == []


def test_a_line_joins_a_word_with_its_point_where_it_is_far():
    vocab = Vocab(("↵", *(f"word{i}" for i in range(8))), "word")
    table = np.zeros((9, 2))
    table[8] = [1, 1]
    axes = plots.embedding(table, vocab).axes[0]
    ends = [line.get_xydata()[1] for line in axes.lines]
    assert len(ends) >= 5  # all but those beside the point that eight have in common
    np.testing.assert_allclose(ends, 0, atol=1e-9)


def test_words_in_a_table_are_shortened_and_of_one_size():
    vocab = Vocab(("↵", "a", 30 * "long"), "word")
    for figure, most in (
        (plots.embedding(np.eye(3), vocab), 24),
        (plots.neighbours(nearest_rows(np.eye(3)), vocab), 14),
    ):
        texts = [text for axes in figure.axes for text in axes.texts]
        assert len({text.get_fontsize() for text in texts}) == 1
        assert max(len(text.get_text().split("  ")[0]) for text in texts) == most


def test_the_nearest_rows_each_symbol_are_named_with_their_distance():
    table = np.array([[0.0, 0], [1, 0], [3, 0]])
    figure = plots.neighbours(nearest_rows(table), ABC)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["a  1.00", "b  3.00", ".  1.00", "b  2.00", "a  2.00", ".  3.00"]
