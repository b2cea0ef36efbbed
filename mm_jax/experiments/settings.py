"""What a sweep was asked for -> the settings that it compares, and the single runs of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from mm_jax.config.base import InputError
from mm_jax.config.training import RunConfig
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.experiments.search_space import apply_setting, list_settings, seeds_of
from mm_jax.models.base import num_params
from mm_jax.models.registry import build_model


class Setting(NamedTuple):
    """One of the settings that a sweep compares."""

    changes: dict[str, Any]  # the choices that the sweep varies: name -> value
    config: RunConfig  # of all its seeds


def choose_settings(search: SearchConfig, vocab_size: int) -> list[Setting]:
    """Return the settings of a sweep, without those that have too many parameters.

    Raises InputError where a setting has a wrong value, none is left, or too few are to be halved.
    """
    settings = [
        Setting(changes, apply_setting(search.config, search.axes, changes))
        for changes in list_settings(search.axes, search.num, search.config.seed)
    ]
    if search.max_params is not None:
        settings = [
            setting
            for setting in settings
            if _num_params(setting.config, vocab_size) <= search.max_params
        ]
        if not settings:
            raise InputError(
                f"no setting has at most --max-params {search.max_params:,} parameters"
            )
    if search.halvings and len(settings) < 2**search.halvings:
        raise InputError(
            f"{len(settings)} settings cannot be halved {search.halvings} times; lower --halvings"
        )
    return settings


def _num_params(config: RunConfig, vocab_size: int) -> int:
    model = build_model(config.model, vocab_size)
    return num_params(jax.eval_shape(model.init, jax.random.key(0)))


def members_of(settings: Sequence[Setting]) -> list[RunConfig]:
    """Return the runs of all seeds of the first setting, then those of the second, and so on."""
    return [member for setting in settings for member in seeds_of(setting.config)]
