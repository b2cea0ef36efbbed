import dataclasses
import math

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.experiments.grouping import group_members
from mm_jax.experiments.population_loop import Rung, open_checkpoints, train_members
from mm_jax.population import scheduler
from mm_jax.runs.population_checkpoints import PopulationCheckpoints
from tests.experiments.small_population import STEPS, Recorder, config, dataset, trained_alone
from tests.helpers import assert_trees_close, assert_trees_identical

MIX = [
    config(),
    config(0.3, hidden=12, dropout=0.3, label_smoothing=0.1, average_decay=0.9),
    config(0.3, seed=1, data_seed=9),
    config(0.01, optimizer="adamw", regularization=0.1, init_scale=0.5),
]
THREE = [config(rate, seed=i) for i, rate in enumerate((0.1, 0.2, 0.3))]


@pytest.fixture(scope="module")
def trained():
    return train_members(MIX, group_members(MIX, dataset()))


@pytest.fixture(scope="module")
def three():
    """The members of THREE, each trained by itself, and what an observer heard."""
    observer = Recorder()
    return train_members(THREE, group_members(THREE, dataset()), observer=observer), observer


@pytest.mark.parametrize("i", [1, 2, 3])
def test_a_member_is_its_single_run_bit_for_bit(trained, i):
    params, dev_loss = trained_alone(MIX[i])
    assert_trees_identical(trained[i].params, params)
    assert trained[i].dev_loss == dev_loss
    assert (trained[i].steps, trained[i].config) == (STEPS, MIX[i])
    assert [line["step"] for line in trained[i].lines] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("members", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_larger_slices_train_the_same_members_to_rounding(three, members):
    groups = group_members(THREE, dataset(), members_per_slice=members)
    assert [group.plan.members for group in groups] == [members]
    together = train_members(THREE, groups)
    for i in range(3):
        assert_trees_close(together[i].params, three[0][i].params)
        assert together[i].dev_loss == pytest.approx(three[0][i].dev_loss, abs=1e-6)


def test_progress_counts_the_steps_of_all_members(three):
    assert three[1].steps == [STEPS, 2 * STEPS, 3 * STEPS]


@pytest.mark.parametrize("members", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_resuming_equals_not_stopping(members):
    """With dropout, an average, adam's moments, a schedule: all of a state is kept."""
    configs = [
        config(rate, seed=i, optimizer="adam", dropout=0.2, average_decay=0.9)
        for i, rate in enumerate((0.01, 0.02, 0.03))
    ]
    groups = group_members(configs, dataset(), members_per_slice=members)
    whole = train_members(configs, groups)
    checkpoints, observer = PopulationCheckpoints(), Recorder()
    half = train_members(configs, groups, rung=Rung(lambda _: 11), checkpoints=checkpoints)
    assert {member.steps for member in half.values()} == {11}
    rung = Rung(start_step=lambda _: 11, ids={0, 2})
    resumed = train_members(configs, groups, rung=rung, checkpoints=checkpoints, observer=observer)
    assert sorted(resumed) == [0, 2]
    assert observer.steps[-1] == 2 * (STEPS - 11)  # those of this rung
    for i in resumed:
        assert_trees_identical(resumed[i].params, whole[i].params)
        assert resumed[i].lines == whole[i].lines
        assert resumed[i].steps == STEPS


def test_what_was_stopped_is_resumed_from_its_checkpoint_and_what_ended_is_not_trained_again(
    three, tmp_path, monkeypatch
):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 10)
    groups = group_members(THREE, dataset(), members_per_slice=1)
    groups = [group._replace(plan=group.plan._replace(workers=1)) for group in groups]
    arguments = tmp_path, THREE, dataset(), CheckpointConfig()
    checkpoints, stopping = open_checkpoints(*arguments, Recorder()), Recorder(patience=4)
    # asked before a member, after 10 and 20 of its 24 steps, before the next, after 10 of its
    stopped = train_members(THREE, groups, checkpoints=checkpoints, observer=stopping)
    assert sorted(stopped) == [0]
    assert stopping.messages == []
    observer = Recorder()
    checkpoints = open_checkpoints(*arguments, observer)
    assert observer.messages == ["resumed    34 steps of members are taken already"]
    resumed = train_members(THREE, groups, checkpoints=checkpoints, observer=observer)
    # restored steps are counted with the first steps after them
    assert observer.steps == [24 + 20, 24 + 24, 24 + 24 + 10, 24 + 24 + 20, 3 * 24]
    for i in range(3):
        assert_trees_identical(resumed[i].params, three[0][i].params)
        assert resumed[i].lines == three[0][i].lines
        assert resumed[i].dev_loss == three[0][i].dev_loss


def test_checkpoints_are_saved_as_often_as_was_asked_for(monkeypatch):
    monkeypatch.setattr(scheduler, "chunk_length", lambda *_: 4)
    checkpoints, steps = PopulationCheckpoints(), []
    save = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda each: (steps.append(each.step), save(each)))
    one = [config()]
    every_8 = CheckpointConfig(checkpoint_every=8)
    groups = group_members(one, dataset())
    train_members(one, groups, checkpoints=checkpoints, checkpoint_config=every_8)
    assert steps == [8, 16, STEPS]


def test_damaged_checkpoints_are_a_warning_or_with_strict_an_error(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "members-0000000024-000000.safetensors").write_bytes(b"no checkpoint")
    observer = Recorder()
    checkpoints = open_checkpoints(tmp_path, THREE, dataset(), CheckpointConfig(), observer)
    assert checkpoints.is_empty
    assert observer.messages == []
    [warning] = observer.warnings
    assert warning.endswith("; its members are trained again")
    strict = CheckpointConfig(resume=True, strict=True)
    with pytest.raises(InputError, match=r"members-0000000024-000000.safetensors is damaged"):
        open_checkpoints(tmp_path, THREE, dataset(), strict, observer)


def test_what_is_kept_of_a_member_is_up_to_the_caller():
    one = [config()]
    kept = train_members(one, group_members(one, dataset()), keep=lambda *each: each)
    [(number, member)] = kept.values()
    assert number == 0
    assert member.config == one[0]


def test_a_member_that_diverges_is_not_finite_and_spoils_no_other():
    # The decay makes the second one overflow, however XLA adds up: W (1 - 1e27) at a step.
    configs = [config(rate, seed=i, weight_decay=1e-3) for i, rate in enumerate((0.1, 1e30))]
    members = train_members(configs, group_members(configs, dataset(), members_per_slice=2))
    assert [members[i].is_finite for i in range(2)] == [True, False]
    assert math.isfinite(members[0].dev_loss)
    assert np.isfinite(members[0].params["W1"]).all()


def test_the_test_split_is_not_used(monkeypatch):
    used = []
    examples = type(dataset()).examples

    def noting(self, split, *args):
        used.append(split)
        return examples(self, split, *args)

    monkeypatch.setattr(type(dataset()), "examples", noting)
    one = dataclasses.replace(config(), seed=7)
    train_members([one], group_members([one], dataset()))
    assert set(used) == {"train", "dev"}
