"""The figures of a run: which there are of which model, and that they show its numbers."""

import itertools
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.data.splits import split_lines
from mm_jax.data.vocab import Vocab
from mm_jax.reports.figures import (
    bigram_counts,
    bigram_figures,
    embedding_figure,
    make_figures,
    neighbours_figure,
)
from mm_jax.reports.page_figures import figure_of_page
from tests.helpers import softmax64
from tests.reports.conftest import LINES


@pytest.fixture(scope="module")
def figures(summary):
    return {name: list(make_figures(summary(name))) for name in ("mlp", "bigram")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", "loss updates embedding neighbours activations gradients samples"),
        ("ensemble", "loss updates samples"),
        ("bigram", "loss bigrams probabilities difference gradients samples"),
        ("trigram", "bigrams samples"),
        ("unigram", "bigrams samples"),
        ("kneser-ney", "bigrams samples"),
        ("bigram ensemble", "loss bigrams samples"),
        ("gru ensemble", "loss samples"),
        ("gru", "loss embedding neighbours activations gradients gates samples"),
        ("transformer", "loss embedding neighbours gradients attention samples"),
    ],
)
def test_each_model_has_its_figures(summary, figures, name, expected):
    found = figures.get(name) or list(make_figures(summary(name)))
    assert [figure.name for figure in found] == expected.split()
    for figure in found:
        assert figure.title
        assert figure.description.endswith(".")


@pytest.mark.parametrize("name", ["bow", "wavenet", "rnn"])
def test_what_has_neither_gates_nor_attention_has_no_figure_of_them(summary, name):
    found = make_figures(summary(name)._replace(dataset=None))  # so there are no histograms
    assert [figure.name for figure in found] == ["loss", "embedding", "neighbours", "samples"]


def test_any_model_whose_next_symbol_depends_on_one_alone_has_its_probabilities(summary):
    mlp = summary("mlp")
    size = len(mlp.run.vocab)
    logits = np.random.default_rng(0).standard_normal((size, size))
    model = mlp.run.model._replace(bigram_logits=lambda _: logits)
    made = summary("mlp")._replace(run=mlp.run._replace(model=model))
    (_, drawn, _) = bigram_figures(made)
    np.testing.assert_allclose(
        drawn.figure.axes[0].collections[0].get_array(), 100 * softmax64(logits), rtol=1e-5
    )


def panels_of(figure):
    """The numbers of each panel of a figure, by its title; and the symbols on its axes."""
    axes = [each for each in figure.axes if each.texts]
    numbers = {each.texts[0].get_text(): each.collections[0].get_array() for each in axes}
    return numbers, [
        [[tick.get_text() for tick in axis.get_ticklabels()] for axis in (each.xaxis, each.yaxis)]
        for each in axes
    ]


def test_attention_is_that_of_the_model_on_a_sample(summary):
    made = summary("transformer")
    found = next(f for f in make_figures(made) if f.name == "attention")
    line = made.samples[0].text
    tokens = jnp.array([0, *(made.run.vocab.ids[symbol] for symbol in line)])
    maps = made.run.model.attention(made.run.params, tokens)
    panels, axes = panels_of(found.figure)
    expected = {
        f"{name}, head {head + 1}": np.asarray(maps[name][head])
        for name, head in itertools.product(("layer1", "layer2"), (0, 1))
    }
    assert list(panels) == list(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(panels[name], numbers, atol=1e-6)
    assert axes == 4 * [[[".", *line], [".", *line]]]
    own = [float(np.mean([np.diag(head)[1:] for head in each])) for each in maps.values()]
    assert f"itself: layer1 {own[0]:.2f}, layer2 {own[1]:.2f}." in found.description
    assert f"2 layers of 2 heads on the line {line}," in found.description


def test_gates_are_those_of_the_model_on_a_sample_the_most_open_unit_first(summary):
    made = summary("gru")
    found = next(f for f in make_figures(made) if f.name == "gates")
    line = made.samples[0].text
    tokens = jnp.array([0, *(made.run.vocab.ids[symbol] for symbol in line)])
    opened = {k: np.asarray(v) for k, v in made.run.model.gates(made.run.params, tokens).items()}
    panels, axes = panels_of(found.figure)
    assert [name.split(",")[0] for name in panels] == list(opened)
    for (name, numbers), each in zip(panels.items(), opened.values(), strict=True):
        assert name.endswith(f", mean {each.mean():.2f}")
        np.testing.assert_allclose(numbers, each.T[np.argsort(-each.mean(0))], atol=1e-6)
    assert axes == 4 * [[[".", *line], []]]
    means = ", ".join(f"{name} {each.mean():.2f}" for name, each in opened.items())
    assert f"6 units are, 0 to 1, at each symbol of the line {line}," in found.description
    assert f"Means: {means}." in found.description


def test_without_a_sample_nothing_is_read(summary):
    silent = summary("transformer")._replace(samples=[], dataset=None)
    assert "attention" not in [figure.name for figure in make_figures(silent)]


def test_a_report_has_no_figures_of_what_it_has_as_tables(summary):
    (figure,) = make_figures(summary("unigram"), tables=False)
    assert figure.name == "bigrams"


def test_descriptions_have_the_numbers(summary, figures):
    texts = {figure.name: figure.description for figure in figures["mlp"]}
    assert "over 80 steps, at the end train 2.0000, dev 2.5000" in texts["loss"]
    assert f"uniform {np.log(len(summary('mlp').run.vocab)):.3f}" in texts["loss"]
    assert "C 1.0e-03, W1 1.0e-03, b1 nan" in texts["updates"]
    assert "in 4 dimensions, projected on two that explain" in texts["embedding"]
    assert texts["neighbours"].startswith("For each symbol the nearest ones")
    pairs = [pair for line in split_lines(LINES).train for pair in pairwise(line + ".")]
    counts = {pair: pairs.count(pair) for pair in pairs}
    starts = [(".", line[0]) for line in split_lines(LINES).train]
    counts |= {pair: starts.count(pair) for pair in starts}
    (first, second), most = max(counts.items(), key=lambda item: item[1])
    described = next(f.description for f in figures["bigram"] if f.name == "bigrams")
    assert f"of {sum(counts.values())} bigrams" in described
    assert f"{most} times" in described
    assert list(counts.values()).count(most) > 1 or f"{first}{second} most often" in described


def test_the_figures_of_a_large_embedding_say_which_symbols_they_show():
    vocab = Vocab((".", *(f"w{i}" for i in range(299))), "word")
    table = np.random.default_rng(0).standard_normal((300, 5))
    frequency = np.arange(300)
    drawn = neighbours_figure(table, vocab, frequency)
    assert drawn.description.startswith("For each of the most frequent 64 of 300 symbols")
    assert "each of the most frequent 64" in drawn.figure.get_suptitle()
    ticks = [tick.get_text() for axes in drawn.figure.axes for tick in axes.get_yticklabels()]
    assert ticks == [f"w{i}" for i in range(298, 298 - 64, -1)]
    drawn = embedding_figure(table, vocab, frequency)
    assert drawn.description.startswith(
        "The embedding of the most frequent 200 of 300 symbols in 5"
    )
    assert "most frequent 200 of 300" in drawn.figure.axes[0].get_title()
    words = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert words == [f"w{i}" for i in range(298, 98, -1)]
    assert figure_of_page(drawn).is_large
    first = embedding_figure(table, vocab, None)  # without the data
    assert "the first 200 of 300 symbols" in first.description
    assert [text.get_text() for text in first.figure.axes[0].texts][:3] == [".", "w0", "w1"]


def test_probabilities_and_their_difference_from_counting(summary, figures):
    drawn = {figure.name: figure.figure.axes[0].collections[0].get_array() for figure in
             figures["bigram"] if figure.name in ("probabilities", "difference")}  # fmt: skip
    W = np.asarray(summary("bigram").run.params["W"], np.float64)
    probs = np.exp(W) / np.exp(W).sum(1, keepdims=True)
    np.testing.assert_allclose(drawn["probabilities"], 100 * probs, rtol=1e-5)
    counts = np.array(bigram_counts(summary("bigram")), float)
    totals = counts.sum(1, keepdims=True)
    counted = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / len(counts))
    np.testing.assert_allclose(drawn["difference"], 100 * (probs - counted), atol=1e-4)


def test_counts_are_those_of_the_training_lines_whatever_the_order(summary):
    tables = [bigram_counts(summary(name)) for name in ("counts", "trigram", "bigram")]
    for table in tables[1:]:
        np.testing.assert_array_equal(table, tables[0])
    assert tables[0].sum() == sum(len(line) + 1 for line in split_lines(LINES).train)
