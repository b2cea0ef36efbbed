"""-log p of every prediction, in the order of the ids, against one item at a time in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.batches import windows
from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.vocab import build_vocab
from mm_jax.models.mlp import mlp
from mm_jax.training import surprise as surprise_module
from mm_jax.training.evaluate import evaluate
from mm_jax.training.surprise import impossible_ngrams, surprise
from tests.helpers import first_params, gru, mlp64, nats64, quick_jit

VOCAB = build_vocab(["abc"])
ITEMS = ["abc", "", "cab" * 12, "b", "ca", "abcabcabca"]
CORPUS = encode_corpus(ITEMS, VOCAB)
MLP, GRU = mlp(4, 3, 2, 4), gru(4, 4)
apply_gru = quick_jit(GRU.apply)


@pytest.mark.parametrize("batch_size", [1, 3, 4096])
def test_windows_are_as_surprising_as_one_by_one(batch_size):
    params = first_params(MLP)
    batch = windows(CORPUS, context=3)
    expected = nats64(mlp64(params, batch.tokens)[1], batch.targets)
    found = surprise(MLP, params, CORPUS, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len(found) == CORPUS.num_predictions


@pytest.mark.parametrize("batch_size", [1, 2, 4096])
def test_each_item_has_its_part(batch_size):
    params = first_params(GRU)
    found = surprise(GRU, params, CORPUS, batch_size=batch_size)
    for i, item in enumerate(ITEMS):
        ids = ["_abc".index(symbol) for symbol in item]
        # Rows of one length are compiled once; what is behind an item changes nothing before.
        row = jnp.array([0, *ids, *[0] * (36 - len(ids))])
        expected = nats64(apply_gru(params, row)[: len(ids) + 1], [*ids, 0])
        own = found[CORPUS.offsets[i] : CORPUS.offsets[i + 1]]
        np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_one_long_item_makes_no_other_row_long(monkeypatch):
    sizes = []

    def nats_of(model, params, examples, numbers):
        sizes.append((examples.length, len(numbers)))
        return np.zeros((len(numbers), examples.length), np.float32)

    monkeypatch.setattr(surprise_module, "_nats_of", nats_of)
    surprise(
        GRU,
        first_params(GRU),
        encode_corpus(["abc"] * 50 + ["a" * 3000] + ["abcabcabcab"] * 5, VOCAB),
    )
    assert sum(length * num for length, num in sizes) <= 50 * 8 + 5 * 16 + 4096


def crop_of(place, num, block):
    """Where the first crop that has a prediction begins."""
    stride, last = max(1, block // 2), num - block
    starts = [min(k * stride, last) for k in range(num)]
    return next(start for start in starts if place < start + block)


@pytest.mark.parametrize(("num", "block"), [(29, 6), (30, 7), (5, 8), (9, 1)])
def test_a_token_of_a_document_is_predicted_in_its_first_crop(num, block):
    params = first_params(GRU)
    ids = np.array([0, *(1 + i * i % 3 for i in range(num))], np.uint8)
    document = Corpus(ids, VOCAB, None, is_document=True, block=block)
    block = min(block, num)
    expected = []
    for place in range(num):
        start = crop_of(place, num, block)
        logits = apply_gru(params, jnp.asarray(ids[start : start + block], jnp.int32))
        expected.append(float(nats64(logits[place - start], ids[place + 1])))
        # It is predicted after half a block at least, or after all that is there.
        assert place - start + 1 >= min(block / 2, place + 1)
    for batch_size in 2, 4096:
        found = surprise(GRU, params, document, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(evaluate(GRU, params, document)) == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("model", [MLP, GRU], ids=["mlp", "gru"])
def test_the_mean_is_the_loss(model):
    params = first_params(model)
    mean = surprise(model, params, CORPUS).mean(dtype=np.float64)
    assert float(evaluate(model, params, CORPUS)) == pytest.approx(mean, rel=1e-6)


def test_nothing_is_no_surprise():
    with pytest.raises(InputError, match="no lines to make examples from"):
        surprise(GRU, first_params(GRU), encode_corpus([], VOCAB))


# What has no probability


def test_impossible_ngrams_are_spelled_once_in_their_order():
    corpus = encode_corpus(["aba", "aba"], VOCAB)
    nats = np.array([1.0, np.inf, 2.0, np.inf, 1.0, np.inf, 2.0, 3.0])
    assert impossible_ngrams(corpus, nats, 2) == [".ab", "ba."]
    assert impossible_ngrams(corpus, np.zeros(8), 2) == []


def test_impossible_ngrams_of_words_have_spaces():
    vocab = build_vocab(["the cat saw"], "word")
    corpus = encode_corpus(["the cat"], vocab)
    assert impossible_ngrams(corpus, np.array([0.0, np.inf, 0.0]), 2) == [". the cat"]
