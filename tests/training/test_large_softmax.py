"""Cross-entropy tile by tile: equal to the product and its loss at once, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.data.batches import Batch
from mm_jax.models.layers import Head
from mm_jax.models.mlp import mlp
from mm_jax.models.recurrent import gru
from mm_jax.models.transformer import transformer
from mm_jax.training import large_softmax, loss
from mm_jax.training.large_softmax import is_large, tiling, weighted_cross_entropy
from mm_jax.training.loss import training_loss
from tests.helpers import as64, assert_trees_close, first_params, nats64, quick_jit, softmax64

GENERATOR = np.random.default_rng(0)


def random_case(num, vocab_size, size, *, bias=True):
    features, weight, b = (
        jnp.asarray(GENERATOR.normal(size=shape), jnp.float32)
        for shape in ((num, size), (size, vocab_size), (vocab_size,))
    )
    weights = GENERATOR.random(num, np.float32)
    weights[::5] = 0
    targets = GENERATOR.integers(0, vocab_size, num, np.int32)
    return Head(features, weight, b if bias else None), jnp.asarray(targets), jnp.asarray(weights)


def by_formula(head, targets, weights, smoothing):
    """Both sums and the gradient of the first one, in float64."""
    features, weight = as64(head.features), as64(head.weight)
    bias = 0 if head.bias is None else as64(head.bias)
    logits = features @ weight + bias
    nats, vocab_size = nats64(logits, targets), logits.shape[1]
    even = np.log(np.exp(logits).sum(1)) - logits.mean(1)
    goal = (1 - smoothing) * np.eye(vocab_size)[targets] + smoothing / vocab_size
    change = as64(weights)[:, None] * (softmax64(logits) - goal)
    sums = weights @ (nats + smoothing * (even - nats)), weights @ nats
    gradient = Head(change @ weight.T, features.T @ change, change.sum(0))
    return sums, gradient if head.bias is not None else gradient._replace(bias=None)


def found_by(head, targets, weights, smoothing):
    given = jnp.float32(smoothing) if smoothing else None
    both = jax.value_and_grad(weighted_cross_entropy, has_aux=True)
    sums, gradient = jax.jit(both)(head, targets, weights, given)
    return sums, gradient


def assert_equal_to_1e_6(found, expected):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(as64(ours) - theirs).max() <= 1e-6 * np.abs(theirs).max()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("num", "most", "expected"),
    [
        (41, 2**20, (41, 37, 1, 1)),  # one tile
        (41, 300, (7, 37, 6, 1)),  # rows, the last ones filled up
        (41, 100, (14, 7, 3, 6)),  # rows and columns, the last ones filled up
        (5, 100, (5, 19, 1, 2)),
    ],
)
def test_loss_and_gradient_are_those_of_the_formula(
    monkeypatch, num, most, expected, bias, smoothing
):
    monkeypatch.setattr(large_softmax, "CPU_TILE", most)
    monkeypatch.setattr(large_softmax, "TILE", most)
    monkeypatch.setattr(large_softmax, "MIN_ROWS", 4)
    monkeypatch.setattr(large_softmax, "MAX_ROWS", 15)
    assert tuple(tiling(num, 37, most)) == expected
    head, targets, weights = random_case(num, 37, 6, bias=bias)
    found = found_by(head, targets, weights, smoothing)
    assert_equal_to_1e_6(found, by_formula(head, targets, np.asarray(weights), smoothing))


@pytest.mark.parametrize(("num", "vocab_size"), [(600, 13_400), (300, 50_000)])
def test_many_symbols_are_read_in_tiles_and_equal_to_the_formula(num, vocab_size):
    assert is_large(num, vocab_size)
    tiles = tiling(num, vocab_size, large_softmax.CPU_TILE)
    assert tiles.num_rows * tiles.num_columns > 1
    head, targets, weights = random_case(num, vocab_size, 8)
    expected = by_formula(head, targets, np.asarray(weights), 0.0)

    def at_once(head):
        nats = optax.softmax_cross_entropy_with_integer_labels(head.logits, targets)
        return jnp.sum(weights * nats), jnp.sum(weights * nats)

    optax_found = jax.jit(jax.value_and_grad(at_once, has_aux=True))(head)
    found = found_by(head, targets, weights, 0.0)
    for ours, theirs, exact in zip(
        *map(jax.tree.leaves, (found, optax_found, expected)), strict=True
    ):
        rounding = np.abs(as64(theirs) - exact).max()  # of optax itself
        assert np.abs(as64(ours) - exact).max() <= 1e-6 * np.abs(exact).max() + 2 * rounding
        assert rounding <= 3e-6 * np.abs(exact).max()


@pytest.mark.parametrize("num", [1, 31, 32, 600, 4096])
@pytest.mark.parametrize("vocab_size", [27, 13_400, 50_000, 100_000, 10**7])
def test_tiles_cover_all_and_are_not_larger_than_wanted(num, vocab_size):
    for most in (large_softmax.CPU_TILE, large_softmax.TILE):
        tiles = tiling(num, vocab_size, most)
        assert num <= tiles.rows * tiles.num_rows < num + tiles.num_rows
        assert vocab_size <= tiles.columns * tiles.num_columns < vocab_size + tiles.num_columns
        assert tiles.rows * tiles.columns <= max(1.01 * most, vocab_size)


def test_a_batch_of_4096_by_50_000_symbols_takes_a_fraction_of_its_logits():
    head = Head(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4096, 100), (100, 50_000))))
    targets = jax.ShapeDtypeStruct((4096,), jnp.int32)
    weights = jax.ShapeDtypeStruct((4096,), jnp.float32)
    both = jax.value_and_grad(weighted_cross_entropy, has_aux=True)
    compiled = jax.jit(both).lower(head, targets, weights).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4096 * 50_000 * 4 / 5


def test_what_has_weight_0_counts_nothing_even_where_it_is_impossible():
    head, targets, weights = random_case(20, 37, 6)
    head = head._replace(bias=head.bias.at[7].set(-jnp.inf))
    targets = jnp.where(weights == 0, 7, jnp.where(targets == 7, 8, targets))
    (total, nats), gradient = found_by(head, targets, weights, 0.0)
    assert np.isfinite([total, nats]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


MODELS = {
    "direct": mlp(40, 3, 5, 6, "scaled", direct=True),
    "dropout": mlp(40, 3, 5, 6, "scaled", 0.3),
    "gru": gru(40, embed_dim=5, hidden_dim=6),
    "tied": transformer(40, 9, 1, 8, 2),
}


@pytest.mark.parametrize("smoothing", [None, 0.1])
@pytest.mark.parametrize("name", MODELS)
def test_training_by_tiles_has_the_loss_and_the_gradients_of_training_at_once(
    monkeypatch, name, smoothing
):
    model, key = MODELS[name], jax.random.key(3)
    length = model.context or 9
    tokens = GENERATOR.integers(0, 40, (6, length), np.int32)
    targets = GENERATOR.integers(0, 40, (6,) if model.context else (6, 9), np.int32)
    batch = Batch(*map(jnp.asarray, (tokens, targets, GENERATOR.random(targets.shape, np.float32))))
    smooth = None if smoothing is None else jnp.float32(smoothing)

    def both(tile):
        monkeypatch.setattr(large_softmax, "CPU_TILE", tile)

        def objective(params):
            return training_loss(model, params, batch, key=key, label_smoothing=smooth)

        return quick_jit(jax.value_and_grad(objective, has_aux=True))(first_params(model))

    used = []
    monkeypatch.setattr(loss, "is_large", lambda *args: used.append(is_large(*args)) or used[-1])
    assert_trees_close(both(50), both(2**22))
    assert used == [True, False]
