import dataclasses

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import MLPConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.experiments.search_space import read_axis
from mm_jax.experiments.settings import choose_settings, members_of

CONFIG = RunConfig(model=MLPConfig(embed_dim=4, init="scaled"), seed=5, seeds=2)
VARIED = (("hidden_dim", "8,16"), ("context", "2,3"))
SEARCH = SearchConfig(CONFIG, tuple(read_axis(CONFIG, name, text) for name, text in VARIED))
V = 15


def num_params(hidden, context):
    """Of the lecture's MLP: the table, two matrices and their biases."""
    return V * 4 + (4 * context + 1) * hidden + (hidden + 1) * V


def chosen(**changes):
    settings = choose_settings(SEARCH._replace(**changes), V)
    return [tuple(setting.changes.values()) for setting in settings]


def test_the_settings_are_the_choices_with_each_combination_of_values():
    settings = choose_settings(SEARCH, V)
    pairs = [(8, 2), (8, 3), (16, 2), (16, 3)]
    assert chosen() == pairs
    assert [(each.config.model.hidden_dim, each.config.model.context) for each in settings] == pairs
    assert {dataclasses.replace(each.config, model=CONFIG.model) for each in settings} == {CONFIG}


def test_settings_with_more_parameters_are_left_out():
    most = num_params(16, 2)
    assert chosen(max_params=most) == [(8, 2), (8, 3), (16, 2)]
    assert chosen(max_params=most - 1) == [(8, 2), (8, 3)]
    with pytest.raises(InputError, match="no setting has at most --max-params 100 parameters"):
        chosen(max_params=100)


def test_too_few_settings_cannot_be_halved():
    assert len(chosen(halvings=2)) == 4
    with pytest.raises(InputError, match="4 settings cannot be halved 3 times"):
        chosen(halvings=3)


def test_members_are_the_seeds_of_each_setting_in_turn():
    members = members_of(choose_settings(SEARCH, V)[:2])
    assert [(each.seed, each.seeds) for each in members] == [(5, 1), (6, 1)] * 2
    assert [each.model.context for each in members] == [2, 2, 3, 3]
