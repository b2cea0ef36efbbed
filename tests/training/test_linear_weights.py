"""Expectation maximisation by hand and by a grid. Of whole mixtures: test_mixture_weights.py."""

import numpy as np
import pytest

from mm_jax.training import linear_weights
from mm_jax.training.linear_weights import ByFrequency, Linear, fit_weights, mean_nats

PROBS = np.random.default_rng(0).dirichlet(np.ones(4), (2, 300))[..., 0].T  # (300, 2)
COUNTS = np.random.default_rng(1).integers(0, 3, 300).astype(float)
GRID = np.linspace(0, 1, 10_001)[1:-1]
GRID = np.stack([GRID, 1 - GRID], 1)


def best_of_grid(probs, counts, pseudo=(0, 0)):
    likely = counts @ np.log(probs @ GRID.T) + np.log(GRID) @ np.asarray(pseudo)
    return GRID[likely.argmax()]


@pytest.mark.parametrize("pseudo", [(0, 0), (30, 10), (0, 25)])
def test_the_weights_are_the_best_of_a_grid(pseudo):
    found = fit_weights(PROBS, COUNTS, np.array(pseudo, float))
    np.testing.assert_allclose(found, best_of_grid(PROBS, COUNTS, pseudo), atol=1e-3)
    assert found.sum() == pytest.approx(1)


def test_what_no_member_gives_a_probability_tells_nothing():
    probs = np.concatenate([PROBS, np.zeros((50, 2))])
    found = fit_weights(probs, np.concatenate([COUNTS, np.ones(50)]))
    np.testing.assert_allclose(found, fit_weights(PROBS, COUNTS))
    assert fit_weights(np.zeros((3, 2)), np.ones(3)).tolist() == [0.5, 0.5]
    assert fit_weights(PROBS[:0], COUNTS[:0]).tolist() == [0.5, 0.5]


def test_where_nothing_is_known_the_weights_are_those_that_they_are_drawn_to():
    found = fit_weights(PROBS[:0], COUNTS[:0], np.array([3.0, 1.0]))
    np.testing.assert_allclose(found, [0.75, 0.25])


def test_a_member_without_a_constant_weight_gets_one_where_it_is_best():
    """The first is better in most of the predictions, the second in a bin of its own."""
    probs = np.array([[0.5, 0.1]] * 5000 + [[0.1, 0.5]] * 600)
    bins = np.array([0] * 5000 + [1] * 600)
    mixing = ByFrequency(np.log(probs), bins, 3)
    weights = mixing.fit(np.ones(5600))
    assert weights[0, 0] > 0.99
    assert weights[1, 1] > 0.5
    np.testing.assert_allclose(weights[2], mixing.constant.fit(np.ones(5600)))


def test_by_frequency_the_loss_and_the_mean_are_those_of_each_bin():
    bins = np.arange(300) % 3
    weights = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    mixing = ByFrequency(np.log(PROBS), bins, 3)
    each = -np.log([p @ weights[b] for p, b in zip(PROBS, bins, strict=True)])
    expected = (COUNTS * each).sum() / COUNTS.sum()
    assert mixing.loss(weights, COUNTS) == pytest.approx(expected)
    shares = [COUNTS[bins == number].sum() / COUNTS.sum() for number in range(3)]
    np.testing.assert_allclose(mixing.mean(weights, COUNTS), shares @ weights)


def test_one_bin_without_pseudo_counts_is_linear(monkeypatch):
    monkeypatch.setattr(linear_weights, "PSEUDO_COUNT", 0.0)
    linear, one = Linear(np.log(PROBS)), ByFrequency(np.log(PROBS), np.zeros(300, int), 1)
    np.testing.assert_allclose(one.fit(COUNTS)[0], linear.fit(COUNTS))
    assert one.loss(one.fit(COUNTS), COUNTS) == pytest.approx(
        linear.loss(linear.fit(COUNTS), COUNTS)
    )


def test_bins_that_are_all_alike_lose_little_on_other_text():
    """Weights of 20 bins that differ by chance alone, fitted on 2,000 predictions."""
    rng = np.random.default_rng(3)
    own, other = (np.exp(rng.normal(-2, 1, (2000, 2))) for _ in range(2))
    bins, counts = rng.integers(0, 20, 2000), np.ones(2000)
    linear, by_bin = Linear(np.log(own)), ByFrequency(np.log(own), bins, 20)
    constant = Linear(np.log(other)).loss(linear.fit(counts), counts)
    found = ByFrequency(np.log(other), bins, 20).loss(by_bin.fit(counts), counts)
    assert found < constant + 0.002


def test_the_mean_is_over_what_is_counted():
    probs = np.array([0.5, 0.25, 0.0])
    assert mean_nats(probs, np.array([1, 3, 0])) == pytest.approx(np.log(2) * 7 / 4)
    assert mean_nats(probs, np.ones(3)) == np.inf
