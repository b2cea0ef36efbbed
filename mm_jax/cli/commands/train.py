"""Train a model on a file of lines and keep it in a run directory."""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.cli.common import (
    PRESET_HELP,
    Outcome,
    base_config,
    check_runtime,
    choose_mesh,
    describe_setup,
    join_processes,
    range_record,
    resume_command,
    with_absolute_path,
)
from mm_jax.config.base import InputError
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.runtime import CheckpointConfig, RuntimeConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import NUM_SAMPLES, RunConfig
from mm_jax.experiments.search_space import seeds_of
from mm_jax.runs.layout import (
    METRICS,
    PARAMS,
    RunMetadata,
    check_same_choices,
    check_same_data,
    find_resumable,
)
from mm_jax.runtime.console import Console

if TYPE_CHECKING:
    from mm_jax.experiments.setup import Setup


CHART_BYTES = 10**7  # of metrics, as of some fifty seeds; to read more would be a wait


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a model on a file of lines and keep it in a run directory.

    Without flags: the last MLP of the second makemore lecture, on names. A run that was stopped or
    killed goes on with the same bits: mm-jax train --resume --out RUN.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RunConfig
    )
    machine: Annotated[RuntimeConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RuntimeConfig
    )
    keep: Annotated[CheckpointConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=CheckpointConfig
    )
    model: Annotated[str, tyro.conf.arg(metavar="|".join(TRAINED))] = "mlp"
    """Which model; the flags that are its own stand below."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="|".join(PRESETS), help=PRESET_HELP)] = None
    inside: bool = False
    """Note on the way, some hundred times, what the net looks like inside: how much is saturated,
    how much a step changes each array. mm-jax plot draws it."""
    profile: bool = False
    """Trace some steps at the end, for Perfetto or TensorBoard, and say what a step is made of."""
    out: str | None = None
    """The run directory. By default the first free one of runs/NAME-1, runs/NAME-2, ..."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with; with --resume, those of the run."""
    metadata = find_resumable(given.get("out"), resume="resume" in given)
    if metadata is None or given.keys() & {"preset", "model"}:
        config = base_config(given)
    elif isinstance(metadata.config, RunConfig):
        config = metadata.config
    else:
        raise InputError(f"{given['out']} was counted, not trained: there is nothing to go on with")
    deterministic = bool(metadata and (metadata.fingerprint or {}).get("deterministic"))
    return Options(
        config=config,
        machine=RuntimeConfig(deterministic=deterministic),
        model=config.model.name,
        preset=given.get("preset"),
    )


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    if (options.inside or options.profile) and options.config.seeds > 1:
        name = "--inside" if options.inside else "--profile"
        raise InputError(f"{name} is for one run; give one of the seeds, without --seeds")
    if options.profile and options.machine.coordinator is not None:
        raise InputError("--profile is for one process, without --coordinator")
    speaks = join_processes(options.machine, console)
    from mm_jax.cli.training import train_one, train_seeds
    from mm_jax.experiments.grouping import Group, group_members
    from mm_jax.experiments.lr_range import range_optimizer
    from mm_jax.experiments.setup import load_setup
    from mm_jax.runs import writer
    from mm_jax.runs.checkpoint_manager import check_disk_space
    from mm_jax.runtime.environment import fingerprint
    from mm_jax.training.optimizers import make_optimizer

    config = dataclasses.replace(options.config, data=with_absolute_path(options.config.data))
    metadata, resume = find_resumable(options.out, resume=options.keep.resume), options.keep.resume
    path = writer.choose_dir(options.out, options.preset or config.model.name, resume=resume)
    if metadata is not None:
        check_same_choices(path, metadata, config)
        config = dataclasses.replace(metadata.config, data=config.data)  # type: ignore[assignment]
        done = finished(path, config, console)
        if done is not None:
            if options.profile:
                raise InputError(f"{path} has come to its end: --profile is for a run in training")
            return done
    members = seeds_of(config)
    check_runtime(config, options.machine)
    mesh = choose_mesh(options.machine, len(members))
    auto = config.optimizer.learning_rate == "auto"
    optimizer = (
        range_optimizer(config.optimizer)
        if auto
        else make_optimizer(config.optimizer, config.steps)
    )
    setup = load_setup(config, optimizer)
    if metadata is not None:
        check_same_data(path, metadata, setup.dataset.record, setup.vocab.symbols)
    check_disk_space(path, setup.state_bytes, 4 * setup.num_params, len(members))
    for line in describe_setup(setup):
        console.say(line)
    lr_range = metadata.lr_range if metadata else None
    if auto:
        config, lr_range = find_rate(config, setup, optimizer, console)
        members = seeds_of(config)
    programs: list[Group] = []
    if config.seeds > 1:
        per_slice = options.machine.members_per_slice
        programs = group_members(members, setup.dataset, members_per_slice=per_slice, mesh=mesh)
    with writer.hold_dir(path, options.out, path.name.rpartition("-")[0], resume=resume) as path:
        if metadata is None:
            machine = fingerprint(deterministic=options.machine.deterministic)
            machine["alone"] = all(program.plan.alone for program in programs)
            metadata = RunMetadata(
                config, setup.vocab.symbols, setup.dataset.record, lr_range, machine
            )
            writer.write_metadata(path, metadata)
        record = {
            "command": "train",
            "config": to_dict(config),
            "vocab_size": len(setup.vocab),
            "num_params": setup.num_params * len(members),
            "num_examples": setup.num_examples,
            "dev_lines_in_train": setup.dataset.dev_lines_in_train,
            "run_dir": str(path),
            "lr_range": lr_range,
        }
        if config.seeds == 1:
            found = train_one(
                *(metadata, setup, mesh, path, options.keep, console),
                inside=options.inside,
                profiled=options.profile,
            )
        else:
            found = train_seeds(metadata, setup, programs, path, options.keep, console)
    for line in found.said:
        console.say(line)
    if console.at_terminal:
        for line in draw_losses(path):
            console.say(line)
    complaint = found.complaint
    record |= found.record | {"stopped": complaint}
    if found.exit_code > 1:
        complaint = f"{complaint}; go on with: {resume_command('train', path)}"
    else:
        more = f"{NUM_SAMPLES} lines it makes (more: mm-jax sample {path}):"
        console.say(f"run        {path}; {more}")
        console.say_samples(found.record["samples"], set(setup.splits.train))
        complaint = complaint and f"{complaint}; it is in {path}"
    return Outcome(record if speaks else {}, found.exit_code, complaint)


def draw_losses(path: Path) -> list[str]:
    """Return the losses of a run as a chart of text, of an ensemble those of its first member."""
    from mm_jax.reports.text_tables import loss_chart
    from mm_jax.runs.metrics import curves_of, read_lines

    with contextlib.suppress(InputError, OSError):  # what was trained is kept, chart or not
        if (path / METRICS).stat().st_size < CHART_BYTES:
            for curve in curves_of(read_lines(path / METRICS)):
                if len(curve.steps) > 1:
                    return ["", *loss_chart(curve), ""]
    return []


def finished(path: Path, config: RunConfig, console: Console) -> Outcome | None:
    """Say that a run has come to its end already; None where it has not, or where it is damaged."""
    from mm_jax.runs.metrics import last_line
    from mm_jax.runs.population_checkpoints import PopulationCheckpoints
    from mm_jax.runs.reader import describe, load_run, read_samples
    from mm_jax.runs.writer import hold_dir

    last = last_line(path / METRICS)
    if not (path / PARAMS).exists() or last.get("step") != config.steps:
        return None
    try:
        trained = load_run(path)
        samples = read_samples(path)
    except InputError as error:
        console.note(f"{error}; its last steps are taken again")
        return None
    if trained.step is not None:
        return None
    if config.seeds > 1:
        with hold_dir(path, str(path), "", resume=True):
            PopulationCheckpoints(path).remove()  # where a crash left them
    console.say(f"run        {path} has come to its end: {config.steps:,} steps")
    losses = {name: last.get(name) for name in ("train_loss", "dev_loss")}
    more = {"steps": config.steps, **losses, "samples": samples, "stopped": None}
    return Outcome({"command": "train", **describe(trained), **more})


def find_rate(
    config: RunConfig, setup: "Setup", optimizer: Any, console: Console
) -> tuple[RunConfig, dict[str, Any]]:
    """Return the choices with the learning rate that a range test suggests, and its record."""
    from mm_jax.config.training import LRRangeConfig
    from mm_jax.experiments.lr_range import find_learning_rate

    wanted = LRRangeConfig()
    num_seeds = min(wanted.num_seeds, setup.max_seeds)
    states = setup.initial_states(optimizer, num_seeds)
    total = 2 * num_seeds * wanted.num_steps  # a wide sweep, then a near one
    try:
        with console.progress(total, lines=False) as update:
            found = find_learning_rate(
                setup.model,
                optimizer,
                states,
                setup.data,
                batch_size=setup.batch_size,
                update=update,
            )
    except InputError as error:
        why = str(error).partition(";")[0]  # what comes then is advice for lr-range
        raise InputError(f"--learning-rate auto: {why}; give a number") from None
    rate = found.suggested_lr
    console.say(f"rate       {rate:.3g}: {found.suggestion.reason}")
    chosen = dataclasses.replace(config.optimizer, learning_rate=rate)
    return dataclasses.replace(config, optimizer=chosen), range_record(found)
