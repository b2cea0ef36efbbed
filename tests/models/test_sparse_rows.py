"""Symbols of sparse rows, found one by one; and arrays of a file that are not what they should."""

import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.models.sparse_rows import find_symbol, unusable_arrays
from tests.helpers import quick_jit

ROWS = [[1, 4, 6], [], [0], [0, 1, 2, 3, 4, 5, 6], []]
V = 7


def test_each_symbol_is_found_in_the_rows_that_have_it():
    first = jnp.asarray(np.cumsum([0, *map(len, ROWS)]), jnp.int32)
    symbols = jnp.asarray([each for row in ROWS for each in row], jnp.int32)
    row, symbol = (jnp.asarray(grid, jnp.int32) for grid in np.indices((len(ROWS), V)))
    place, occurs = quick_jit(lambda *args: find_symbol(*args, V))(first, symbols, row, symbol)
    expected = [[each in known for each in range(V)] for known in ROWS]
    assert np.asarray(occurs).tolist() == expected
    assert (np.asarray(symbols)[np.asarray(place)[occurs]] == np.asarray(symbol)[occurs]).all()
    assert (np.asarray(place)[occurs] >= np.asarray(first)[np.asarray(row)[occurs]]).all()


GOOD = {"a": np.array([0, 2], np.int32), "b": np.float32([0.5])}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, None),
        ({"a": np.array([0, 3], np.int32)}, "a has a number out of its range"),
        ({"a": np.array([-1, 2], np.int32)}, "a has a number out of its range"),
        ({"a": np.array([0, 2])}, "a is int64[2], should be int32[2]"),
        ({"b": np.float32([1, 2])}, "b is float32[2], should be float32[1]"),
        ({"b": np.float32([np.inf])}, "b is not finite"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(changed, problem):
    dtypes, shapes = {"a": np.int32, "b": np.float32}, {"a": (2,), "b": (1,)}
    assert unusable_arrays(GOOD | changed, dtypes, shapes, {"a": 3}) == problem
