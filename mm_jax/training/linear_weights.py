"""The weights of a linear mixture by expectation maximisation (Dempster, Laird and Rubin 1977).

From the probabilities p_k that each of K members gave to what came. The loss is convex in the
weights: one least value. Weights by the frequency of the context are drawn towards those that are
the same for all, as if so many more predictions had been seen in each bin.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Integer

EM_STEPS, MAX_ROUNDS = 20, 200  # of so many steps each
TOLERANCE = 1e-8  # of the loss, in nats, between two rounds
PSEUDO_COUNT = 300.0  # predictions with the constant weights that are added to each bin

Weights: TypeAlias = Float64[np.ndarray, " K"]
Counted: TypeAlias = Float64[np.ndarray, " n"]


class Linear:
    """Mixing with the same weights for all predictions."""

    def __init__(self, log_probs: np.ndarray) -> None:
        self.probs = np.exp(log_probs.astype(np.float64))

    def loss(self, weights: Weights, counts: np.ndarray) -> float:
        """Return the mean loss of the predictions, counted like this."""
        return mean_nats(self.probs @ weights, counts)

    def mean(self, weights: Weights, counts: np.ndarray) -> Weights:
        """Return the mean weights of the predictions."""
        del counts
        return weights

    def fit(self, counts: np.ndarray) -> Weights:
        """Return the weights of the least loss."""
        return fit_weights(self.probs, counts)


class ByFrequency:
    """Mixing with the weights (bins, K) of the bin of each prediction."""

    def __init__(self, log_probs: np.ndarray, bins: Integer[np.ndarray, " n"], num: int) -> None:
        self.constant, self.bins, self.num = Linear(log_probs), bins, num

    def loss(self, weights: Float64[np.ndarray, "bins K"], counts: np.ndarray) -> float:
        """Return the mean loss of the predictions, counted like this."""
        return mean_nats((self.constant.probs * weights[self.bins]).sum(1), counts)

    def mean(self, weights: Float64[np.ndarray, "bins K"], counts: np.ndarray) -> Weights:
        """Return the mean weights of the predictions."""
        return np.average(weights[self.bins], axis=0, weights=counts)

    def fit(self, counts: np.ndarray) -> Float64[np.ndarray, "bins K"]:
        """Return the weights of each bin: near the constant ones where little is known of it."""
        constant = self.constant.fit(counts)
        each = [
            fit_weights(self.constant.probs[inside], counts[inside], PSEUDO_COUNT * constant)
            for inside in (self.bins == number for number in range(self.num))
        ]
        return np.stack(each)


def mean_nats(probs: Counted, counts: np.ndarray) -> float:
    """Return the mean of -log p of the predictions that are counted; of others it can be inf."""
    counted = counts > 0
    with np.errstate(divide="ignore"):
        return float(np.average(-np.log(probs[counted]), weights=counts[counted]))


def fit_weights(
    probs: Float64[np.ndarray, "n K"], counts: np.ndarray, pseudo: Weights | float = 0.0
) -> Weights:
    """Return the weights of the least loss: each becomes the share of p that it gives.

    ``pseudo`` is added to what each member gives. What no member gives any probability tells
    nothing of the weights.
    """
    num, added = probs.shape[1], np.broadcast_to(np.float64(pseudo), probs.shape[1:])
    tells = probs.any(1) & (counts > 0)
    probs, total = probs[tells], counts[tells].sum(dtype=np.float64) + added.sum()
    weights, before = np.full(num, 1 / num), -np.inf
    if not total:
        return weights
    counts, added, likely = counts[tells] / total, added / total, added > 0
    for _ in range(MAX_ROUNDS):
        for _ in range(EM_STEPS):
            weights = weights * ((counts / (probs @ weights)) @ probs) + added
            weights /= weights.sum()
        mean_log = counts @ np.log(probs @ weights) + added[likely] @ np.log(weights[likely])
        if mean_log - before < TOLERANCE:
            break
        before = mean_log
    return weights
