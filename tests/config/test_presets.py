import shlex

import jax
import pytest

from mm_jax.cli.commands.sweep import Options, choose, defaults, prepare
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import RunConfig
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
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    options = defaults({"preset": flags["--preset"]})
    _, more = prepare(words[2:], options)
    number = {"num": int(flags["--num"])}
    if "--max-params" in flags:
        number["max_params"] = int(flags["--max-params"])
    options = Options(config=options.config, preset=flags["--preset"], **more, **number)
    seed = int(flags.get("--seed", 0))
    drawn = [
        (config.model, config.optimizer)
        for _, config in choose(options, RunConfig(**{**vars(options.config), "seed": seed}), 27)
    ]
    config = FOUND[name].config
    assert (config.model, config.optimizer) in drawn
    assert config.batch_size == int(flags.get("--batch-size", config.batch_size))
