"""Where the valley of a curve is: noise-free curves whose every crossing has a closed form."""

import math

import numpy as np
import pytest

from mm_jax.experiments.lr_curve import in_blocks
from mm_jax.experiments.lr_valley import find_regions, find_valley, measure, rounded

LRS = np.geomspace(1e-3, 1e3, 2000)
Z = np.log10(LRS)
BEST = 10**-0.5
CURVE = 3 - np.exp(-0.5 * ((Z + 0.5) / 0.5) ** 2)  # from 3 to 2 and up again


def blocks_of(curve, num_seeds=3, untrained=None):
    losses = np.tile(curve, (num_seeds, 1))
    known = None if untrained is None else np.full(num_seeds, untrained)
    return measure(LRS, *in_blocks(LRS, losses), known)


def test_the_bottom_and_the_drop_are_those_of_the_curve():
    blocks = blocks_of(CURVE)
    valley = find_valley(blocks)
    assert blocks.untrained == blocks.first == pytest.approx(3.0, abs=1e-3)
    assert np.exp(blocks.x[valley.bottom]) == pytest.approx(BEST, rel=0.05)
    assert valley.lowest == pytest.approx(2.0, abs=0.03)  # the smoother fills it a little
    assert valley.drop == pytest.approx(blocks.untrained - valley.lowest)
    assert valley.drop > valley.unclear_drop


def test_losses_before_training_are_taken_where_they_are_given():
    blocks = blocks_of(CURVE, untrained=5.0)
    assert (blocks.untrained, blocks.unlearned) == (5.0, 5.0)
    assert blocks.first == pytest.approx(3.0, abs=1e-3)
    assert find_valley(blocks).drop == pytest.approx(3.0, abs=0.03)


def test_regions_are_symmetric_about_the_middle_and_nested():
    blocks = blocks_of(CURVE)
    regions = find_regions(blocks, find_valley(blocks))
    middle = (regions.left + regions.right) / 2
    assert math.exp(middle) == pytest.approx(BEST, rel=0.01)
    assert regions.left_wall <= regions.left < regions.right <= regions.right_wall
    assert regions.too_low < math.exp(regions.left_wall)
    assert regions.too_high > math.exp(regions.right_wall)
    assert regions.explodes is None


def test_what_is_far_above_the_untrained_loss_has_exploded_from_there_on():
    for exploding in (np.nan, 1e9):
        blocks = blocks_of(np.where(LRS < 30, CURVE, exploding))
        regions = find_regions(blocks, find_valley(blocks))
        assert regions.explodes == pytest.approx(30, rel=0.05)
        assert np.isnan(find_valley(blocks).curve.smooth[np.exp(blocks.x) > 32]).all()


def test_a_side_that_is_missing_has_no_wall():
    falling = blocks_of(3 - 0.1 * (Z - Z[0]))
    assert math.isnan(find_regions(falling, find_valley(falling)).right_wall)
    rising = blocks_of(3 + 0.1 * (Z - Z[0]), untrained=4.0)
    assert math.isnan(find_regions(rising, find_valley(rising)).left_wall)


def test_noise_is_measured_by_what_no_line_explains():
    noise = 0.05 * np.random.default_rng(0).standard_normal((1, len(LRS)))
    blocks = measure(LRS, *in_blocks(LRS, CURVE + noise), None)
    assert blocks.noise == pytest.approx(0.05 / math.sqrt(10), rel=0.3)  # ten rates a block


def test_rates_have_three_digits():
    assert rounded(math.log(0.123456)) == 0.123
    assert rounded(math.log(98765)) == 98800.0
