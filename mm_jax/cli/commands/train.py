"""Train a model on a file of lines, in a run directory: refusals first, then the work, the report.

What is trained and written is in mm_jax.experiments; the lines that are printed are here.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mm_jax.cli.common import (
    PRESET_HELP,
    ConsoleObserver,
    Outcome,
    base_config,
    join_processes,
    resume_hint,
    with_absolute_path,
)
from mm_jax.cli.describe_data import show_samples
from mm_jax.cli.train_plan import Plan, make_plan, start_metadata
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.runtime import CheckpointConfig, RuntimeConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.runs.layout import (
    METRICS,
    PARAMS,
    RunMetadata,
    check_same_choices,
    check_same_data,
    find_resumable,
    resume_command,
)
from mm_jax.runtime.console import Console
from mm_jax.runtime.signals import interruptible

if TYPE_CHECKING:
    from mm_jax.cli.train_results import TrainReport


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a model on a file of lines and keep it in a run directory.

    Without flags: the last MLP of the second makemore lecture, on names. A run that was stopped or
    killed is resumed with the same bits: mm-jax train --resume --out RUN.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RunConfig
    )
    runtime: Annotated[RuntimeConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RuntimeConfig
    )
    checkpoints: Annotated[CheckpointConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=CheckpointConfig
    )
    model: Annotated[str, tyro.conf.arg(metavar="|".join(TRAINED))] = "mlp"
    """Which model; with it, --help lists the flags that are its own."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="|".join(PRESETS), help=PRESET_HELP)] = None
    inside: bool = False
    """Write diagnostics to the metrics, some hundred times: how many units are saturated, how much
    a step changes each array. mm-jax plot draws them."""
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
        made = "counted" if isinstance(metadata.config, CountConfig) else "mixed"
        raise InputError(f"{given['out']} was {made}, not trained: there is nothing to resume")
    deterministic = bool(metadata and (metadata.fingerprint or {}).get("deterministic"))
    return Options(
        config=config,
        runtime=RuntimeConfig(deterministic=deterministic),
        model=config.model.name,
        preset=given.get("preset"),
    )


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    check(options)
    prints = join_processes(options.runtime, console)
    from mm_jax.runs.writer import choose_dir, hold_dir

    config = dataclasses.replace(options.config, data=with_absolute_path(options.config.data))
    resume = options.checkpoints.resume
    metadata = find_resumable(options.out, resume=resume)
    path = choose_dir(options.out, options.preset or config.model.name, resume=resume)
    if metadata is not None:
        check_same_choices(path, metadata, config)
        config = dataclasses.replace(metadata.config, data=config.data)  # type: ignore[assignment]
        outcome = finished(path, config, console)
        if outcome is not None:
            check_same_file(path, metadata, config.data)
            if options.profile:
                raise InputError(f"{path} has come to its end: --profile is for a run in training")
            return outcome
    plan = make_plan(path, config, metadata, options.runtime, console)
    stem = path.name.rpartition("-")[0]
    with hold_dir(path, options.out, stem, resume=resume) as path:
        metadata = metadata or start_metadata(path, plan, options.runtime)
        train = train_single if plan.config.seeds == 1 else train_seeds
        report = train(path, metadata, plan, options, console)
    return finish(path, plan, report, console, prints=prints)


def check_same_file(path: Path, metadata: "RunMetadata", data: DataConfig) -> None:
    """Raise InputError where a run that has ended is given another file than it was trained on."""
    from mm_jax.data.streaming import Stream

    if data.data != metadata.config.data.data:
        record = {"path": data.data, "sha256": Stream(data).sha256()}
        check_same_data(path, metadata, record, metadata.symbols)


def check(options: Options) -> None:
    """Raise InputError for options that do not belong together."""
    if (options.inside or options.profile) and options.config.seeds > 1:
        name = "--inside" if options.inside else "--profile"
        raise InputError(f"{name} is for one run; give one of the seeds, without --seeds")
    if options.profile and options.runtime.coordinator is not None:
        raise InputError("--profile is for one process, without --coordinator")


def finished(path: Path, config: RunConfig, console: Console) -> Outcome | None:
    """Return the results of a run at its end; None where it has not come there, or is damaged."""
    from mm_jax.data.word_totals import recorded_totals
    from mm_jax.experiments.evaluation import EvalResult
    from mm_jax.runs.metrics import last_line
    from mm_jax.runs.population_checkpoints import PopulationCheckpoints
    from mm_jax.runs.reader import describe, load_run, read_samples
    from mm_jax.runs.writer import hold_dir

    last = last_line(path / METRICS)
    if not (path / PARAMS).exists() or last.get("step") != config.steps:
        return None
    try:
        trained = load_run(path)
        samples = read_samples(path, config)
    except InputError as error:
        console.note(f"{error}; its last steps are taken again")
        return None
    if trained.step is not None:
        return None
    if config.seeds > 1:
        with hold_dir(path, str(path), "", resume=True):
            PopulationCheckpoints(path).remove()  # where a crash left them
    console.say(f"run        {path} has come to its end: {config.steps:,} steps")
    totals = recorded_totals(trained.data, is_document=config.data.items == "document")
    result = EvalResult(last["train_loss"], last.get("dev_loss"), samples, totals)
    losses = {"train_loss": result.train_loss, "dev_loss": result.dev_loss, **result.units.record}
    results = {"steps": config.steps, **losses, "samples": samples.texts}
    results |= {"num_cut": sum(samples.cut), "stopped": None}
    return Outcome({"command": "train", **describe(trained), **results})


def train_single(
    path: Path, metadata: RunMetadata, plan: Plan, options: Options, console: Console
) -> "TrainReport":
    """Train one model and write its results."""
    from mm_jax.cli.train_results import report_run
    from mm_jax.experiments.single_run import SingleRun

    run = SingleRun(
        path,
        metadata,
        plan.setup,
        options.checkpoints,
        ConsoleObserver(console),
        mesh=plan.mesh,
        diagnostics=options.inside,
    )
    result, total = None, plan.config.steps
    with interruptible(run.save_latest) as stop:
        with resume_hint("train", path), console.progress(total, first=run.first_step) as update:
            end = run.train(ConsoleObserver(console, update, stop))
        if not end.interrupted:
            with resume_hint("train", path):
                end, result = run.finish(end)
    profile = run.profile(end) if options.profile and not end.interrupted else None
    return report_run(end, result, run.manager.seconds, profile, stop.exit_code)


def train_seeds(
    path: Path, metadata: RunMetadata, plan: Plan, options: Options, console: Console
) -> "TrainReport":
    """Train a member for each seed and write their ensemble."""
    from mm_jax.cli.train_results import report_seeds
    from mm_jax.experiments.seed_ensemble import SeedEnsemble

    run = SeedEnsemble(
        path,
        metadata,
        plan.setup.dataset,
        plan.groups,
        options.checkpoints,
        ConsoleObserver(console),
    )
    result, total = None, plan.config.steps * plan.config.seeds
    with interruptible() as stop:
        with resume_hint("train", path), console.progress(total, first=run.first_step) as update:
            end = run.train(ConsoleObserver(console, update, stop))
        if not end.interrupted:
            if not end.members:
                nothing = f"there is nothing to keep, and {path} is half-written"
                raise InputError(f"{end.reason}; {nothing}")
            with resume_hint("train", path):
                result = run.finish(end)
    return report_seeds(end, result, plan.config.steps, stop.exit_code)


def finish(
    path: Path, plan: Plan, report: "TrainReport", console: Console, *, prints: bool
) -> Outcome:
    """Print what came of it, and return it for --json; other processes than the first have none."""
    from mm_jax.cli.train_results import draw_losses

    for line in report.lines:
        console.say(line)
    if console.at_terminal:
        for line in draw_losses(path):
            console.say(line)
    complaint, setup = report.reason, plan.setup
    if report.exit_code > 1:
        complaint = f"{complaint}; resume with: {resume_command('train', path)}"
    else:
        assert report.samples is not None
        shape = setup.dataset.sample_shape
        advice = f"{len(report.samples.texts)} {shape.what} it makes (more: mm-jax sample {path}):"
        console.say(f"run        {path}; {advice}")
        in_train = setup.dataset.splits.train.contains(report.samples.texts)
        show_samples(report.samples, in_train, console)
        complaint = complaint and f"{complaint}; it is in {path}"
    record = {
        "command": "train",
        "config": to_dict(plan.config),
        "vocab_size": len(setup.vocab),
        "num_params": setup.num_params * plan.config.seeds,
        "num_examples": setup.num_examples,
        "dev_lines_in_train": setup.dataset.dev_lines_in_train,
        "run_dir": str(path),
        "lr_range": plan.lr_range,
        **report.record,
        "stopped": report.reason,
    }
    return Outcome(record if prints else {}, report.exit_code, complaint)
