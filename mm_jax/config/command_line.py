"""Choices -> the command line that gives them. Imports no jax."""

import dataclasses
import shlex

from mm_jax.config.base import Choices, flag
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MixtureConfig, NgramConfig
from mm_jax.config.presets import PRESETS, default_run
from mm_jax.config.training import AnyConfig, CountConfig, MixConfig, RunConfig


def command_of(config: AnyConfig) -> str:
    """Return the shortest command that makes a run of these choices, from a preset or not."""
    if isinstance(config, CountConfig):
        model = config.model
        command = ["mm-jax", "count", *flags_of(config.data, DataConfig())]
        named = ["--model", model.name]
        if isinstance(model, NgramConfig):
            named = ["--smoothing", f"{model.smoothing}"]
        return shlex.join([*command, *named, "--order", str(model.order)])
    if isinstance(config, MixConfig):
        kind = flags_of(config.model, MixtureConfig())
        held_out = [] if config.held_out is None else ["--held-out", config.held_out]
        fixed = config.fixed_weights
        given = [] if fixed is None else ["--fixed-weights", ",".join(map(str, fixed))]
        return shlex.join(["mm-jax", "mix", *config.paths, *kind, *held_out, *given])
    name = config.model.name
    model_flags = [] if name == RunConfig().model.name else ["--model", name]
    bases = [(model_flags, default_run(name))]
    bases += [
        (["--preset", preset_name], preset.config)
        for preset_name, preset in PRESETS.items()
        if preset.config.model.name == name
    ]
    candidates = [first + flags_of(config, base) for first, base in bases]
    # No flag sets a choice back to None or False.
    possible = [flags for flags in candidates if not {"None", "False"} & {*flags}]
    return shlex.join(["mm-jax", "train", *min(possible, key=len)])


def flags_of(config: Choices, base: Choices) -> list[str]:
    """Return the flags that turn the choices ``base`` into ``config``.

    >>> flags_of(DataConfig(split="unique"), DataConfig())
    ['--split', 'unique']
    """
    flags = []
    for field in dataclasses.fields(config):
        value, default = getattr(config, field.name), getattr(base, field.name)
        if isinstance(value, Choices):
            flags += flags_of(value, default)
        elif value != default:
            flags += [flag(field.name)] if value is True else [flag(field.name), str(value)]
    return flags
