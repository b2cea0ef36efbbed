"""Good-Turing: the shares of a count by hand, and p(x) times a factor, item by item."""

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.vocab import Vocab
from mm_jax.models.good_turing import good_turing
from mm_jax.models.kneser_ney import fit_kneser_ney, kneser_ney
from mm_jax.models.mlp import mlp
from mm_jax.models.sampling import sample
from mm_jax.training.item_repeats import (
    MAX_REPEATS,
    check_repeats,
    expected_shares,
    fit_good_turing,
)
from mm_jax.training.surprise import surprise
from tests.helpers import assert_frequencies, gru, moved, quick_jit

ABC = Vocab((".", "a", "b", "c"))
TRAIN = ["a", "ab", "ab", "abc", "b", "b", "b", "ca", "cab", "cc"]
CORPUS = encode_corpus(TRAIN, ABC)
OTHERS = ["c", "aa", "abca", "ba", "cabb", "bbbbb"]
REPEATS = {line: TRAIN.count(line) for line in [*dict.fromkeys(TRAIN), *OTHERS]}
MODELS = {
    "a net of rows": gru(4, 5),
    "a net of windows": mlp(4, context=2, embed_dim=2, hidden_dim=3, init="scaled"),
    "counts": kneser_ney(4, 2),
}


def params_of(name):
    if name == "counts":
        return fit_kneser_ney(TRAIN, ABC, 2)
    return moved(quick_jit(MODELS[name].init)(jax.random.key(0)))


def probs_of(model, params, lines):
    """The probability of each line, its end included."""
    corpus = encode_corpus(lines, ABC)
    nats = surprise(model, params, corpus).astype(np.float64)
    return np.exp(-np.add.reduceat(nats, corpus.offsets[:-1]))


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    """A model, its parameters, and the fit."""
    model, params = MODELS[request.param], params_of(request.param)
    return model, params, fit_good_turing(model, params, CORPUS)


def test_the_shares_are_those_of_the_formula():
    """Five items once, one twice, one three times: n = 10; half an item is added to each kind."""
    repeats = np.array([1, 2, 1, 3, 1, 1, 1])
    expected = np.array([5.5, 2 * 1 + 0.5, 3 * 1 + 0.5, 0.5]) / 12
    np.testing.assert_allclose(expected_shares(repeats, 4), expected)


def test_a_list_of_different_items_lets_expect_no_repeat():
    np.testing.assert_allclose(expected_shares(np.ones(999, int), 2), [999.5 / 1000, 0.5 / 1000])


def test_items_that_are_there_often_are_of_one_kind():
    repeats = np.array([1, 1, 40, 9, 7, 6])
    shares = expected_shares(repeats, MAX_REPEATS + 1)
    expected = [2.5, 0.5, 0, 0, 0, 0, 40 + 9 + 7 + 6 + 0.5]
    expected[5], expected[6] = 0, 40 + 9 + 7 + 0.5
    # What is there six times was there five times before: a kind of which no item is left.
    np.testing.assert_allclose(shares, np.array(expected) / sum(expected))


def test_each_item_has_the_probability_of_the_model_times_the_factor_of_its_kind(fitted):
    model, params, fit = fitted
    lines = [*REPEATS]
    factors = (fit.expected / fit.given)[[REPEATS[line] for line in lines]]
    expected = probs_of(model, params, lines) * factors
    found = probs_of(good_turing(model), fit.params, lines)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_items_of_train_have_the_share_that_is_expected(fitted):
    model, _, fit = fitted
    lines = [line for line, count in REPEATS.items() if count]
    found = probs_of(good_turing(model), fit.params, lines)
    kinds = [REPEATS[line] for line in lines]
    np.testing.assert_allclose(
        np.bincount(kinds, found, 4)[1:], expected_shares(np.array(kinds), 4)[1:], rtol=1e-4
    )
    np.testing.assert_allclose(fit.expected, expected_shares(np.array(kinds), 4))
    np.testing.assert_allclose(fit.given.sum(), 1)


def test_samples_have_these_shares(fitted):
    model, _, fit = fitted
    drawn, _ = sample(good_turing(model), fit.params, jax.random.key(1), num=4000, max_len=12)
    lines = ["".join(ABC.symbols[i] for i in row if i) for row in np.asarray(drawn)]
    assert_frequencies(np.array([REPEATS.get(line, 0) for line in lines]), fit.expected)


def test_it_is_for_items_of_which_there_are_some():
    with pytest.raises(InputError, match="two training items or more, not 1"):
        check_repeats(encode_corpus(["a"], ABC))
    with pytest.raises(InputError, match="a document is one"):
        fit_good_turing(MODELS["counts"], params_of("counts"), document())


def document():
    corpus = encode_corpus(["abcab"], ABC)
    return type(corpus)(corpus.ids[:-1], ABC, is_document=True)
