import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch, rows, windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.training.loss import loss, nats, training_loss
from tests.helpers import V, assert_trees_close, bigram, first_params, nats64, quick_jit

MODEL = bigram()  # its logits are the rows of W: what W holds is what the loss sees
SMALL = bigram(4)
LOSS = quick_jit(loss, static_argnums=0)
NATS = quick_jit(nats, static_argnums=0)
GRAD = quick_jit(jax.grad(loss, argnums=1), static_argnums=0)


def batch_of(generator, num=50):
    tokens = generator.integers(0, V, (num, 1), np.int32)
    targets = generator.integers(0, V, num, np.int32)
    return Batch(*map(jnp.asarray, (tokens, targets, generator.random(num, np.float32))))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=20)
def test_the_loss_is_the_weighted_mean_of_minus_log_p_in_float64(seed, scale):
    generator = np.random.default_rng(seed)
    W = (scale * generator.standard_normal((V, V))).astype(np.float32)
    batch = batch_of(generator)
    each = nats64(W[np.asarray(batch.tokens)[:, 0]], batch.targets)
    weights = np.asarray(batch.weights, np.float64)
    params = {"W": jnp.asarray(W)}
    assert_trees_close(np.asarray(NATS(MODEL, params, batch)), each)
    expected = (weights * each).sum() / weights.sum()
    assert_trees_close(np.asarray(LOSS(MODEL, params, batch)), expected)


def test_the_gradient_is_softmax_minus_one_hot():
    generator = np.random.default_rng(0)
    W = generator.standard_normal((V, V)).astype(np.float32)
    batch = batch_of(generator)
    weights = np.asarray(batch.weights, np.float64)
    expected = np.zeros((V, V))
    for x, y, weight in zip(batch.tokens[:, 0], batch.targets, weights, strict=True):
        row = np.exp(W[x].astype(np.float64))
        expected[x] += weight * (row / row.sum() - np.eye(V)[y])
    assert_trees_close(
        {"W": np.asarray(GRAD(MODEL, {"W": jnp.asarray(W)}, batch)["W"])},
        {"W": expected / weights.sum()},
    )


def test_masked_equals_filtered():
    generator = np.random.default_rng(1)
    params = first_params(MODEL)
    batch = batch_of(generator)
    kept = generator.random(50) < 0.6
    masked = batch.replace(weights=jnp.asarray(kept * np.asarray(batch.weights)))
    filtered = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[kept]), batch)
    assert_trees_close(LOSS(MODEL, params, masked), LOSS(MODEL, params, filtered))
    assert_trees_close(GRAD(MODEL, params, masked), GRAD(MODEL, params, filtered))


def test_an_infinite_loss_of_weight_0_does_not_count():
    params = {"W": jnp.zeros((V, V)).at[1, 2].set(-jnp.inf)}
    batch = Batch(jnp.array([[1], [0]]), jnp.array([2, 3]), jnp.array([0.0, 1.0]))
    assert float(LOSS(bigram(), params, batch)) == pytest.approx(math.log(V))


def test_twice_the_weights_is_the_same_loss_and_a_double_weight_counts_twice():
    params = first_params(MODEL)
    batch = batch_of(np.random.default_rng(2), 3)
    twice = batch.replace(weights=2 * batch.weights)
    assert_trees_close(LOSS(MODEL, params, twice), LOSS(MODEL, params, batch))
    double = batch.replace(weights=jnp.array([1.0, 2.0, 1.0]))
    again = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[[0, 1, 1, 2]]), batch)
    again = again.replace(weights=jnp.ones(4))
    assert_trees_close(LOSS(MODEL, params, double), LOSS(MODEL, params, again))


def test_logits_of_ten_thousand_give_finite_loss_and_gradients():
    W = jnp.full((V, V), -1e4).at[:, 3].set(1e4)
    for target, expected in (3, 0.0), (5, 2e4):
        batch = Batch(jnp.zeros((1, 1), jnp.int32), jnp.array([target]), jnp.ones(1))
        assert_trees_close(LOSS(MODEL, {"W": W}, batch), jnp.float32(expected))
        assert np.isfinite(GRAD(MODEL, {"W": W}, batch)["W"]).all()


def test_equal_logits_give_ln_v_whatever_their_size():
    for level in 0.0, -1e4, 1e4:
        batch = batch_of(np.random.default_rng(3))
        value = LOSS(MODEL, {"W": jnp.full((V, V), level)}, batch)
        near = max(1e-6, float(np.spacing(np.float32(abs(level)))))  # a float of the logits' size
        assert float(value) == pytest.approx(np.log(V), abs=near)


@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_the_lectures_softmax_comes_out(shift):
    logits = jnp.array([-2.0, -3.0, 0.0, 5.0]) + shift
    batch = Batch(jnp.zeros((4, 1), jnp.int32), jnp.arange(4), jnp.ones(4))
    each = NATS(SMALL, {"W": jnp.tile(logits, (4, 1))}, batch)
    expected = [9.0466e-04, 3.3281e-04, 6.6846e-03, 9.9208e-01]
    np.testing.assert_allclose(np.exp(-each), expected, rtol=1e-4)


def test_a_logit_of_a_hundred_that_breaks_the_formula_by_hand_is_fine():
    batch = Batch(jnp.zeros((1, 1), jnp.int32), jnp.array([3]), jnp.ones(1))
    params = {"W": jnp.tile(jnp.array([-2.0, -3.0, 0.0, 100.0]), (4, 1))}
    assert float(LOSS(SMALL, params, batch)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("make", [windows, rows])
@pytest.mark.parametrize("context", [1, 2, 4, 6])
def test_a_batch_of_another_context_is_refused_by_name(make, context):
    model = mlp(V, 3, 2, 4)
    params = jax.eval_shape(model.init, jax.random.key(0))
    batch = make(["emma", "ava"], Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), context)
    length = batch.tokens.shape[-1]
    wanted = r"windows\(..., context=3\)" if make is windows else r"rows\(..., 3\)"
    with pytest.raises(InputError, match=f"of {length} tokens.* make it with {wanted}"):
        jax.eval_shape(lambda params: nats(model, params, batch), params)


# What training minimises


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_cross_entropy_with_smoothed_labels_in_float64(smoothing):
    generator = np.random.default_rng(3)
    W = 3 * generator.standard_normal((V, V)).astype(np.float32)
    batch = batch_of(generator)
    smoothed = quick_jit(training_loss, static_argnums=0)(
        MODEL, {"W": jnp.asarray(W)}, batch, label_smoothing=jnp.float32(smoothing)
    )
    logits, weights = W[np.asarray(batch.tokens)[:, 0]], np.asarray(batch.weights, np.float64)
    log_probs = -np.stack([nats64(logits, np.full(50, v)) for v in range(V)], -1)
    labels = (1 - smoothing) * np.eye(V)[np.asarray(batch.targets)] + smoothing / V
    each = -(labels * log_probs).sum(-1)
    plain = nats64(logits, batch.targets)
    assert_trees_close(
        tuple(map(np.asarray, smoothed)),
        tuple((weights * x).sum() / weights.sum() for x in (each, plain)),
    )


def test_without_smoothing_training_minimises_the_loss():
    batch = batch_of(np.random.default_rng(4))
    params = first_params(MODEL)
    value, mean_nats = quick_jit(training_loss, static_argnums=0)(MODEL, params, batch)
    assert float(value) == float(mean_nats)
    assert float(value) == pytest.approx(float(LOSS(MODEL, params, batch)), rel=1e-7)
