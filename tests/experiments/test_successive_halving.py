import itertools
import math

import hypothesis
import hypothesis.strategies as st
import pytest

from mm_jax.experiments.grouping import group_members
from mm_jax.experiments.successive_halving import rungs, search
from tests.experiments.small_population import STEPS, Recorder, config, dataset, trained_alone
from tests.helpers import assert_trees_identical

RATES = [0.003, 0.3, 0.1, 1e30]  # of the settings, of two seeds each
DECAY = 1e-3  # so that the last one overflows, however XLA adds up: W (1 - 1e27) at a step


def searched(observer=None, halvings=0):
    configs = [config(rate, seed=seed, weight_decay=DECAY) for rate in RATES for seed in range(2)]
    groups = group_members(configs, dataset())
    return search(configs, groups, 2, halvings=halvings, observer=observer)


@pytest.fixture(scope="module")
def found():
    return searched()


def test_settings_come_lowest_loss_first_and_diverged_ones_last(found):
    means = [result.spread.mean for result in found.results]
    assert means == sorted(means)
    assert [result.setting for result in found.results] == [1, 2, 0, 3]
    assert means[-1] == math.inf
    assert {result.steps for result in found.results} == {STEPS}
    assert found.complete
    assert found.steps_taken == 2 * 4 * STEPS


def test_the_members_of_the_best_setting_are_kept_and_no_others(found):
    assert [member.config.seed for member in found.best] == [0, 1]
    assert [member.dev_loss for member in found.best] == found.results[0].losses
    params, dev_loss = trained_alone(config(0.3, seed=1, weight_decay=DECAY))
    assert found.best[1].dev_loss == dev_loss
    assert_trees_identical(found.best[1].params, params)


def test_halving_trains_the_better_half_further_and_what_remains_is_the_same(found):
    observer = Recorder()
    halved = searched(observer, halvings=2)
    half, quarter = STEPS // 2, STEPS // 4
    assert [result.steps for result in halved.results] == [STEPS, half, quarter, quarter]
    assert observer.steps[-1] == 2 * (STEPS + half + 2 * quarter) == halved.steps_taken
    assert observer.steps == sorted(observer.steps)
    first = halved.results[0]
    [same] = [result for result in found.results if result.setting == first.setting]
    assert first.losses == same.losses
    [diverged] = [result for result in halved.results if result.setting == 3]
    assert diverged.steps == quarter
    assert halved.complete


def test_what_is_stopped_before_its_end_has_no_result():
    stopped = searched(Recorder(patience=7))
    assert 0 < len(stopped.results) < len(RATES)
    assert all(result.steps == STEPS for result in stopped.results)
    assert not stopped.complete


def test_a_stop_on_a_rung_keeps_what_was_reached():
    stopped = searched(Recorder(patience=7), halvings=1)
    assert stopped.results
    assert {result.steps for result in stopped.results} == {STEPS // 2}
    assert (stopped.best, stopped.complete) == ([], False)


@hypothesis.given(st.integers(1, 1000), st.integers(0, 8))
def test_halving_drops_half_at_each_rung_and_ends_with_all_steps(num, halvings):
    stages = list(rungs(num, halvings))
    assert len(stages) == halvings + 1
    assert stages[0] == (num, 2**halvings)
    assert stages[-1][1] == 1
    for (count, share), (next_count, next_share) in itertools.pairwise(stages):
        assert share == 2 * next_share
        assert next_count == max(1, count // 2)
