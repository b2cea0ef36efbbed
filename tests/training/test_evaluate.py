import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.data.batches import Batch, rows, windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.kneser_ney import kneser_ney
from mm_jax.models.mixture import mixture
from mm_jax.models.mlp import mlp
from mm_jax.training import evaluate as evaluate_module
from mm_jax.training.evaluate import evaluate
from tests.helpers import FIVE_NAMES, V, bigram, first_params, mlp64, nats64, quick_jit

quick_evaluate = quick_jit(evaluate, static_argnames=("model", "batch_size"))
MODEL = mlp(V, 3, 4, 16, "lecture")


def random_batch(num):
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, V, (num, 3), np.int32)
    targets = generator.integers(0, V, num, np.int32)
    weights = generator.integers(0, 3, num).astype(np.float32)
    return Batch(*map(jnp.asarray, (tokens, targets, weights)))


def exact(params, data):
    """The mean nats in float64."""
    nats = nats64(mlp64(params, data.tokens)[1], data.targets)
    weights = np.asarray(data.weights, np.float64)
    return (weights * nats).sum() / weights.sum()


@pytest.fixture(scope="module")
def params():
    return first_params(MODEL)


@pytest.fixture(scope="module")
def data():
    return random_batch(10_001)


@pytest.mark.parametrize("batch_size", [64, 4096, 2**30])
def test_the_loss_is_that_of_float64_for_every_batch_size(params, data, batch_size):
    value = evaluate(MODEL, params, data, batch_size=batch_size)
    expected = exact(params, data)
    assert float(value) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_the_last_batch_counts_as_much_as_the_others(params, batch_size):
    data = random_batch(21)
    value = quick_evaluate(MODEL, params, data, batch_size=batch_size)
    assert float(value) == pytest.approx(exact(params, data), rel=1e-6)


@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_padding_with_logits_that_are_not_finite_does_not_count(bad, batch_size):
    generator = np.random.default_rng(0)
    W = generator.standard_normal((V, V)).astype(np.float32)
    W[5] = bad  # the model is bad after symbol 5, which only padding holds
    tokens = np.array([[0, 1, 2, 5], [0, 3, 5, 5], [0, 5, 5, 5]], np.int32)
    weights = (tokens != 5).astype(np.float32)
    targets = generator.integers(0, V, (3, 4), np.int32)
    nats = nats64(W[tokens[weights > 0]], targets[weights > 0])
    data = Batch(*map(jnp.asarray, (tokens, targets, weights)))
    value = quick_evaluate(bigram(), {"W": jnp.asarray(W)}, data, batch_size=batch_size)
    assert float(value) == pytest.approx(nats.mean(), rel=1e-6)


def test_the_filling_of_the_last_batch_does_not_count_even_where_it_is_not_finite():
    W = np.random.default_rng(0).standard_normal((V, V)).astype(np.float32)
    W[0] = np.nan  # the last batch is filled up with zeros
    tokens, targets = np.arange(1, 6, dtype=np.int32), np.arange(6, 11, dtype=np.int32)
    data = Batch(jnp.asarray(tokens[:, None]), jnp.asarray(targets), jnp.ones(5))
    value = quick_evaluate(bigram(), {"W": jnp.asarray(W)}, data, batch_size=4)
    assert float(value) == pytest.approx(nats64(W[tokens], targets).mean(), rel=1e-6)


def test_it_works_under_jit_and_vmap_over_parameters(params):
    data = random_batch(21)
    many = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf, -leaf]), params)
    together = quick_jit(jax.vmap(lambda p: evaluate(MODEL, p, data, batch_size=4)))(many)
    each = [exact(jax.tree.map(lambda leaf, i=i: leaf[i], many), data) for i in range(3)]
    np.testing.assert_allclose(together, each, rtol=1e-6)


def test_a_prediction_that_is_not_finite_and_counts_is_not_hidden():
    data = Batch(jnp.zeros((3, 1), jnp.int32), jnp.arange(3), jnp.ones(3))
    value = quick_evaluate(bigram(), {"W": jnp.full((V, V), jnp.nan)}, data)
    assert np.isnan(value)


@pytest.mark.parametrize("make", [windows, rows])
def test_blocks_of_many_symbols_are_smaller_and_change_nothing(monkeypatch, make):
    model, params = mlp(V, 3, 2, 4), first_params(mlp(V, 3, 2, 4))
    batch = make(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 3)
    whole = evaluate(model, params, batch)
    monkeypatch.setattr(evaluate_module, "MAX_NUMBERS", 5 * V * (batch.example_size - 3))
    assert evaluate_module.block_size(model, params, batch, 4096) == 5
    assert evaluate_module.block_size(model, params, batch, 4096, num_members=5) == 1
    jax.clear_caches()
    assert float(evaluate(model, params, batch)) == pytest.approx(float(whole), rel=1e-6)


def test_blocks_are_smaller_too_where_a_member_of_a_mixture_makes_all_logits(monkeypatch):
    """Counts say what a target has alone; with a net beside them all logits are made."""
    net, counts = mlp(V, 3, 2, 4), kneser_ney(V, 4)
    batch = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 3)
    monkeypatch.setattr(evaluate_module, "MAX_NUMBERS", 5 * V)
    for models, size in (((counts, counts), 20), ((net, counts), 5)):
        for kind in ("linear", "frequency"):
            model = mixture(models, kind)
            found = evaluate_module.block_size(model, first_params(model), batch, 20)
            assert found == size
