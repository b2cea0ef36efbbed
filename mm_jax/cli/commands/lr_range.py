"""Test which learning rates a model learns at, and suggest one."""

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.cli.common import (
    PRESET_HELP,
    Outcome,
    base_config,
    describe_setup,
    import_plots,
    range_record,
    with_absolute_path,
)
from mm_jax.cli.describe_data import note_data
from mm_jax.config.base import InputError
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import (
    BaseOptimizerConfig,
    LRRangeConfig,
    RangeTestConfig,
    TrainingConfig,
)
from mm_jax.runtime.console import Console

if TYPE_CHECKING:
    from mm_jax.experiments.lr_range import RangeTest
    from mm_jax.experiments.setup import Setup


@dataclasses.dataclass(frozen=True)
class Options:
    """Test which learning rates a model learns at: every seed and every rate at once.

    Without flags: the lecture's sweep from 0.001 to 1 in 1,000 steps, for its last MLP, with 16
    seeds. Rates that diverge are results like others. No suggestion, with the reason: exit code 1.
    """

    config: Annotated[RangeTestConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RangeTestConfig
    )
    model: Annotated[str, tyro.conf.arg(metavar="|".join(TRAINED))] = "mlp"
    """Which model; with it, --help lists the flags that are its own."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="|".join(PRESETS), help=PRESET_HELP)] = None
    figure: Annotated[str | None, tyro.conf.arg(metavar="FILE.png|.svg|.pdf")] = None
    """Draw the curve to this file."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with."""
    config = base_config(given)
    values = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(TrainingConfig)
    }
    optimizer = config.optimizer
    names = [field.name for field in dataclasses.fields(BaseOptimizerConfig)]
    values["optimizer"] = BaseOptimizerConfig(**{name: getattr(optimizer, name) for name in names})
    return Options(
        config=RangeTestConfig(**values), model=config.model.name, preset=given.get("preset")
    )


def run(options: Options, console: Console) -> Outcome:
    """Run the range test, draw it, and say what it suggests."""
    from mm_jax.experiments.lr_range import range_optimizer
    from mm_jax.experiments.setup import load_setup
    from mm_jax.reports.text_charts import lr_chart

    config = dataclasses.replace(options.config, data=with_absolute_path(options.config.data))
    plots = import_plots() if options.figure is not None else None
    figure = plots.check_path(options.figure) if plots else None
    optimizer = range_optimizer(config.optimizer)
    setup = load_setup(config, optimizer, config.lr_range.num_seeds)
    config = dataclasses.replace(config, model=setup.config.model)
    note_data(setup.dataset.info, console)
    for line in (*describe_setup(setup), describe_rates(config.lr_range)):
        console.say(line)
    begun = time.perf_counter()
    test = run_test(config.lr_range, setup, optimizer, console)
    seconds = time.perf_counter() - begun
    for line in ("", *lr_chart(test), ""):
        console.say(line)
    record = {
        "command": "lr-range",
        "config": to_dict(config),
        "vocab_size": len(setup.vocab),
        "num_params": setup.num_params,
        "num_examples": setup.num_examples,
        **range_record(test),
        "seconds": seconds,
        "steps_per_second": total_steps(config.lr_range) / seconds,
        "figure": figure and str(figure),
    }
    if options.json:  # they are long
        record |= {"lrs": test.lrs.tolist(), "losses": test.losses.tolist()}
    complaint = show_suggestion(test, console)
    if plots and figure:
        try:
            plots.save(plots.lr_range(test), figure)
            console.say(f"figure     {figure}")
        except InputError as error:  # the results are printed all the same
            complaint = str(error)
    return Outcome(record, 1 if complaint else 0, complaint)


def run_test(
    config: LRRangeConfig, setup: "Setup", optimizer: Any, console: Console
) -> "RangeTest":
    """Run the range test, and show its progress where there is a terminal."""
    from mm_jax.experiments.lr_range import lr_range_test

    states = setup.initial_states(optimizer, config.num_seeds)
    with console.progress(total_steps(config), lines=False) as update:
        return lr_range_test(
            setup.model,
            optimizer,
            states,
            setup.data,
            config,
            batch_size=setup.batch_size,
            update=update,
        )


def total_steps(config: LRRangeConfig) -> int:
    """Return the steps of all trainings."""
    trainings = config.num_seeds * (config.num_rates if config.mode == "grid" else 1)
    return trainings * config.num_steps


def describe_rates(config: LRRangeConfig) -> str:
    """Say which learning rates are tested, and how."""
    how = "a training for each" if config.mode == "grid" else "one training whose rate rises"
    return (
        f"rates      {config.num_rates:,} from {config.min:g} to {config.max:g}, {how}; "
        f"{config.num_steps:,} steps, {config.num_seeds:,} seeds"
    )


def show_suggestion(test: "RangeTest", console: Console) -> str | None:
    """Say which learning rate to train with; where there is none return why."""
    suggestion = test.suggestion
    if suggestion.lr is None:
        return f"no learning rate to suggest: {suggestion.reason}"
    console.say(f"suggested  {suggestion.lr:g}: {suggestion.reason}")
    console.say(f"           train with it: mm-jax train --learning-rate {suggestion.lr:g} ...")
    return None
