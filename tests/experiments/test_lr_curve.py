"""The curve of a range test: blocks, outliers, the smoother and where it crosses a level."""

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments.lr_curve import (
    check_curve,
    crossings,
    despiked,
    in_blocks,
    robust_std,
    smoothing_matrix,
)

LRS = np.geomspace(1e-3, 1, 1000)


@pytest.mark.parametrize(
    ("lrs", "losses", "untrained", "why"),
    [
        (LRS, np.ones(1000), None, "losses"),
        (LRS, np.ones((2, 999)), None, "losses"),
        (LRS[:9], np.ones((2, 9)), None, "10 rates and 1 seed"),
        (LRS, np.ones((0, 1000)), None, "10 rates and 1 seed"),
        (LRS[::-1], np.ones((2, 1000)), None, "rise"),
        (LRS - LRS[0], np.ones((2, 1000)), None, "above 0"),
        (LRS, np.ones((2, 1000)), np.ones(3), "one loss per seed"),
    ],
)
def test_arrays_that_are_no_curve_are_refused(lrs, losses, untrained, why):
    with pytest.raises(InputError, match=why):
        check_curve(lrs, losses, untrained)


def test_the_smoother_leaves_a_line_as_it_is_whatever_is_left_out():
    x = np.sort(np.random.default_rng(0).uniform(-7, 0, 100))
    used = np.random.default_rng(1).random(100) < 0.7
    line = 2 - 3 * x
    smoother = smoothing_matrix(x, used)
    np.testing.assert_allclose((smoother @ line)[used], line[used], rtol=1e-6)
    assert not smoother[:, ~used].any()
    bent = smoother @ x**2
    assert np.abs(bent - x**2)[used].max() > 1e-3  # and a curve it does bend


def test_blocks_are_means_and_a_step_that_diverged_takes_its_block_along():
    losses = np.arange(800.0).reshape(2, 400)
    losses[1, 7] = np.nan
    x, blocks = in_blocks(np.geomspace(1, 10, 400), losses)
    assert blocks.shape == (2, 200)
    np.testing.assert_allclose(blocks[0], losses[0].reshape(200, 2).mean(1))
    assert np.flatnonzero(np.isinf(blocks[1])).tolist() == [3]
    np.testing.assert_allclose(x, np.log(np.geomspace(1, 10, 400)).reshape(200, 2).mean(1))


def test_a_running_median_removes_one_spike_and_keeps_a_step_a_line_and_what_diverged():
    line = np.array([[1.0, 2, 3, 4, 5], [5.0, 4, 3, 2, 1]])
    np.testing.assert_array_equal(despiked(line), line)
    np.testing.assert_array_equal(despiked(np.array([1.0, 2, 3, np.inf, np.inf]))[3:], np.inf)
    np.testing.assert_array_equal(despiked(np.array([1.0, 9, 1, 1, 5, 5])), [1, 1, 1, 1, 5, 5])
    np.testing.assert_array_equal(despiked(np.array([9.0, 1, 2, 3, 4, -9])), [2, 2, 2, 3, 3, 3])


def test_a_curve_crosses_a_level_between_its_points_and_where_it_explodes():
    x = np.arange(7.0)
    curve = np.array([3.0, 2, 1, 0, 2, np.nan, np.nan])
    for level, left, right in ((0.5, 2.5, 3.25), (2.5, 0.5, 4.5), (1.0, 2.0, 3.5)):
        ends = crossings(x, curve[None], level)
        np.testing.assert_allclose(ends, [[left], [right]])
    left, right = crossings(x, np.stack([curve, np.array([0.0, 1, 2, 3, 4, 5, 6])]), 3.5)
    assert np.isnan(left).all()  # the first begins below, the second at its lowest point
    np.testing.assert_allclose(right, [4.5, 3.5])


def test_the_standard_deviation_is_robust_to_outliers():
    values = np.random.default_rng(0).normal(5, 0.1, 10_000)
    values[:1000] = 1e6
    assert robust_std(values) == pytest.approx(0.1, rel=0.2)
    assert robust_std(values[:0]) == 0.0
