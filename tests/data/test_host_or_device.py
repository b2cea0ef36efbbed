"""The same arithmetic with arrays of NumPy and of JAX."""

import jax.numpy as jnp
import numpy as np

from mm_jax.data.host_or_device import module_of, ones, spread


def test_numbers_are_spread_along_one_more_axis():
    numbers = np.array([[10], [20]])
    expected = [[[9, 10, 11]], [[19, 20, 21]]]
    for array in numbers, jnp.asarray(numbers):
        xp = module_of(array)
        assert xp is (np if isinstance(array, np.ndarray) else jnp)
        assert spread(xp, array, -1, 2).tolist() == expected
    assert spread(np, np.array([2**40]), 0, 2).tolist() == [[2**40, 2**40 + 1]]


def test_ones_have_the_shape_of_targets():
    for xp in np, jnp:
        made = ones(xp, xp.zeros((2, 3), xp.int32))
        assert (made.shape, made.dtype) == ((2, 3), np.float32)
        assert np.all(np.asarray(made) == 1)
