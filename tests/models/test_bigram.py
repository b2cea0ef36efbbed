"""The neural bigram: one linear layer, and the proof that it is the count model."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import distinct, windows
from mm_jax.data.ngram_counts import count_ngrams
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.models.bigram import bigram
from mm_jax.models.ngram import examples, ngram, probs
from mm_jax.models.sampling import sample
from mm_jax.training.evaluate import evaluate
from mm_jax.training.loss import loss, mean_square
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import TrainState, init_state
from mm_jax.training.step import fit
from tests.helpers import V, assert_trees_close, first_params, quick_jit, softmax64

MODEL = bigram(V)
LOSS = quick_jit(loss, static_argnums=0)
GRAD = quick_jit(jax.grad(loss, argnums=1), static_argnums=0)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def text():
    """The names that ship with the package, which is what everybody has."""
    lines = read_lines("names").lines
    return lines, build_vocab(lines)


@pytest.fixture(scope="module")
def counts(text):
    return count_ngrams(*text)


@pytest.fixture(scope="module")
def everything(counts):
    return examples(jnp.asarray(counts))


def entropy64(counts):
    """The loss of the count model without smoothing on its own counts: the least there is."""
    counts = np.asarray(counts, np.float64)
    shares = counts / counts.sum(1, keepdims=True)
    return -(counts * np.log(np.where(counts > 0, shares, 1))).sum() / counts.sum()


# One linear layer


def test_its_logits_are_a_one_hot_symbol_times_w():
    params, tokens = first_params(MODEL), np.arange(V, dtype=np.int32)[:, None]
    one_hot = np.eye(V, dtype=np.float32)
    assert_trees_close(MODEL.apply(params, jnp.asarray(tokens))[:, 0], one_hot @ params["W"])


def test_its_gradient_is_that_of_the_one_hot_product(text):
    params, batch = first_params(MODEL), windows(text[0][:50], text[1], 1)

    def by_product(params):
        logits = jax.nn.one_hot(batch.tokens[:, 0], V) @ params["W"]
        return -jnp.mean(
            jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[:, None], -1)
        )

    value, grads = quick_jit(jax.value_and_grad(by_product))(params)
    assert_trees_close(LOSS(MODEL, params, batch), value)
    assert_trees_close(GRAD(MODEL, params, batch), grads)


def test_w_of_zeros_is_the_uniform_distribution(everything):
    assert float(LOSS(MODEL, {"W": jnp.zeros((V, V))}, everything)) == pytest.approx(math.log(V))


@pytest.mark.parametrize("choices", [{"vocab_size": 0}, {"vocab_size": V, "init": "other"}])
def test_a_wrong_choice_is_refused(choices):
    with pytest.raises(InputError):
        bigram(**choices)


# V * V weighted examples in place of a row for each bigram


@pytest.mark.parametrize("merge", ["examples", "distinct"])
def test_weighted_examples_have_the_loss_and_gradient_of_all(text, everything, merge):
    params, rows = first_params(MODEL), windows(*text, 1)
    merged = everything if merge == "examples" else distinct(rows)
    assert len(merged.targets) <= V * V < len(rows.targets) / 100
    assert float(merged.weights.sum()) == len(rows.targets)
    assert_trees_close(LOSS(MODEL, params, merged), LOSS(MODEL, params, rows))
    assert_trees_close(GRAD(MODEL, params, merged), GRAD(MODEL, params, rows))


# The bridge: the net and the counts are one model


@pytest.mark.parametrize("smoothing", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_log_counts_are_the_count_model(counts, everything, smoothing):
    counted = ngram(V, 2, smoothing), {"counts": jnp.asarray(counts)}
    net = MODEL, {"W": jnp.log(counts.astype(np.float32) + smoothing)}
    assert float(evaluate(*net, everything)) == pytest.approx(float(evaluate(*counted, everything)))
    for key in jax.random.split(KEY, 3):
        (ours, ended), (theirs, also) = (sample(*pair, key, num=100) for pair in (net, counted))
        assert np.array_equal(ours, theirs)
        assert np.array_equal(ended, also)


def test_other_counts_make_other_samples(counts):
    other = counts.copy()
    other[0] = 1
    one, two = (
        sample(MODEL, {"W": jnp.log(table.astype(np.float32) + 1)}, KEY, num=100)[0]
        for table in (counts, other)
    )
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_the_gradient_at_the_counts_is_zero(counts, smoothing):
    smoothed = counts + smoothing
    params = {"W": jnp.log(smoothed.astype(np.float32))}
    batch = examples(jnp.asarray(counts))
    batch = batch.replace(weights=jnp.asarray(smoothed.reshape(-1), jnp.float32))
    assert np.abs(GRAD(MODEL, params, batch)["W"]).max() < 1e-7
    elsewhere = {"W": params["W"].at[0, 1].add(0.1)}
    assert np.abs(GRAD(MODEL, elsewhere, batch)["W"]).max() > 1e-4


def trained(everything, config, num_steps, strength=None):
    optimizer = make_optimizer(config, num_steps)
    state = init_state(MODEL, optimizer, KEY, regularization=strength)
    return fit(MODEL, optimizer, state, everything, num_steps=num_steps, batch_size=None)


@pytest.fixture(scope="module")
def solved(everything):
    return trained(everything, OptimizerConfig(optimizer="lbfgs"), 600)[0].params


def test_lbfgs_reaches_the_loss_of_the_counts(counts, everything, solved):
    least = entropy64(counts)
    assert least - 1e-6 < float(evaluate(MODEL, solved, everything)) < least + 1e-5


def test_softmax_of_the_trained_w_is_the_normalised_counts(counts, solved):
    expected = counts / counts.sum(1, keepdims=True)
    seldom = counts.sum(1) < 500  # of a rare row the loss hardly tells
    np.testing.assert_allclose(softmax64(solved["W"])[~seldom], expected[~seldom], atol=2e-3)
    np.testing.assert_allclose(softmax64(solved["W"]), expected, atol=2e-2)


def divergence_from_uniform(distribution):
    """KL of each row from the uniform one, in nats, averaged."""
    distribution = np.asarray(distribution, np.float64)
    terms = distribution * np.log(np.where(distribution > 0, distribution, 1))
    return float((terms.sum(1) + math.log(V)).mean())


@pytest.mark.slow
def test_regularization_and_smoothing_both_lead_to_uniform(counts, everything):
    config = OptimizerConfig(optimizer="lbfgs")
    strengths, smoothings = [0.0, 0.01, 1.0, 1e4], [0.0, 1.0, 5.0, 50.0, 500.0, 1e7]
    by_strength = [
        divergence_from_uniform(softmax64(trained(everything, config, 40, s)[0].params["W"]))
        for s in strengths
    ]
    by_smoothing = [divergence_from_uniform(probs(jnp.asarray(counts), k)) for k in smoothings]
    for falling in by_strength, by_smoothing:
        assert (np.diff(falling) < 0).all()
        assert falling[0] > 0.5
        assert falling[-1] < 1e-3


def test_the_regularized_gradient_is_that_of_the_lectures_formula(everything):
    params, strength, rate = first_params(MODEL), 0.3, 0.1
    optimizer = optax.sgd(rate)
    state = TrainState(jnp.int32(0), params, optimizer.init(params), KEY, jnp.float32(strength))
    after, losses = fit(MODEL, optimizer, state, everything, num_steps=1, batch_size=None)
    grads = GRAD(MODEL, params, everything)
    # d/dW of strength * mean(W**2) is 2 * strength * W / V**2.
    expected = params["W"] - rate * (grads["W"] + 2 * strength * params["W"] / V**2)
    assert_trees_close(after.params["W"], expected)
    assert float(losses[0]) == pytest.approx(float(LOSS(MODEL, params, everything)))  # nats alone


def test_the_mean_square_is_over_all_parameters():
    params = {"a": jnp.array([1.0, 2.0]), "b": {"c": jnp.array([[3.0]])}}
    assert float(mean_square(params)) == pytest.approx((1 + 4 + 9) / 3)


def test_regularization_is_an_array_that_a_population_varies(everything):
    optimizer, strengths = optax.sgd(10.0), jnp.array([0.0, 1.0])

    def train(strength):
        state = init_state(MODEL, optimizer, KEY, regularization=strength)
        state, _ = fit(MODEL, optimizer, state, everything, num_steps=3, batch_size=None)
        return state.params["W"]

    together = quick_jit(jax.vmap(train))(strengths)
    for i in range(2):
        assert_trees_close(together[i], quick_jit(train)(strengths[i]))
    assert not np.allclose(together[0], together[1])


def test_gradient_descent_at_the_lectures_rate(counts, everything):
    config = OptimizerConfig(learning_rate=50.0, schedule="constant")
    losses = np.asarray(trained(everything, config, 201)[1])
    assert (np.diff(losses) < 0).all()
    least = entropy64(counts)  # above which the lecture gets 2.47 and 2.46, of 2.454
    assert least < losses[200] < least + 0.015
    assert losses[200] < losses[100] < least + 0.025
