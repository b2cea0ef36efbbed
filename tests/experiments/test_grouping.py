import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments.grouping import (
    common_config,
    group_members,
    member_arrays,
    member_numbers,
    state_initializer,
)
from tests.experiments.small_population import config, dataset

MIX = [
    config(),
    config(0.3, seed=1, data_seed=9, weight_decay=0.1),
    config(0.3, hidden=12, dropout=0.3, label_smoothing=0.1, average_decay=0.9),
    config(0.3, seed=1, data_seed=9),
    config(0.01, optimizer="adamw", regularization=0.1, init_scale=0.5),
]


def test_members_that_differ_in_numbers_alone_are_one_group():
    groups = group_members(MIX, dataset())
    assert [group.ids for group in groups] == [[0, 3], [1], [2], [4]]
    assert groups[0].setup.config == common_config(MIX[0]) == common_config(MIX[3])
    assert common_config(MIX[0]) != common_config(MIX[1])
    # without decay there is nothing of it in the program, whatever the choices call that
    assert common_config(config(weight_decay=0.0)) == common_config(config())
    decays = [config(optimizer="adamw", weight_decay=decay) for decay in (None, 0.3)]
    assert common_config(decays[0]) == common_config(decays[1])


def test_a_member_has_numbers_for_what_its_group_has_and_no_others():
    assert member_numbers(config(0.3)) == {
        "init_scale": 1.0,
        "learning_rate": 0.3,
        "weight_decay": 0.0,
    }
    numbers = member_numbers(MIX[4])
    assert numbers == {
        "init_scale": 0.5,
        "regularization": 0.1,
        "learning_rate": 0.01,
        "weight_decay": 1e-4,  # adamw's own
    }
    assert member_numbers(config(optimizer="lbfgs", full_batch=True)) == {"init_scale": 1.0}


def test_seeds_and_numbers_are_arrays_with_an_axis_of_members():
    arrays = member_arrays([MIX[0], MIX[3]])
    assert arrays["seed"].tolist() == [0, 1]
    assert arrays["data_seed"].tolist() == [0, 9]  # by default the seed orders the data as well
    assert arrays["numbers"]["learning_rate"].tolist() == np.float32([0.1, 0.3]).tolist()


def test_groups_of_equal_choices_are_compiled_once():
    first, again = (group_members([MIX[0]], dataset())[0] for _ in range(2))
    assert first.optimizer is again.optimizer
    assert first.setup.model is again.setup.model
    make = state_initializer(first.setup.model, first.optimizer)
    assert make is state_initializer(again.setup.model, again.optimizer)


def test_slices_have_the_members_that_were_asked_for_or_all_of_a_smaller_group():
    groups = group_members(MIX, dataset(), members_per_slice=2)
    assert [group.plan.members for group in groups] == [2, 1, 1, 1]


def test_what_cannot_be_a_population_is_refused():
    with pytest.raises(InputError, match="there are no members"):
        group_members([], dataset())
    with pytest.raises(InputError, match="--members-per-slice 6 is more than all 5 members"):
        group_members(MIX, dataset(), members_per_slice=6)
