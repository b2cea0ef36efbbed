"""The loss on drawn symbols: chances as promised, the sum of all symbols on average, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mm_jax as mm
from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.batches import Batch
from mm_jax.models.bow import bow
from mm_jax.models.layers import Head
from mm_jax.models.mlp import mlp
from mm_jax.models.recurrent import gru
from mm_jax.training.loss import training_loss
from mm_jax.training.sampled_softmax import (
    TOTAL,
    cumulative_chances,
    draw_symbols,
    sampled_cross_entropy,
    with_sampled_symbols,
)
from tests.helpers import as64, assert_trees_close, first_params, quick_jit

COUNTS = np.array([0, 1, 16, 81, 256, 10_000, 10**6, 10**6])
NUM = 4
GENERATOR = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(1), 20_000)


def shares_of(ends, num):
    return np.diff(ends.astype(np.int64), prepend=0) / (TOTAL // num)


def test_chances_grow_with_the_counts_up_to_1_and_sum_to_the_number_drawn():
    shares = shares_of(cumulative_chances(COUNTS, NUM), NUM)
    np.testing.assert_allclose(shares.sum(), NUM, rtol=1e-12)
    assert shares[6:].tolist() == [1, 1]
    # The power 3/4 of 1, 1, 16, 81, 256 is 1, 1, 8, 27, 64; two of these six are drawn.
    weights = np.array([1, 1, 8, 27, 64, 1000])
    assert shares[5] == 1
    np.testing.assert_allclose(shares[:5], weights[:5] / weights[:5].sum(), rtol=1e-5)


@pytest.mark.parametrize("num", [1, 3, 7])
def test_each_symbol_is_drawn_as_often_as_its_chance_and_once_at_most(num):
    ends = cumulative_chances(COUNTS, num)
    drawn = jax.jit(jax.vmap(lambda key: draw_symbols(key, ends, num)))(KEYS)
    symbols = np.asarray(drawn.symbols)
    assert (np.diff(np.sort(symbols, 1), axis=1) > 0).all()
    shares = shares_of(ends, num)
    found = np.bincount(symbols.ravel(), minlength=len(COUNTS)) / len(KEYS)
    assert (np.abs(found - shares) <= 5 * np.sqrt(shares * (1 - shares) / len(KEYS))).all()
    np.testing.assert_allclose(drawn.log_chances, np.log(shares)[symbols], atol=1e-6)


def test_the_sum_over_the_drawn_symbols_is_that_of_all_on_average():
    head = Head(
        *(jnp.asarray(GENERATOR.normal(size=size), jnp.float32) for size in [(8, 5), (5, 8), (8,)])
    )
    targets = jnp.arange(8)
    ends = cumulative_chances(COUNTS, NUM)

    @jax.jit
    @jax.vmap
    def losses(key):
        return sampled_cross_entropy(head, targets, draw_symbols(key, ends, NUM))

    logits = as64(head.features) @ as64(head.weight) + as64(head.bias)
    sums = np.exp(as64(losses(KEYS)) + np.diag(logits))
    errors = sums.std(0) / len(KEYS) ** 0.5
    assert (np.abs(sums.mean(0) - np.exp(logits).sum(1)) <= 5 * errors).all()
    assert (errors > 0).all()


@pytest.mark.parametrize("bias", [True, False])
def test_the_loss_is_that_of_the_formula_for_windows_and_rows(bias):
    features = jnp.asarray(GENERATOR.normal(size=(2, 3, 5)), jnp.float32)
    weight = jnp.asarray(GENERATOR.normal(size=(5, 8)), jnp.float32)
    b = jnp.asarray(GENERATOR.normal(size=8), jnp.float32) if bias else None
    drawn = draw_symbols(jax.random.key(0), cumulative_chances(COUNTS, NUM), NUM)
    targets = jnp.array([[0, 7, 6], [2, 3, 5]])
    found = sampled_cross_entropy(Head(features, weight, b), targets, drawn)
    assert found.shape == (2, 3)
    logits = as64(features) @ as64(weight) + (as64(b) if bias else 0)
    for place, target in np.ndenumerate(targets):
        own = logits[place][target]
        pairs = zip(np.asarray(drawn.symbols), as64(drawn.log_chances), strict=True)
        others = sum(np.exp(logits[place][i] - chance) for i, chance in pairs if i != target)
        assert found[place] == pytest.approx(np.log(np.exp(own) + others) - own, rel=1e-5)


# Models that learn so


PAIRS = jnp.array([[0, 1, 2, 3], [3, 2, 1, 0]] * 8), jnp.array([4, 5] * 8)
BATCH = Batch(PAIRS[0][:, :3], PAIRS[1], jnp.ones(16))
COUNTS_OF_8 = np.array([2, 9, 9, 9, 40, 40, 3, 1])


@pytest.mark.parametrize("model", [mlp(8, 3, 4, 6, "scaled"), gru(8, embed_dim=4, hidden_dim=6)])
def test_without_a_key_the_loss_of_such_a_model_is_that_of_all_symbols(model):
    sampled = with_sampled_symbols(model, COUNTS_OF_8, 3)
    batch = BATCH if model.context else Batch(*PAIRS[:1], PAIRS[0], jnp.ones((16, 4)))
    params = first_params(model)
    whole = training_loss(model, params, batch)[0]
    assert training_loss(sampled, params, batch)[0] == whole
    with_key = training_loss(sampled, params, batch, key=jax.random.key(0))
    assert with_key[0] == with_key[1] != whole


def test_every_step_draws_anew_and_the_length_of_a_chunk_changes_no_bit():
    model = with_sampled_symbols(mlp(8, 3, 4, 6, "scaled"), COUNTS_OF_8, 3)
    still = mm.make_optimizer(OptimizerConfig(learning_rate=1e-30, schedule="constant"), 10)
    begin = mm.init_state(model, still, jax.random.key(0))
    _, losses = mm.fit(model, still, begin, BATCH, num_steps=10, batch_size=None)
    assert len(set(np.asarray(losses).tolist())) > 2
    chunks = mm.fit_chunks(model, still, begin, BATCH, num_steps=10, batch_size=None, chunk_steps=3)
    assert np.concatenate([part for _, part in chunks]).tolist() == losses.tolist()


def test_members_of_a_population_learn_as_they_would_alone():
    model = with_sampled_symbols(mlp(8, 3, 4, 6, "scaled"), COUNTS_OF_8, 3)
    sgd = mm.make_optimizer(OptimizerConfig(learning_rate=0.5, schedule="constant"), 5)
    keys = jax.random.split(jax.random.key(0), 2)
    together = mm.population.init(model, sgd, keys)
    together, _ = mm.population.fit(model, sgd, together, BATCH, num_steps=5, batch_size=4)
    for i, key in enumerate(keys):
        alone = mm.init_state(model, sgd, key)
        alone, _ = mm.fit(model, sgd, alone, BATCH, num_steps=5, batch_size=4)
        assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), alone.params)


def test_what_is_learned_is_close_to_what_all_symbols_teach():
    """Targets of 40 symbols whose shares are known: the loss comes close to their entropy."""
    shares = np.arange(1, 41) ** -1.0 / np.sum(np.arange(1, 41) ** -1.0)
    targets = jnp.asarray(GENERATOR.choice(40, 4000, p=shares))
    batch = Batch(jnp.zeros((4000, 1), jnp.int32), targets, jnp.ones(4000))
    counts = np.bincount(targets, minlength=40)
    model = mlp(40, 1, 2, 4, "scaled")
    sampled = with_sampled_symbols(model, counts, 8)
    adam = mm.make_optimizer(OptimizerConfig("adam", learning_rate=0.03, schedule="cosine"), 600)
    state = mm.init_state(sampled, adam, jax.random.key(0))
    state, _ = mm.fit(sampled, adam, state, batch, num_steps=600, batch_size=400)
    found = quick_jit(lambda params: mm.loss(model, params, batch))(state.params)
    own = counts[counts > 0] / 4000
    assert found - -np.sum(own * np.log(own)) < 0.01


def test_equal_choices_are_one_model_and_all_symbols_the_model_itself():
    model = mlp(8, 3, 4, 6)
    assert with_sampled_symbols(model, COUNTS, 8) is model
    assert with_sampled_symbols(model, COUNTS, 3) is with_sampled_symbols(model, COUNTS.copy(), 3)
    assert with_sampled_symbols(model, COUNTS, 3) is not with_sampled_symbols(model, COUNTS, 4)


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(
        InputError, match="--sampled-symbols draws columns of a model's last layer, a"
    ):
        with_sampled_symbols(bow(8, 4)._replace(head=None), COUNTS, 3)
    model = mlp(8, 3, 4, 6)
    with pytest.raises(InputError, match="--sampled-symbols must be at least 1 to draw any, not 0"):
        with_sampled_symbols(model, COUNTS, 0)
    with pytest.raises(InputError, match="--label-smoothing reads all symbols: leave --sampled"):
        RunConfig(label_smoothing=0.1, sampled_symbols=3)
    with pytest.raises(InputError, match="label smoothing reads all symbols, and this loss reads"):
        training_loss(
            with_sampled_symbols(model, COUNTS, 3),
            first_params(model),
            BATCH,
            key=jax.random.key(0),
            label_smoothing=jnp.float32(0.1),
        )
