"""Parameters in bfloat16: each leaf keeps its dtype, and softmaxes are in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mm_jax as mm
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.ensemble import ensemble
from mm_jax.models.mlp import mlp
from mm_jax.training.diagnostics import look_inside
from mm_jax.training.evaluate import evaluate
from mm_jax.training.loss import loss, nats
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit, train_step
from tests.helpers import FIVE_NAMES, V, first_params

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL = mlp(V, 3, 4, 16)
BATCH = windows(FIVE_NAMES, LETTERS, 3)
HALF = jnp.bfloat16


def halved(params):
    return jax.tree.map(lambda leaf: leaf.astype(HALF), params)


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def test_the_loss_is_that_of_the_logits_in_float32():
    params = halved(first_params(MODEL))
    logits = np.asarray(MODEL.apply(params, BATCH.tokens), np.float64)[:, 0]
    shifted = logits - logits.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    expected = -log_probs[np.arange(len(logits)), np.asarray(BATCH.targets)]
    each = nats(MODEL, params, BATCH)
    assert each.dtype == jnp.float32
    np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-5)
    for value in loss(MODEL, params, BATCH), evaluate(MODEL, params, BATCH):
        assert value.dtype == jnp.float32
    assert float(loss(MODEL, params, BATCH)) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_steps_keep_the_dtype_of_each_leaf(optimizer):
    config = OptimizerConfig(
        optimizer=optimizer, learning_rate=0.01, clip_norm=1.0, schedule="cosine", warmup_steps=2
    )
    optimizer = make_optimizer(config, 20)
    start = init_state(MODEL, optimizer, jax.random.key(0), params=halved(first_params(MODEL)))
    after, losses = fit(MODEL, optimizer, start, BATCH, num_steps=20, batch_size=None)
    assert dtypes(after.params) == {jnp.dtype(HALF)}
    before, now = ([leaf.dtype for leaf in jax.tree.leaves(each)] for each in (start, after))
    assert before == now
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert dtypes(after.opt_state.hyperparams) == {jnp.dtype("float32")}


def test_the_average_is_kept_in_float32_in_which_a_small_share_counts():
    optimizer = optax.sgd(0.1)
    start = init_state(
        MODEL,
        optimizer,
        jax.random.key(0),
        params=halved(first_params(MODEL)),
        average_decay=0.999,
    )
    after, _ = fit(MODEL, optimizer, start, BATCH, num_steps=5, batch_size=None)
    assert dtypes(after.params) == {jnp.dtype(HALF)}
    assert dtypes(after.average) == {jnp.dtype("float32")}
    # The first steps keep 1 - 9 / (step + 10) of it: 0.1, 0.18, 0.25, 0.31, 0.36.
    state = init_state(MODEL, optimizer, jax.random.key(0), params=halved(first_params(MODEL)))
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    for step in range(5):
        state, _ = train_step(MODEL, optimizer, state, BATCH)
        share = 9 / (step + 10)
        expected = jax.tree.map(
            lambda old, new, share=share: (1 - share) * old + share * np.asarray(new, np.float64),
            expected,
            state.params,
        )
    for name, leaf in after.average.items():
        np.testing.assert_allclose(leaf, expected[name], rtol=0.02, atol=0.02)


def test_samples_diagnostics_and_ensembles_take_bfloat16():
    params = halved(first_params(MODEL))
    tokens, _ = mm.sample(MODEL, params, jax.random.key(0), num=4, max_len=5, top_p=0.9)
    assert tokens.shape == (4, 5)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    one = evaluate(MODEL, params, BATCH)
    assert float(evaluate(ensemble(MODEL, 2), two, BATCH)) == pytest.approx(float(one), rel=1e-4)
    state = init_state(MODEL, optax.sgd(0.1), jax.random.key(0), params=params)
    found = look_inside(MODEL, optax.sgd(0.1), state, BATCH)
    assert np.isfinite(float(found.loss_nats))
