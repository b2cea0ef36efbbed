"""Figures of symbols: every cell has its number, and a colour that says the same."""

import numpy as np

from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine
from mm_jax.reports.plots import style, symbols

ABC = Vocab((".", "a", "b"))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_table_of_bigrams_has_each_cell_with_its_count():
    counts = np.array([[0, 5, 2], [6, 0, 1], [1, 2, 0]])
    figure = plots.bigram_table(counts, ABC)
    assert texts(figure)[:8] == ["..", "0", ".a", "5", ".b", "2", "a.", "6"]
    assert len(texts(figure)) == 18
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), counts)
    assert "17 bigrams" in figure.axes[0].get_title()
    dark, light, none = (figure.axes[0].texts[i].get_color() for i in (6, 4, 0))
    assert (dark, light, none) == (style.WHITE, style.BLACK, style.DIM)
    svg = plots.to_page(figure, "table", "a table")  # a cell is what it is in the dark, too
    assert all(f"fill: {color}" in svg for color in (style.DIM, style.WHITE))


def test_a_difference_says_its_sign_which_grey_does_not():
    difference = np.array([[0.0, 0.02, -0.02], [0.0004, 0, 0], [0, 0, 0]])
    figure = plots.difference_table(difference, ABC)
    assert texts(figure)[:8] == ["..", "0.0", ".a", "+2.0", ".b", "-2.0", "a.", "0.0"]
    norm = figure.axes[0].collections[0].norm
    assert norm(0.0) == 0.5  # the middle of the colours is no difference


def test_of_a_large_alphabet_the_most_frequent_symbols_are_drawn():
    vocab = Vocab((".", *map(chr, range(0x4E00, 0x4E00 + 99))))
    counts = np.arange(100)[None, :] * np.ones((100, 1), int)
    figure = plots.bigram_table(counts, vocab)
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == list(vocab.symbols[-symbols.MAX_SYMBOLS :])
    assert "the most frequent 32 of 100 symbols" in figure.axes[0].get_title()
    np.testing.assert_array_equal(
        figure.axes[0].collections[0].get_array(),
        counts[-symbols.MAX_SYMBOLS :, -symbols.MAX_SYMBOLS :],
    )


def test_probabilities_are_drawn_in_percent():
    probs = np.array([[0.5, 0.25, 0.25], [0.999, 0.001, 0], [0.1, 0.2, 0.7]])
    assert texts(plots.probability_table(probs, ABC))[1::2][:5] == [
        *("50.0", "25.0", "25.0", "99.9", "0.1")
    ]


def test_one_hot_rows_are_drawn_from_the_top():
    figure = plots.one_hot(np.eye(3, dtype=np.float32)[[0, 1]], [".", "a"], ABC)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_array(), [[1, 0, 0], [0, 1, 0]])
    assert axes.yaxis_inverted()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [".", "a"]


def test_lines_have_their_symbols_where_they_were_seen_and_what_is_nearest():
    lines = [
        AnnotatedLine("ab", [("a", 0.5), ("b", 9.0), (".", 1.0)], [], "abc", 1, False),
        AnnotatedLine("ba", [("b", 0.1), ("a", 0.1), (".", 0.1)], ["train", "dev"], "ba", 0, False),
        AnnotatedLine("b", [("b", 2.0), (".", 0.2)], [], None, None, False),
    ]
    axes = plots.samples(lines).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert said == [
        *("a", "b", ".", "new; nearest: abc, 1 edit away"),
        *("b", "a", ".", "in train, dev"),
        *("b", ".", ""),
    ]
    values = axes.collections[0].get_array()
    np.testing.assert_allclose(values[0], [0.5, 9.0, 1.0])
    assert values.mask[2].tolist() == [False, False, True]
