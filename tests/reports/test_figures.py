"""The figures of a run: which there are of which model, and that they show its numbers."""

from itertools import pairwise

import numpy as np
import pytest

from mm_jax.data.splits import split_lines
from mm_jax.reports.figures import bigram_counts, make_figures
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
    ],
)
def test_each_model_has_its_figures(summary, figures, name, expected):
    found = figures.get(name) or list(make_figures(summary(name)))
    assert [figure.name for figure in found] == expected.split()
    for figure in found:
        assert figure.title
        assert figure.description.endswith(".")


def test_a_report_has_no_figures_of_what_it_has_as_tables(summary):
    (figure,) = make_figures(summary("unigram"), tables=False)
    assert figure.name == "bigrams"


def test_descriptions_have_the_numbers(summary, figures):
    texts = {figure.name: figure.description for figure in figures["mlp"]}
    assert "over 80 steps, at the end train 2.0000, dev 2.5000" in texts["loss"]
    assert f"uniform {np.log(len(summary('mlp').run.vocab)):.3f}" in texts["loss"]
    assert "C 1.0e-03, W1 1.0e-03, b1 nan" in texts["updates"]
    assert "in 4 dimensions, projected on two that explain" in texts["embedding"]
    pairs = [pair for line in split_lines(LINES).train for pair in pairwise(line + ".")]
    counts = {pair: pairs.count(pair) for pair in pairs}
    starts = [(".", line[0]) for line in split_lines(LINES).train]
    counts |= {pair: starts.count(pair) for pair in starts}
    (first, second), most = max(counts.items(), key=lambda item: item[1])
    described = next(f.description for f in figures["bigram"] if f.name == "bigrams")
    assert f"of {sum(counts.values())} bigrams" in described
    assert f"{most} times" in described
    assert list(counts.values()).count(most) > 1 or f"{first}{second} most often" in described


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
