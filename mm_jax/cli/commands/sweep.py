"""Train many settings, several seeds each, and keep the best."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from mm_jax.cli.common import (
    PRESET_HELP,
    ConsoleObserver,
    Outcome,
    base_config,
    choose_mesh,
    join_processes,
    resume_hint,
    with_absolute_path,
)
from mm_jax.cli.describe_data import note_data
from mm_jax.config.base import Between, InputError
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.runtime import CheckpointConfig, RuntimeConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.search_config import (
    SearchConfig,
    check_same_search,
    check_search,
    read_search,
    search_record,
)
from mm_jax.experiments.search_space import Axis, is_range, read_axis, sweepable_fields
from mm_jax.runs.layout import MEMBERS, SETTINGS, SWEEP, check_same_data
from mm_jax.runtime.console import Console

if TYPE_CHECKING:
    from mm_jax.data.dataset import Dataset
    from mm_jax.experiments.grouping import Group
    from mm_jax.experiments.settings import Setting
    from mm_jax.experiments.sweep import Sweep, SweepResult


@dataclasses.dataclass(frozen=True)
class Options:
    """Train many settings, several seeds each, and keep the best on dev.

    Any flag with a number or a name takes a list or a range in place of one value: A,B,C or
    LOW:HIGH, LOW:HIGH:log, LOW:HIGH:log:COUNT. Lists alone are a grid; where a range has no COUNT,
    settings are drawn at random. The test split is not used.

      mm-jax sweep --learning-rate 0.01:1:log --hidden-dim 64,128,256 --seeds 8
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
    num: Annotated[int | None, Between(1, 10**6)] = None
    """How many settings to draw; by default 16, or all of a grid."""
    halvings: Annotated[int, Between(0, 20)] = 0
    """How often the worse half of the settings is dropped: at a half, a quarter, ... of --steps."""
    max_params: Annotated[int | None, Between(1, 2**62)] = None
    """Leave out settings with more parameters."""
    out: str | None = None
    """The directory: best (a run), ensemble (another), members.csv and sweep.json. By default the
    first free one of runs/sweep-1, runs/sweep-2, ..."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""
    axes: tyro.conf.Suppress[tuple[Axis, ...]] = ()


def prepare(flags: list[str], options: Options) -> tuple[list[str], dict[str, Any]]:
    """Return the flags with one value in place of each list or range, and these as fields."""
    sweepable = sweepable_fields(options.config)
    words = (word.split("=", 1) if word.startswith("--") else [word] for word in flags)
    flags = list(itertools.chain.from_iterable(words))
    axes: dict[str, Axis] = {}
    for i, (name, text) in enumerate(itertools.pairwise(flags)):
        field = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and field in sweepable and is_range(text):
            axes[field] = read_axis(options.config, field, text)
            flags[i + 1] = axes[field].first
    return flags, {"axes": tuple(axes.values()) or options.axes}


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with; with --resume, those of the sweep."""
    path = Path(given.get("out", ""))
    metadata = read_search(path) if "resume" in given and (path / SETTINGS).exists() else None
    if metadata is None or given.keys() & {"preset", "model"}:
        config = base_config(given)
        return Options(config=config, model=config.model.name, preset=given.get("preset"))
    return Options(
        config=metadata.config,
        runtime=RuntimeConfig(deterministic=metadata.deterministic),
        model=metadata.config.model.name,
        preset=metadata.preset,
        num=metadata.num,
        halvings=metadata.halvings,
        max_params=metadata.max_params,
        axes=metadata.axes,
    )


def run(options: Options, console: Console) -> Outcome:
    """Train all settings, show how they compare, and keep the best."""
    prints = join_processes(options.runtime, console)
    from mm_jax.data.dataset import load_dataset
    from mm_jax.experiments.setup import for_dataset
    from mm_jax.runs import writer

    search_config, resume = search_config_of(options), options.checkpoints.resume
    check_search(search_config)
    path = writer.choose_dir(options.out, "sweep", resume=resume)
    if resume and not options.out:
        raise InputError("--resume needs --out, the sweep to resume")
    before = read_search(path) if resume and (path / SETTINGS).exists() else None
    if before is not None:
        check_same_search(path, before, search_config)
        if (path / SWEEP).exists():
            return finished(path, options, console)
    dataset = load_dataset(search_config.config.data)
    note_data(dataset.info, console)
    if (note := dataset.note_on_losses()) is not None:
        console.note(note)
    if before is not None:
        check_same_data(path, before, dataset.record, dataset.vocab.symbols)
    search_config = search_config._replace(config=for_dataset(search_config.config, dataset))
    plan = make_plan(path, search_config, dataset, options.runtime)
    with writer.hold_dir(path, options.out, "sweep", resume=resume) as path:
        if before is None:
            begun = search_config._replace(symbols=dataset.vocab.symbols, data=dataset.record)
            writer.save_settings(path, search_record(begun))
        outcome = train(path, plan, options.checkpoints, console)
    return outcome if prints else outcome._replace(record={})


def search_config_of(options: Options) -> SearchConfig:
    """Return what is asked for, the data by a path that holds from any folder."""
    return SearchConfig(
        dataclasses.replace(options.config, data=with_absolute_path(options.config.data)),
        options.axes,
        options.preset,
        options.num,
        options.halvings,
        options.max_params,
        options.runtime.deterministic,
    )


def finished(path: Path, options: Options, console: Console) -> Outcome:
    """Return the results of a sweep that has come to its end already."""
    from mm_jax.runs.population_checkpoints import PopulationCheckpoints
    from mm_jax.runs.writer import hold_dir

    with hold_dir(path, options.out, "sweep", resume=True):
        PopulationCheckpoints(path).remove()  # where a crash left them
    console.say(f"sweep      {path} has come to its end: {SWEEP}, {MEMBERS}")
    return Outcome(json.loads((path / SWEEP).read_bytes()))


class Plan(NamedTuple):
    """What a sweep trains."""

    search_config: SearchConfig
    dataset: "Dataset"
    settings: "list[Setting]"
    groups: "list[Group]"  # of the members of all settings


def make_plan(
    path: Path, search_config: SearchConfig, dataset: "Dataset", runtime: RuntimeConfig
) -> Plan:
    """Return what is trained.

    Raises InputError where a setting cannot be trained, or memory or disk are too small.
    """
    from mm_jax.experiments.grouping import group_members
    from mm_jax.experiments.settings import choose_settings, members_of
    from mm_jax.runs.checkpoint_manager import check_disk_space

    settings = choose_settings(search_config, len(dataset.vocab))
    members = members_of(settings)
    mesh, per_slice = choose_mesh(runtime, len(members)), runtime.members_per_slice
    groups = group_members(members, dataset, members_per_slice=per_slice, mesh=mesh)
    largest = max((group.setup for group in groups), key=lambda setup: setup.state_bytes)
    check_disk_space(path, largest.state_bytes, 4 * largest.num_params, len(members))
    return Plan(search_config, dataset, settings, groups)


def train(path: Path, plan: Plan, checkpoint_config: CheckpointConfig, console: Console) -> Outcome:
    """Train all settings, from where their checkpoints are; show and write what they reach."""
    from mm_jax.cli import sweep_results
    from mm_jax.experiments.sweep import Sweep
    from mm_jax.runtime.signals import interruptible

    for line in sweep_results.describe_sweep(*plan[:2], len(plan.settings), len(plan.groups)):
        console.say(line)
    sweep = Sweep(path, *plan, checkpoint_config, ConsoleObserver(console))
    with interruptible() as stop, resume_hint("sweep", path):
        with console.progress(sweep.total_steps, first=sweep.first_step) as update:
            end = sweep.train(ConsoleObserver(console, update, stop))
        record = save(sweep, end, console)
    console.say(sweep_results.describe_speed(end))
    if not end.search.complete:
        reason = sweep_results.describe_interruption(path, end, len(plan.settings))
        return Outcome(record, stop.exit_code, reason)
    console.say(f"sweep      {path}: {MEMBERS}, {SWEEP}")
    if not end.search.best:
        reason = f"training diverged in every setting; lower --learning-rate; see {path}"
        return Outcome(record, 1, reason)
    return Outcome(record)


def save(sweep: "Sweep", end: "SweepResult", console: Console) -> dict[str, Any]:
    """Show and write what the settings reach; return what --json and sweep.json say of it."""
    from mm_jax.cli.sweep_results import describe_best, describe_ensemble
    from mm_jax.reports.text_tables import sweep_table

    for line in sweep_table(end.search.results, sweep.changes):
        console.say(line)
    record = sweep.record(end)
    if end.search.best:
        best = sweep.save_best(end.search)
        for line in describe_best(best):
            console.say(line)
        record |= best.record
    if len(end.search.best) > 1:
        ensemble = sweep.save_ensemble(end.search)
        for line in describe_ensemble(ensemble):
            console.say(line)
        record |= ensemble.record
    sweep.finish(end, record)
    return record
