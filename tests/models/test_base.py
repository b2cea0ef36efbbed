"""The two ways to build a Model: from a window, and from a recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.models.base import num_params, scanned, windowed
from tests.helpers import quick_jit

TABLE = np.random.default_rng(0).standard_normal((4, 4, 5)).astype(np.float32)
PARAMS = {"table": jnp.asarray(TABLE)}
ROW = np.array([0, 3, 1, 2, 2], np.int32)


def predict(params, windows):
    return params["table"][windows[..., 0], windows[..., 1]]


def test_a_window_slides_over_the_row_oldest_symbol_first():
    model = windowed(lambda _key: PARAMS, predict, 2)
    logits = quick_jit(model.apply)(PARAMS, ROW)
    np.testing.assert_array_equal(logits, TABLE[ROW[:-1], ROW[1:]])
    many = quick_jit(model.apply)(PARAMS, np.stack([[ROW, ROW[::-1]]]))
    assert many.shape == (1, 2, 4, 5)
    np.testing.assert_array_equal(many[0, 1], TABLE[ROW[::-1][:-1], ROW[::-1][1:]])


def test_step_reads_the_symbols_after_boundaries():
    model = windowed(lambda _key: PARAMS, predict, 2)
    carry, step = model.start(PARAMS), quick_jit(model.step)
    for before, token in zip([0, *ROW], ROW, strict=False):
        carry, logits = step(PARAMS, carry, jnp.int32(token))
        np.testing.assert_array_equal(logits, TABLE[before, token])


@pytest.mark.parametrize("has_parts", [False, True])
def test_optional_parts_slide_too_and_are_none_where_they_are_not_given(has_parts):
    def predict_train(params, windows, key):
        return predict(params, windows) + jax.random.uniform(key)

    def hidden(params, windows):
        return {"sum": 1.0 * windows.sum(-1, keepdims=True)}

    parts = {"predict_train": predict_train, "hidden": hidden} if has_parts else {}
    model = windowed(lambda _key: PARAMS, predict, 2, **parts)
    if not has_parts:
        assert model.apply_train is model.hidden is None
        return
    key = jax.random.key(0)
    noisy = quick_jit(model.apply_train)(PARAMS, ROW, key)
    np.testing.assert_allclose(noisy - TABLE[ROW[:-1], ROW[1:]], jax.random.uniform(key), rtol=1e-5)
    hidden_sums = model.hidden(PARAMS, jnp.asarray(ROW))
    assert hidden_sums["sum"].tolist() == (ROW[:-1] + ROW[1:])[:, None].tolist()


def test_a_recurrence_is_scanned_along_each_row_from_its_start():
    model = scanned(
        lambda _key: {},
        lambda _params: jnp.int32(0),
        lambda _params, total, token: (total + token, jnp.stack([1.0 * (total + token), token])),
        max_len=9,
    )
    logits = quick_jit(model.apply)({}, np.stack([ROW, ROW]))
    assert (model.context, model.lead, model.max_len) == (None, 1, 9)
    for row in np.asarray(logits):
        np.testing.assert_array_equal(row, np.stack([np.cumsum(ROW), ROW], 1))


def test_the_number_of_parameters_is_that_of_all_leaves():
    assert num_params({"a": jnp.zeros((2, 3)), "b": {"c": jnp.zeros(4), "d": jnp.zeros(())}}) == 11
