"""What a trained model reaches: exact losses by hand, and the text that it is made to write."""

import jax
import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import Samples
from mm_jax.data.vocab import decode_lines
from mm_jax.experiments.evaluation import evaluate_and_sample, new_share
from mm_jax.models.sampling import sample
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


def test_the_share_of_new_samples_is_that_of_whole_ones(tmp_path):
    """It is counted among samples that are cut where they are longer than any training line."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LINES))
    dataset = load_dataset(DataConfig(str(path), split="none"))
    model, params = bigram(4), {"W": np.zeros((4, 4), np.float32)}
    drawn = sample(model, params, jax.random.key(0), num=1000, max_len=200)
    assert np.asarray(drawn[1]).all()
    whole = decode_lines(dataset.vocab, drawn[0])
    assert max(map(len, whole)) > dataset.splits.train.longest
    is_new = [line not in LINES for line in whole]
    assert 0 < np.mean(is_new) < 1
    assert new_share(model, params, dataset) == pytest.approx(np.mean(is_new), abs=1e-12)
