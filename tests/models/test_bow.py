"""The bag of words against its equations in float64."""

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import BowConfig
from mm_jax.models.bow import bow
from mm_jax.models.registry import build_model
from tests.helpers import V, as64, assert_trees_close, first_params, moved, quick_jit


def bow64(params, row):
    """Logits of a row, one prediction at a time, each from what came since the boundary."""
    p, logits = as64(params), []
    for place, token in enumerate(row):
        if token == 0:
            begin = place
        xs = [p["C"][row[i]] + p["P"][i - begin] for i in range(begin, place + 1)]
        x = xs[-1] + np.mean(xs, 0)
        x = x + np.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        logits.append(x @ p["W3"] + p["b3"])
    return np.array(logits)


def test_it_computes_its_equations():
    model = bow(V, 6, embed_dim=5, hidden_dim=7)
    params = moved(first_params(model))
    tokens = np.array([[0, 5, 13, 13, 1, 0, 3], [0, 1, 22, 1, 0, 0, 0]], np.int32)
    logits = quick_jit(model.apply)(params, tokens)
    assert_trees_close(logits, np.array([bow64(params, row) for row in tokens]))


def test_the_order_of_what_was_read_reaches_it_through_positions_alone():
    model = bow(V, 6, embed_dim=5, hidden_dim=7)
    params = first_params(model)
    apply, rows = quick_jit(model.apply), np.array([[0, 1, 2, 3], [0, 2, 1, 3]])
    first, second = apply(params, rows)
    assert not np.allclose(first[-1], second[-1])
    first, second = apply(params | {"P": 0 * params["P"]}, rows)
    assert np.allclose(first[-1], second[-1], atol=1e-6)


def test_positions_are_left_to_the_data_or_given():
    assert build_model(BowConfig().for_items(9), V) is bow(V, 9)
    assert build_model(BowConfig(positions=7).for_items(9), V) is bow(V, 7)
    with pytest.raises(InputError, match="positions is None"):
        build_model(BowConfig(), V)
    with pytest.raises(InputError, match="positions, embed_dim and hidden_dim must be at least 1"):
        bow(V, 0)
