import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.ensemble import ensemble
from mm_jax.models.mlp import mlp
from mm_jax.training.loss import loss
from tests.helpers import FIVE_NAMES, V, mlp64, nats64, quick_jit, softmax64

BATCH = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 3)
MODEL = mlp(V, 3, 4, 8, "scaled")
THREE = ensemble(MODEL, 3)


@pytest.fixture(scope="module")
def params():
    """Three members, far from one another and from uniform."""
    return jax.tree.map(lambda leaf: 10 * leaf, quick_jit(THREE.init)(jax.random.key(0)))


@pytest.fixture(scope="module")
def probs(params):
    """The mean of the members' probabilities, in float64 from the arrays alone."""
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(3)]
    return np.mean([softmax64(mlp64(one, BATCH.tokens)[1]) for one in each], 0)


def test_members_begin_with_different_parameters(params):
    assert params["W1"].shape == (3, 12, 8)
    assert len({leaf.tobytes() for leaf in np.asarray(params["W1"])}) == 3


def test_an_ensemble_averages_probabilities(params, probs):
    logits = quick_jit(THREE.apply)(params, BATCH.tokens)
    np.testing.assert_allclose(np.exp(logits)[:, 0], probs, rtol=2e-5)


def test_step_by_step_it_predicts_the_same(params, probs):
    """The first name, after which a boundary begins the next."""

    def read(params, tokens):
        return jax.lax.scan(lambda *each: THREE.step(params, *each), THREE.start(params), tokens)

    tokens = jnp.asarray(np.append(0, np.asarray(BATCH.targets)[: len(FIVE_NAMES[0])]))
    _, logits = quick_jit(read)(params, tokens)
    np.testing.assert_allclose(np.exp(logits), probs[: len(tokens)], rtol=2e-5)


def test_its_loss_is_below_the_mean_of_its_members(params, probs):
    """Jensen: -ln of a mean is at most the mean of -ln."""
    together = float(quick_jit(lambda params: loss(THREE, params, BATCH))(params))
    targets = np.asarray(BATCH.targets)
    np.testing.assert_allclose(together, -np.log(probs[np.arange(32), targets]).mean(), rtol=1e-5)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(3)]
    alone = [nats64(mlp64(one, BATCH.tokens)[1], targets).mean() for one in each]
    assert together < np.mean(alone) - 0.1


def test_the_same_member_twice_is_that_model(params):
    one = jax.tree.map(lambda leaf: leaf[0], params)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
    logits = quick_jit(ensemble(MODEL, 2).apply)(twice, BATCH.tokens)
    _, expected = mlp64(one, BATCH.tokens)
    np.testing.assert_allclose(np.exp(logits)[:, 0], softmax64(expected), rtol=2e-5)


def test_an_ensemble_is_built_once():
    assert ensemble(MODEL, 3) is THREE  # or it would be compiled again
