import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import MLPConfig
from mm_jax.models.base import num_params
from mm_jax.models.layers import dropout
from mm_jax.models.mlp import mlp
from mm_jax.models.registry import build_model
from tests.helpers import V, as64, assert_trees_close, first_params, mlp64, quick_jit


@pytest.mark.parametrize(
    ("embed_dim", "hidden_dim", "count"), [(2, 100, 3_481), (10, 200, 11_897), (2, 300, 10_281)]
)
def test_the_number_of_parameters_is_the_lectures(embed_dim, hidden_dim, count):
    model = mlp(V, 3, embed_dim, hidden_dim)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert num_params(shapes) == count
    assert {name: leaf.shape for name, leaf in shapes.items()} == {
        "C": (V, embed_dim),
        "W1": (3 * embed_dim, hidden_dim),
        "b1": (hidden_dim,),
        "W2": (hidden_dim, V),
        "b2": (V,),
    }


@pytest.mark.parametrize(
    ("layers", "direct", "count"),
    # Bengio et al. (2003), section 2: |V|(1 + nm + h) + h(1 + (n - 1)m), nm counting C and W.
    [(1, True, V * (1 + 5 * 6 + 7) + 7 * (1 + 4 * 6)), (0, False, V * (1 + 5 * 6))],
)
def test_the_number_of_parameters_is_the_papers(layers, direct, count):
    model = mlp(V, 4, 6, 7, layers=layers, direct=direct)
    assert num_params(jax.eval_shape(model.init, jax.random.key(0))) == count


@pytest.mark.parametrize(("context", "direct"), [(1, False), (3, False), (4, False), (3, True)])
def test_the_logits_are_those_of_numpy_in_float64(context, direct):
    model = mlp(V, context, 5, 11, direct=direct)
    params = first_params(model, 1)
    tokens = np.random.default_rng(0).integers(0, V, (40, context), np.int32)
    logits = quick_jit(model.apply)(params, tokens)
    assert logits.shape == (40, 1, V)
    h, expected = mlp64(params, tokens)
    assert_trees_close(np.asarray(logits)[:, 0], expected)
    assert np.abs(h).max() <= 1


def test_a_longer_row_gives_the_logits_of_each_window_in_turn():
    model = mlp(V, 3, 5, 11)
    params = first_params(model, 1)
    row = np.random.default_rng(0).integers(0, V, 9, np.int32)
    by_hand = mlp64(params, [row[i : i + 3] for i in range(7)])[1]
    assert_trees_close(np.asarray(quick_jit(model.apply)(params, row)), by_hand)


def assert_normal(array, deviation):
    """Mean and standard deviation of a large array, within 5 standard errors."""
    array = np.asarray(array, np.float64)
    assert abs(array.mean()) < 5 * deviation / array.size**0.5
    assert abs(array.std() - deviation) < 5 * deviation / (2 * array.size) ** 0.5


def test_the_lectures_init_draws_every_array_from_a_standard_normal():
    params = first_params(mlp(1000, 3, 20, 500, "lecture"))
    for array in params.values():
        assert_normal(array, 1.0)
    flat = np.concatenate([np.ravel(leaf)[:400] for leaf in params.values()])
    assert len(np.unique(flat)) > 1990  # no two arrays from one key


def test_the_scaled_init_keeps_the_variance_and_begins_near_uniform():
    params = first_params(mlp(1000, 3, 20, 500, "scaled"))
    assert_normal(params["C"], 1.0)
    assert_normal(params["W1"], 5 / 3 / 60**0.5)
    assert not params["b1"].any()
    assert not params["b2"].any()
    spread = float(params["W2"].std()) * 500**0.5
    assert 0 < spread < 0.5


def test_another_key_gives_other_parameters():
    model = mlp(V, 3, 2, 4)
    one, other = first_params(model), first_params(model, 1)
    assert all(not np.array_equal(one[name], other[name]) for name in one)


def test_equal_arguments_give_the_same_model_so_that_nothing_is_traced_twice():
    assert mlp(V, 3, 10, 200, "scaled") is mlp(V, 3, 10, 200, "scaled")
    assert mlp(V, 3, 10, 200) is not mlp(V, 3, 10, 100)
    config = MLPConfig(hidden_dim=100)
    assert build_model(config, V) is build_model(MLPConfig(hidden_dim=100), V)


@pytest.mark.parametrize("wrong", [{"context": 0}, {"embed_dim": 0}, {"hidden_dim": -1}])
def test_a_size_below_one_is_refused(wrong):
    with pytest.raises(InputError, match="at least 1"):
        mlp(V, **wrong)


def test_a_net_without_layers_is_log_linear_in_its_embedding():
    model = mlp(V, 3, 5, layers=0)
    params = first_params(model, 1)
    tokens = np.random.default_rng(0).integers(0, V, (40, 3), np.int32)
    p = as64(params)
    expected = p["C"][tokens].reshape(40, -1) @ p["W1"] + p["b1"]
    assert_trees_close(np.asarray(quick_jit(model.apply)(params, tokens))[:, 0], expected)
    assert model.hidden is None


def test_direct_connections_beside_no_layers_are_refused():
    with pytest.raises(InputError, match="leave out direct"):
        mlp(V, layers=0, direct=True)
    with pytest.raises(InputError, match="leave out --direct"):
        MLPConfig(layers=0, direct=True)


def test_an_unknown_init_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="lecture, scaled"):
        mlp(V, init="zeros")


# Dropout


def test_a_training_step_sees_the_net_with_hidden_units_left_out():
    model, key = mlp(V, 3, 5, 11, "lecture", 0.4), jax.random.key(2)
    params = first_params(model, 1)
    tokens = np.random.default_rng(0).integers(0, V, (40, 3), np.int32)
    logits = quick_jit(model.apply_train)(params, tokens, key)
    h, _ = mlp64(params, tokens)
    kept = np.asarray(dropout(key, jnp.ones((40, 1, 11)), 0.4))[:, 0]
    p = as64(params)
    assert_trees_close(np.asarray(logits)[:, 0], (kept * h) @ p["W2"] + p["b2"])
    assert 0.25 < (kept == 0).mean() < 0.55


def test_a_net_in_use_leaves_nothing_out():
    plain, dropping = mlp(V, 3, 5, 11), mlp(V, 3, 5, 11, "lecture", 0.4)
    assert plain.apply_train is None
    params = first_params(plain)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, V, (4, 3), np.int32))
    assert np.array_equal(plain.apply(params, tokens), dropping.apply(params, tokens))
    assert build_model(MLPConfig(dropout=0.4), V) is mlp(V, 3, 10, 200, "lecture", 0.4)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_dropout_rate_that_is_none_is_refused(rate):
    with pytest.raises(InputError, match="dropout_rate must be at least 0 and below 1"):
        mlp(V, 3, 5, 11, "lecture", rate)
