"""The suggestion for curves whose best rate is known, and the refusal of those without one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.experiments.lr_suggestion import loss_limits, suggest

LRS = np.geomspace(1e-3, 1, 1000)


def valley(best, lrs=LRS, num_seeds=16, noise=0.1, seed=0):
    """Losses that fall from 3 to 2 and rise again, symmetric in log rate about ``best``."""
    curve = 3 - np.exp(-0.5 * (np.log10(lrs / best) / 0.5) ** 2)
    generator = np.random.default_rng(seed)
    return curve + noise * generator.standard_normal((num_seeds, len(lrs)))


@settings(max_examples=20)
@given(st.floats(0.01, 0.1), st.integers(1, 20), st.sampled_from([50, 64, 300, 1000, 1234]))
def test_a_symmetric_valley_is_found_in_its_middle(best, num_seeds, num):
    lrs = np.geomspace(1e-3, 1, num)
    found = suggest(lrs, valley(best, lrs, num_seeds, noise=0.02), np.full(num_seeds, 3.0))
    assert found.lr == pytest.approx(best, rel=0.15)
    assert found.floor[0] < found.lr < found.floor[1]
    assert str(round(found.curve.smooth[np.isfinite(found.curve.smooth)].min(), 1)) in found.reason


def test_the_result_does_not_depend_on_the_units_of_the_loss_and_follows_those_of_the_rate():
    losses = valley(0.05)
    found = suggest(LRS, losses)
    assert suggest(LRS, 1000 * losses + 7).lr == found.lr
    assert suggest(LRS * 1000, losses).lr == pytest.approx(1000 * found.lr, rel=0.01)
    assert suggest(LRS, losses[::-1]).lr == found.lr
    again = suggest(LRS, losses)
    assert (again.lr, again.interval, again.reason) == (found.lr, found.interval, found.reason)


@pytest.mark.parametrize("spike", [1e3, -1e3, np.nan, np.inf])
def test_what_happens_to_single_seeds_and_at_the_very_first_rates_counts_for_nothing(spike):
    losses = valley(0.05)
    plain = suggest(LRS, losses).lr
    early, single = losses.copy(), losses.copy()
    early[:, :2] = spike
    generator = np.random.default_rng(1)
    single[generator.integers(16, size=30), generator.integers(1000, size=30)] = spike
    assert suggest(LRS, early).lr == pytest.approx(plain, rel=0.02)
    assert suggest(LRS, single).lr == pytest.approx(plain, rel=0.1)


def test_rates_that_diverge_are_a_wall_and_the_fit_does_not_see_them():
    losses = valley(0.05)
    cliff = np.where(LRS < 0.3, losses, np.nan)
    huge = np.where(LRS < 0.3, losses, 1e6)
    plain = suggest(LRS, losses)
    assert plain.explodes is None
    for exploding in (cliff, huge):
        found = suggest(LRS, exploding)
        assert found.lr == pytest.approx(plain.lr, rel=0.02)
        assert found.explodes == pytest.approx(0.3, rel=0.05)
        assert np.isnan(found.curve.smooth[found.curve.lrs > 0.32]).all()
    few = losses.copy()
    few[:5, LRS > 0.1] = np.nan  # fewer than half of the seeds
    assert suggest(LRS, few).lr == pytest.approx(plain.lr, rel=0.1)


def test_a_falling_curve_that_ends_in_a_cliff_has_its_floor_before_the_cliff():
    falling = (
        3 - np.log10(LRS / LRS[0]) + 0.01 * np.random.default_rng(0).standard_normal((8, 1000))
    )
    found = suggest(LRS, np.where(LRS < 0.2, falling, np.inf))
    assert 0.1 < found.lr < 0.2


REFUSED = {
    "half of the seeds diverge at every rate": np.full((4, 1000), np.nan),
    "diverges at the lowest rate": np.where(LRS < 0.5, np.inf, 3.0) + np.zeros((4, 1)),
    "or soon after it": np.where(LRS < 1.08e-3, 3.0, np.inf) + np.zeros((4, 1)),
    "is flat": np.full((4, 1000), 3.0),
    "the curve is flat": 3 + 0.1 * np.random.default_rng(0).standard_normal((4, 1000)),
    "and only rises from there": 3 + 5 * np.log10(LRS / LRS[0]) + np.zeros((4, 1)),
    "lowest at the lowest rate": 3 * (LRS / LRS[0]) ** 3 + np.zeros((4, 1)),
    "not risen again at the highest rate": 3 - np.log10(LRS / LRS[0]) + np.zeros((4, 1)),
}


@pytest.mark.parametrize(("why", "losses"), REFUSED.items(), ids=REFUSED.keys())
def test_a_curve_without_a_valley_is_refused_with_the_reason_and_what_to_do(why, losses):
    found = suggest(LRS, losses)
    assert found.lr is None
    assert found.interval is None
    assert why in found.reason
    assert any(word in found.reason for word in ("lower --min", "raise --max", "widen --min"))


def test_of_a_grid_the_lowest_rate_may_already_learn_and_is_then_refused_as_an_edge():
    lrs = np.geomspace(1e-3, 1, 64)
    rising = 2 + np.log10(lrs / lrs[0]) + np.zeros((4, 1))
    found = suggest(lrs, rising, np.full(4, 10.0), sweep=False)
    assert found.lr is None
    assert "lowest at the lowest rate" in found.reason


def test_where_every_rate_makes_a_trained_model_worse_the_reason_does_not_speak_of_divergence():
    lrs, generator = np.geomspace(1e-3, 1, 64), np.random.default_rng(0)
    worse = 2.1 + np.log10(lrs / lrs[0]) + 0.01 * generator.standard_normal((4, 64))
    assert "only rises" in suggest(lrs, worse, untrained=np.full(4, 2.0)).reason
    same = 2.1 + 0.01 * generator.standard_normal((4, 64))
    assert "flat" in suggest(lrs, same, untrained=np.full(4, 2.0)).reason


@pytest.mark.parametrize("num_seeds", [1, 16])
def test_a_curve_that_falls_and_then_stays_has_no_valley_however_the_noise_falls(num_seeds):
    falls = 5 + np.maximum(-2 - np.log10(LRS), 0.0)
    for seed in range(20):
        noise = 0.3 * np.random.default_rng(seed).standard_normal((num_seeds, len(LRS)))
        assert suggest(LRS, falls + noise).lr is None


def test_a_plateau_between_two_walls_is_said_to_be_one_or_the_seeds_not_to_agree():
    lrs = np.geomspace(1e-4, 1e2, 1000)
    z = np.log10(lrs)
    plateau = 5 + np.maximum(-2 - z, 0) + 2 * np.maximum(z - 1, 0)
    noise = np.random.default_rng(0).standard_normal((8, 1000))
    clear = suggest(lrs, plateau + 0.001 * noise)
    assert 0.01 < clear.floor[0] < 0.02
    assert 5 < clear.floor[1] < 10
    assert clear.lr == pytest.approx(10**-0.5, rel=0.3)
    noisy = suggest(lrs, plateau + 0.3 * noise)
    assert noisy.lr is None
    assert "the seeds do not agree" in noisy.reason


def test_a_sweep_has_to_begin_untrained_and_a_grid_has_not():
    losses = valley(0.03, noise=0.02)
    high = np.full(16, 8.0)  # the curve begins at 3 and falls to 2
    refused = suggest(LRS, losses, high)
    assert refused.lr is None
    assert "goes from 8 to " in refused.reason
    assert suggest(LRS, losses, high, sweep=False).lr == pytest.approx(0.03, rel=0.1)


def test_no_more_is_told_than_the_rates_that_were_tested_can_tell():
    lrs = np.geomspace(1e-3, 1, 12)
    found = suggest(lrs, valley(0.03, lrs, noise=1e-4), np.full(16, 3.0), sweep=False)
    spacing = lrs[1] / lrs[0]
    for low, high in (found.floor, found.interval):
        assert high / low >= 0.99 * spacing


@pytest.mark.parametrize("num_seeds", [1, 4, 16])
def test_noise_alone_is_never_taken_for_a_valley(num_seeds):
    generator = np.random.default_rng(num_seeds)
    for num in (64, 1000):
        for _ in range(50):
            noise = 3 + generator.uniform(0.01, 1) * generator.standard_normal((num_seeds, num))
            assert suggest(np.geomspace(1e-3, 1, num), noise).lr is None


def test_the_interval_holds_the_rate_that_all_seeds_would_give_and_shrinks_with_more_of_them():
    held, widths = 0, {4: [], 32: []}
    for draw in range(12):
        for num_seeds, found in widths.items():
            low, high = suggest(
                LRS, valley(0.05, num_seeds=num_seeds, noise=0.5, seed=draw)
            ).interval
            found.append(np.log(high / low))
            held += (num_seeds == 32) * (low <= 0.05 <= high)
    assert held >= 8  # of a 90% interval, of 12
    assert np.mean(widths[32]) < 0.8 * np.mean(widths[4])


def test_the_floor_is_what_is_within_a_thousandth_of_the_drop_or_within_the_noise():
    """1 - exp(-z**2 / 2) = 0.001 at z = 0.0447, 0.0224 decades of this valley."""
    low, high = suggest(LRS, valley(0.03, noise=0.0), np.full(16, 3.0)).floor
    assert high / low == pytest.approx(10 ** (2 * 0.0224), rel=0.05)
    wide = suggest(LRS, valley(0.03, noise=0.5)).floor
    assert wide[1] / wide[0] > 1.3 * high / low


def test_one_seed_has_no_interval_and_says_so():
    found = suggest(LRS, valley(0.05, num_seeds=1, noise=0.02))
    assert found.lr == pytest.approx(0.05, rel=0.2)
    assert found.interval is None
    assert "one seed" in found.reason


def test_the_regions_begin_where_half_of_the_drop_is_missing_and_15_percent_are_lost_again():
    found = suggest(LRS, valley(0.03, noise=0.0), untrained=np.full(16, 3.0))
    halved = 0.03 * 10 ** (-0.5 * np.sqrt(2 * np.log(2)))  # exp(-z**2 / 2) = 1/2
    lost = 0.03 * 10 ** (0.5 * np.sqrt(-2 * np.log(0.85)))
    assert found.too_low == pytest.approx(halved, rel=0.05)
    assert found.too_high == pytest.approx(lost, rel=0.05)
    assert found.explodes is None


def test_a_figure_shows_the_valley_and_not_what_lies_far_above_it():
    losses = valley(0.05, noise=0.0)
    found = suggest(LRS, np.where(LRS < 0.3, losses, 1e6))
    low, high = loss_limits(losses, found)
    assert low == pytest.approx(2.0, abs=0.01)
    assert 2.99 < high < 3.51  # from 3, where it begins, half of the drop upwards at most
    nothing = np.full((2, 1000), np.nan)
    assert loss_limits(nothing, suggest(LRS, nothing)) == (0.0, 1.0)
