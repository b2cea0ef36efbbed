"""One file a command: its flags as ``Options``, and ``run(options, console) -> Outcome``.

No command imports jax before ``run``, so that --help and a wrong flag are answered at once.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mm_jax.choices import InputError
from mm_jax.config import COUNTED, PRESETS, TRAINED, DataConfig, RunConfig
from mm_jax.text import DATA_SETS, find_data

if TYPE_CHECKING:
    from mm_jax.lr import RangeTest
    from mm_jax.task import Task

NUM_SAMPLES = 20  # lines that are shown and kept with a new run
PRESET_HELP = "Choices to start from; other flags override them. " + " ".join(
    f"{name}: {preset.help}." for name, preset in PRESETS.items()
)


class Outcome(NamedTuple):
    """What a command found, for --json, and how it ended."""

    record: dict[str, Any]
    exit_code: int = 0
    complaint: str | None = None  # one line for stderr where exit_code is not 0


def with_absolute_path(data: DataConfig) -> DataConfig:
    """Return the choices with a data path that holds from any folder."""
    if data.data in DATA_SETS:
        return data
    return dataclasses.replace(data, data=os.path.abspath(find_data(data.data)))


def describe_split(split_lines: list[int], dev_lines_in_train: float) -> str:
    """Say how many lines are in train, dev and test, and how many stand in two of them."""
    if not split_lines[1]:
        return f"all {split_lines[0]:,} lines are for training, none are held out"
    counts = " / ".join(f"{count:,}" for count in split_lines)
    mend = "; see --split unique" if dev_lines_in_train else ""
    return f"{counts} lines ({dev_lines_in_train:.1%} of dev is in train too{mend})"


def choices_of(given: dict[str, str]) -> RunConfig:
    """Return the choices that a --preset and a --model among the ``given`` flags begin with."""
    preset, model = given.get("preset"), given.get("model")
    if preset is not None and preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; there is {', '.join(PRESETS)}")
    if model is not None and model not in TRAINED:
        if model in COUNTED:
            raise InputError(f"{model} is counted, not trained: mm-jax count")
        raise InputError(f"unknown model {model!r}; there is {', '.join(TRAINED)}")
    config = PRESETS[preset].config if preset else RunConfig()
    if model not in (None, config.model.name):
        if preset:
            raise InputError(f"preset {preset} is for --model {config.model.name}, not {model}")
        config = dataclasses.replace(config, model=TRAINED[model]())
    return config


def describe_task(task: "Task") -> Iterator[str]:
    """Say what is learned from what, and where."""
    import jax

    config, devices = task.config, jax.devices()
    yield (
        f"data       {config.data.data}: {len(task.text.lines):,} lines, "
        f"{len(task.vocab)} symbols, {task.text.num_blank:,} blank lines dropped"
    )
    yield f"split      {describe_split(list(map(len, task.splits)), task.dev_lines_in_train)}"
    yield (
        f"model      {config.model.name}, {task.num_params:,} parameters; "
        f"{task.num_examples:,} training examples"
    )
    yield f"device     {devices[0].device_kind} x {len(devices)}"


def range_record(test: "RangeTest") -> dict[str, Any]:
    """Return what a range test found and how, for --json and for config.json."""
    found = test.suggestion
    return {
        "suggested_lr": found.lr,
        "interval": found.interval,
        "reason": found.reason,
        "floor": found.floor,
        "too_low": found.too_low,
        "too_high": found.too_high,
        "explodes": found.explodes,
        "mode": test.mode,
        "min": float(test.lrs[0]),
        "max": float(test.lrs[-1]),
        "num_rates": len(test.lrs),
        "num_seeds": len(test.losses),
        "untrained": test.untrained.tolist(),
    }


def import_plots() -> Any:
    """Import the figures, whatever window or notebook matplotlib was told of, and quietly."""
    before = os.environ.get("MPLBACKEND")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "agg"
    try:
        from mm_jax import plots
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before
    return plots
