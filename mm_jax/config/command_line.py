"""Choices -> the command line that makes them. Imports no jax."""

import dataclasses
import shlex

from mm_jax.config.base import Choices, flag
from mm_jax.config.data import DataConfig
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import CountConfig, RunConfig


def command_of(config: RunConfig | CountConfig) -> str:
    """Return the command that makes a run of these choices: of a preset, where that is shorter."""
    if isinstance(config, CountConfig):
        model = config.model
        smoothing = getattr(model, "smoothing", model.name)
        command = ["mm-jax", "count", *flags_of(config.data, DataConfig())]
        return shlex.join([*command, "--order", str(model.order), "--smoothing", f"{smoothing}"])
    name = config.model.name
    own = [] if name == RunConfig().model.name else ["--model", name]
    starts = [(own, RunConfig(model=TRAINED[name]()))]
    starts += [
        (["--preset", preset], each.config)
        for preset, each in PRESETS.items()
        if each.config.model.name == name
    ]
    ways = [begin + flags_of(config, base) for begin, base in starts]
    sayable = [way for way in ways if not {"None", "False"} & {*way}]  # no flag takes back a choice
    return shlex.join(["mm-jax", "train", *min(sayable, key=len)])


def flags_of(config: Choices, base: Choices) -> list[str]:
    """Return the flags that turn the choices ``base`` into ``config``."""
    flags = []
    for field in dataclasses.fields(config):
        value, default = getattr(config, field.name), getattr(base, field.name)
        if isinstance(value, Choices):
            flags += flags_of(value, default)
        elif value != default:
            flags += [flag(field.name)] if value is True else [flag(field.name), str(value)]
    return flags
