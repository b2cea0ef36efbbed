import shlex

import jax
import pytest

from mm_jax.cli.commands import sweep
from mm_jax.cli.parsing import parse_options
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import RunConfig
from mm_jax.experiments.settings import choose_settings
from mm_jax.models.base import num_params
from mm_jax.models.registry import build_model

FOUND = {name: preset for name, preset in PRESETS.items() if preset.found_by}


def size(config):
    model = build_model(config.model, 27)
    return num_params(jax.eval_shape(model.init, jax.random.key(0)))


def test_the_small_preset_keeps_its_bound():
    assert 11_000 < size(PRESETS["small"].config) <= 12_000
    assert PRESETS["lecture"].config == RunConfig()


@pytest.mark.parametrize("name", FOUND)
def test_the_command_that_found_a_preset_draws_its_setting(name):
    """Among the settings of the sweep is the preset, but for its steps."""
    words = shlex.split(FOUND[name].found_by)
    assert words[:2] == ["mm-jax", "sweep"]
    options = parse_options(sweep, "mm-jax sweep", words[2:])
    settings = choose_settings(sweep.search_config_of(options), 27)
    drawn = [(setting.config.model, setting.config.optimizer) for setting in settings]
    config = FOUND[name].config
    assert (config.model, config.optimizer) in drawn
    assert config.batch_size == options.config.batch_size
