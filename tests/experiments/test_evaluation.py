"""What a trained model reaches: exact losses by hand, and the text that it is made to write."""

import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import Samples
from mm_jax.experiments.evaluation import evaluate_and_sample
from tests.helpers import bigram, nats64

LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]


def weights():
    """Logits after each of ". a b c" that write "abc" nearly always, but forbid nothing."""
    W = np.zeros((4, 4), np.float32)
    for before, after in ((0, 1), (1, 2), (2, 3), (3, 0)):
        W[before, after] = 40
    return W


def by_hand(W, lines):
    """Mean nats per symbol, boundaries included."""
    total = []
    for line in lines:
        ids = [0, *(".abc".index(symbol) for symbol in line), 0]
        total += list(nats64(W[ids[:-1]], ids[1:]))
    return np.mean(total)


@pytest.mark.parametrize("split", ["lecture", "none"])
def test_losses_are_exact_and_samples_are_the_models(tmp_path, split):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LINES))
    dataset = load_dataset(DataConfig(str(path), split=split))
    W = weights()
    result = evaluate_and_sample(bigram(4), {"W": W}, dataset)
    assert result.train_loss == pytest.approx(by_hand(W, dataset.splits.train.items()), rel=1e-6)
    assert result.samples == Samples(["abc"] * 20, [False] * 20, 64)
    if split == "none":
        assert result.dev_loss is None
    else:
        assert result.dev_loss == pytest.approx(by_hand(W, dataset.splits.dev.items()), rel=1e-6)
