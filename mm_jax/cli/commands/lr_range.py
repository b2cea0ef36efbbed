"""Test which learning rates a model learns at, and suggest one."""

import dataclasses
from typing import Annotated

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
from mm_jax.config.base import InputError
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import BaseOptimizerConfig, RangeTestConfig, TrainingConfig
from mm_jax.runtime.console import Console


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
    """Which model; the flags that are its own stand below."""
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
    import time

    from mm_jax.experiments.lr_range import lr_range_test, range_optimizer
    from mm_jax.experiments.setup import load_setup
    from mm_jax.reports.text_charts import lr_chart

    config = options.config
    config = dataclasses.replace(config, data=with_absolute_path(config.data))
    plots = import_plots() if options.figure is not None else None
    figure = plots.check_path(options.figure) if plots else None
    optimizer = range_optimizer(config.optimizer)
    chosen = config.lr_range
    setup = load_setup(config, optimizer, chosen.num_seeds)
    for line in describe_setup(setup):
        console.say(line)
    each = "a training for each" if chosen.mode == "grid" else "one training whose rate rises"
    console.say(
        f"rates      {chosen.num_rates:,} from {chosen.min:g} to {chosen.max:g}, {each}; "
        f"{chosen.num_steps:,} steps, {chosen.num_seeds:,} seeds"
    )
    begun = time.perf_counter()
    states = setup.initial_states(optimizer, chosen.num_seeds)
    trainings = chosen.num_seeds * (chosen.num_rates if chosen.mode == "grid" else 1)
    total = trainings * chosen.num_steps
    with console.progress(total, lines=False) as update:
        test = lr_range_test(
            setup.model,
            optimizer,
            states,
            setup.data,
            chosen,
            batch_size=setup.batch_size,
            update=update,
        )
    seconds = time.perf_counter() - begun
    console.say()
    for line in lr_chart(test):
        console.say(line)
    console.say()
    record = {
        "command": "lr-range",
        "config": to_dict(config),
        "vocab_size": len(setup.vocab),
        "num_params": setup.num_params,
        "num_examples": setup.num_examples,
        **range_record(test),
        "seconds": seconds,
        "steps_per_second": total / seconds,
        "figure": figure and str(figure),
    }
    if options.json:  # they are long
        record |= {"lrs": test.lrs.tolist(), "losses": test.losses.tolist()}
    found = test.suggestion
    complaint = None
    if found.lr is None:
        complaint = f"no learning rate to suggest: {found.reason}"
    else:
        console.say(f"suggested  {found.lr:g}: {found.reason}")
        console.say(f"           train with it: mm-jax train --learning-rate {found.lr:g} ...")
    if plots and figure:
        try:
            plots.save(plots.lr_range(test), figure)
            console.say(f"figure     {figure}")
        except InputError as error:  # what was found is told all the same
            complaint = str(error)
    return Outcome(record, 1 if complaint else 0, complaint)
