"""Figures: what is drawn is what was given."""

import itertools
import re
from xml.etree import ElementTree

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine, neighbours_of
from mm_jax.reports.plots import style, symbols
from mm_jax.reports.plots.curves import smoothed, stacked
from mm_jax.runs.metrics import LossCurve
from mm_jax.training.diagnostics import Diagnostics, histogram
from tests.helpers import V

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
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
    assert labels == list(vocab.symbols[-symbols.MOST :])
    assert "the most frequent 32 of 100 symbols" in figure.axes[0].get_title()
    np.testing.assert_array_equal(
        figure.axes[0].collections[0].get_array(), counts[-symbols.MOST :, -symbols.MOST :]
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


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    figure = plots.one_hot(np.eye(3, dtype=np.float32), [".", "a", "b"], ABC)
    with pytest.raises(InputError, match="cannot write"):
        plots.save(figure, tmp_path / "nowhere" / "a.png")


def curve(losses, dev=(), rates=None, looks=(), seed=None):
    steps = 10.0 * (np.arange(len(losses)) + 1)
    rates = np.full(len(losses), 0.1) if rates is None else np.asarray(rates, float)
    dev_steps = steps[-len(dev) :] if len(dev) else np.zeros(0)
    end = int(steps[-1])
    return LossCurve(
        seed, steps, np.array(losses), rates, dev_steps, np.array(dev, float), list(looks), end
    )


FLOORS = [("uniform", 3.2958), ("bigram", 2.45), ("order 6, Kneser-Ney", 1.975)]


def test_the_loss_of_a_run_raw_smoothed_on_dev_with_its_rate_and_floors():
    losses = np.linspace(3.0, 2.0, 200)
    axes, below = plots.training([curve(losses, [2.2, 2.1])], FLOORS).axes
    raw, smooth, dev, *floors = axes.lines
    np.testing.assert_allclose(raw.get_ydata(), np.log10(losses))
    np.testing.assert_allclose(smooth.get_ydata(), np.log10(losses), atol=2e-3)
    np.testing.assert_allclose(dev.get_ydata(), np.log10([2.2, 2.1]))
    assert [line.get_ydata()[0] for line in floors] == [np.log10(loss) for _, loss in FLOORS]
    assert [text.get_text() for text in axes.texts] == [
        *("uniform, 3.296", "bigram, 2.450", "order 6, Kneser-Ney, 1.975")
    ]
    np.testing.assert_allclose(below.lines[0].get_ydata(), 0.1)
    assert (axes.get_ylabel(), below.get_ylabel()) == ("log10 of the loss", "learning rate")
    assert below.get_xlabel() == "step"
    assert axes.child_axes[0].get_ylabel() == "loss, nats a symbol"
    dashes = {line.get_linestyle() for line in (raw, smooth, dev)}
    widths = {line.get_linewidth() for line in (raw, smooth)}
    assert (len(dashes), len(widths)) == (2, 2)  # told apart without colours


def test_a_beginning_far_above_all_else_is_left_out_and_said():
    losses = [25.0] + 199 * [2.2]
    axes = plots.training([curve(losses)], FLOORS).axes[0]
    assert axes.get_ylim()[1] < np.log10(5)
    assert axes.texts[0].get_text() == "from 25 nats at the beginning"
    long = plots.training([curve(100 * [25.0] + 100 * [2.2])], FLOORS).axes[0]
    assert long.get_ylim()[1] > np.log10(25)  # it is no short beginning


def test_names_of_floors_and_ticks_of_nats_do_not_lie_upon_each_other():
    figure = plots.training([curve(np.linspace(3000.0, 500.0, 50))], FLOORS)
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
    assert len(plots.training([curve([3.0, 2.0], rates=[])]).axes) == 1
    axes = plots.training([curve([3.0, 2.0], [2.1], seed=i) for i in range(3)]).axes[0]
    assert len(axes.lines) == 9
    names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert names == [
        "train, mean of 10 steps",
        "train, smoothed, each of 3 seeds",
        "dev, exact",
    ]
    still = plots.training([curve([2.0, 2.0], rates=[0.0, 0.1])])  # a warm-up from zero
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


LOOK = {"step": 10, "saturated": {"h": 0.25}, "update_to_data": {"C": 1e-3, "b1": float("inf")}}


def test_the_ratio_of_update_to_data_over_time():
    later = {"step": 20, "saturated": {"h": 0.5}, "update_to_data": {"C": 1e-2, "b1": 0.1}}
    axes, below = plots.ratios([LOOK, later]).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [-3, -2])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [np.nan, -1])  # infinite is not drawn
    np.testing.assert_allclose(below.lines[0].get_ydata(), [25, 50])
    bare = {"step": 10, "saturated": {}, "update_to_data": {"W": 1e-3}}
    assert len(plots.ratios([bare, bare]).axes) == 1


def look(values, grads):
    edges = jnp.float32(-1), jnp.float32(1)
    std = float(np.std(grads))
    return Diagnostics(
        loss_nats=jnp.float32(2.0),
        activations={"h": histogram(jnp.asarray(values, jnp.float32), *edges)},
        saturated={"h": jnp.mean(jnp.abs(jnp.asarray(values)) > 0.97)},
        stuck={"h": jnp.float32(0.125)},
        gradients={"W": histogram(jnp.asarray(grads, jnp.float32), *(4 * std * e for e in edges))},
        gradient_std={"W": jnp.float32(std)},
        update_to_data={"W": jnp.float32(1e-3)},
    )


def test_activations_and_gradients_as_histograms():
    source = np.random.default_rng(0)
    before = look(np.r_[np.full(50, 0.99), np.zeros(50)], source.standard_normal(1000))
    after = look(np.r_[np.full(10, 0.99), np.zeros(90)], 0.1 * source.standard_normal(1000))
    axes = plots.activations(before, after).axes[0]
    shares = [patch.get_data().values for patch in axes.patches]
    assert [each.sum() for each in shares] == pytest.approx([100, 100])
    assert [each[-1] for each in shares] == pytest.approx([50, 10])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "before training: 50% saturated, 12.5% of the units always"
    figure = plots.gradients(before, after)
    assert figure.axes[0].get_yscale() == "log"
    assert np.nansum(figure.axes[0].lines[0].get_ydata()) == pytest.approx(100)
    few = look([0.0], source.standard_normal(20))
    assert len(plots.gradients(few, few).axes[0].lines) == 0  # twenty numbers say nothing


def test_the_neighbours_of_each_symbol_are_named_with_their_distance():
    table = np.array([[0.0, 0], [1, 0], [3, 0]])
    figure = plots.neighbours(*neighbours_of(table), ABC)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["a  1.00", "b  3.00", ".  1.00", "b  2.00", "a  2.00", ".  3.00"]


def test_lines_have_their_symbols_where_they_were_seen_and_what_is_nearest():
    lines = [
        AnnotatedLine("ab", [("a", 0.5), ("b", 9.0), (".", 1.0)], [], "abc", 1),
        AnnotatedLine("ba", [("b", 0.1), ("a", 0.1), (".", 0.1)], ["train", "dev"], "ba", 0),
        AnnotatedLine("b", [("b", 2.0), (".", 0.2)], [], None, None),
    ]
    axes = plots.samples(lines).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert said == [
        *("a", "b", ".", "new; nearest: abc, 1 off"),
        *("b", "a", ".", "in train, dev"),
        *("b", ".", ""),
    ]
    values = axes.collections[0].get_array()
    np.testing.assert_allclose(values[0], [0.5, 9.0, 1.0])
    assert values.mask[2].tolist() == [False, False, True]


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


def test_a_name_of_a_figure_is_no_way_into_a_page():
    svg = plots.to_page(plots.training([curve([3.0, 2.0])]), 'x"><b a="\\1', "a loss")
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert not [each for each in tree.iter() if each.tag.endswith("}b")]


def test_long_names_of_symbols_and_lines_are_written_small_or_shortened():
    odd = Vocab((".", "a", "\u202e"))
    figure = plots.embedding(np.eye(3), odd)
    sizes = {text.get_text(): text.get_fontsize() for text in figure.axes[0].texts}
    assert sizes["U+202E"] < sizes["a"] / 2
    lines = [AnnotatedLine("a", [("a", 1.0), (".", 1.0)], [], 5000 * "a", 4999)]
    said = plots.samples(lines).axes[0].texts[-1].get_text()
    assert len(said) < 60
    assert "…, 4999 off" in said


def test_a_figure_in_a_page_keeps_its_text_and_follows_the_theme():
    figure = plots.activations(look([0.5], np.ones(200)), look([0.1], np.ones(200)))
    svg = plots.to_page(figure, "one", 'of "h" & <b>')
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == 'of "h" & <b>'
    words = " ".join("".join(text.itertext()) for text in tree.iter() if "text" in text.tag)
    assert "activation h, of all units and examples" in words
    assert "beyond 0.97" not in words  # a title is the page's to say
    assert "−0.75" in words
    for variable, color in style.THEMED.items():
        assert color not in svg, variable
    assert "var(--ink)" in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) > 0
    assert all(each.startswith("one-") for each in ids)
    used = re.findall(r'(?:url\(#|href="#)([^)"]*)', svg)
    assert {*used} == {*ids}


def test_a_figure_of_several_panels_has_no_title_in_a_page():
    figure = plots.neighbours(*neighbours_of(np.eye(3)), ABC)
    assert "The nearest symbols" in figure.get_suptitle()
    assert "The nearest symbols" not in plots.to_page(figure, "near", "of each symbol")


def test_text_from_a_file_is_no_formula_and_steers_nothing():
    odd = Vocab((".", "$", "\u202e", " "))
    table = np.eye(4)
    figure = plots.embedding(table, odd)
    svg = plots.to_page(figure, "odd", "odd")
    assert {"$", "U+202E", "␣"} <= set(re.findall(r">([^<]+)</text>", svg))
    lines = [
        AnnotatedLine("$x$", [("$", 1.0), ("x", 1.0), ("$", 1.0), (".", 1.0)], [], "$x$ $y$", 4)
    ]
    svg = plots.to_page(plots.samples(lines), "lines", "lines")
    assert "new; nearest: $x$␣$y$, 4 off" in svg


def test_lines_of_figures_are_told_apart_by_dashes():
    assert len({str(dashes) for _, dashes in style.LINES}) == len(style.LINES)


def test_the_colours_are_told_apart_in_grey():
    def lightness(color):
        return np.dot([int(color[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114])

    for one, other in (
        (style.BLUE, style.AMBER),
        (style.BLUE, style.ORANGE),
        (style.INK, style.BLUE),
    ):
        assert abs(lightness(one) - lightness(other)) > 20


def test_nothing_that_matplotlib_was_told_elsewhere_changes_a_figure():
    plain = style.rendered(plots.training([curve([3.0, 2.0])]), ".svg")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "text.usetex": False}):
        assert style.rendered(plots.training([curve([3.0, 2.0])]), ".svg") == plain
