"""Train many settings, several seeds each, and keep the best."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from mm_jax.cli.common import (
    PRESET_HELP,
    Outcome,
    config_of,
    join_processes,
    mesh_of,
    with_absolute_path,
)
from mm_jax.config.base import Between, InputError
from mm_jax.config.models import TRAINED
from mm_jax.config.presets import PRESETS
from mm_jax.config.runtime import CheckpointConfig, RuntimeConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.search_config import (
    SearchConfig,
    check_same_search,
    read_search,
    search_record,
)
from mm_jax.experiments.search_space import (
    Axis,
    apply_setting,
    is_range,
    list_settings,
    read_axis,
    seeds_of,
    sweepable_fields,
)
from mm_jax.runs.layout import MEMBERS, SETTINGS, SWEEP, RunMetadata, check_same_data
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Train many settings, several seeds each, and keep the best on dev.

    Any flag with a number or a name takes a list or a range in place of one value: A,B,C or
    LOW:HIGH, LOW:HIGH:log, LOW:HIGH:log:COUNT. Lists alone are a grid; where a range has no COUNT,
    settings are drawn. The test split is not looked at.

      mm-jax sweep --learning-rate 0.01:1:log --hidden-dim 64,128,256 --seeds 8
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RunConfig
    )
    machine: Annotated[RuntimeConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RuntimeConfig
    )
    pace: Annotated[CheckpointConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=CheckpointConfig
    )
    model: Annotated[str, tyro.conf.arg(metavar="|".join(TRAINED))] = "mlp"
    """Which model; the flags that are its own stand below."""
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
    known = sweepable_fields(options.config)
    parts = (part.split("=", 1) if part.startswith("--") else [part] for part in flags)
    flags = list(itertools.chain.from_iterable(parts))
    axes: dict[str, Axis] = {}
    for i, (name, text) in enumerate(itertools.pairwise(flags)):
        field = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and field in known and is_range(text):
            axes[field] = read_axis(options.config, field, text)
            flags[i + 1] = axes[field].first
    return flags, {"axes": tuple(axes.values()) or options.axes}


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with; with --resume, those of the sweep."""
    path = Path(given.get("out", ""))
    metadata = read_search(path) if "resume" in given and (path / SETTINGS).exists() else None
    if metadata is None or given.keys() & {"preset", "model"}:
        config = config_of(given)
        return Options(config=config, model=config.model.name, preset=given.get("preset"))
    return Options(
        config=metadata.config,
        machine=RuntimeConfig(deterministic=metadata.deterministic),
        model=metadata.config.model.name,
        preset=metadata.preset,
        num=metadata.num,
        halvings=metadata.halvings,
        max_params=metadata.max_params,
        axes=metadata.axes,
    )


def run(options: Options, console: Console) -> Outcome:
    """Train all settings, show how they compare, and keep the best."""
    speaks = join_processes(options.machine, console)
    from mm_jax.cli.searching import search_in
    from mm_jax.data.dataset import load_dataset
    from mm_jax.experiments.grouping import group_members
    from mm_jax.runs import writer
    from mm_jax.runs.checkpoint_manager import check_disk_space
    from mm_jax.runs.population_checkpoints import PopulationCheckpoints

    check(options)
    config = dataclasses.replace(options.config, data=with_absolute_path(options.config.data))
    path = writer.choose_dir(options.out, "sweep", resume=options.pace.resume)
    metadata = None
    if options.pace.resume:
        if not options.out:
            raise InputError("--resume needs --out, the sweep to go on with")
        metadata = read_search(path) if (path / SETTINGS).exists() else None
    wanted = SearchConfig(
        config,
        options.axes,
        options.preset,
        options.num,
        options.halvings,
        options.max_params,
        options.machine.deterministic,
    )
    if metadata is not None:
        check_same_search(path, metadata, wanted)
        if (path / SWEEP).exists():
            with writer.hold_dir(path, options.out, "sweep", resume=True):
                PopulationCheckpoints(path).remove()  # where a crash left them
            console.say(f"sweep      {path} has come to its end: {SWEEP}, {MEMBERS}")
            return Outcome(json.loads((path / SWEEP).read_bytes()))
    dataset = load_dataset(config.data)
    if metadata is not None:
        check_same_data(
            path,
            RunMetadata(config, metadata.symbols, {**metadata.data}),
            dataset.record,
            dataset.vocab.symbols,
        )
    chosen = choose(options, config, len(dataset.vocab))
    configs = [one for _, of_setting in chosen for one in seeds_of(of_setting)]
    mesh = mesh_of(options.machine, len(configs))
    per_slice = options.machine.members_per_slice
    groups = group_members(configs, dataset, members_per_slice=per_slice, mesh=mesh)
    largest = max((group.setup for group in groups), key=lambda setup: setup.state_bytes)
    check_disk_space(path, largest.state_bytes, 4 * largest.num_params, len(configs))
    with writer.hold_dir(path, options.out, "sweep", resume=options.pace.resume) as path:
        if metadata is None:
            about = wanted._replace(symbols=dataset.vocab.symbols, data=dataset.record)
            writer.save_settings(path, search_record(about))
        found = search_in(
            *(path, config, dataset, chosen, groups, console),
            halvings=options.halvings,
            keep=options.pace,
        )
        record, code, complaint = found
    return Outcome(record if speaks else {}, code, complaint)


def check(options: Options) -> None:
    """Raise InputError for choices that do not belong in a sweep, or together."""
    config, names = options.config, [axis.name for axis in options.axes]
    if not names:
        raise InputError("nothing is varied; give a flag a list or a range, or train with --seeds")
    if config.optimizer.learning_rate == "auto":
        raise InputError("--learning-rate auto is not for a sweep; give a list or a range")
    if config.data.split == "none":
        raise InputError("a sweep compares losses on dev, and --split none holds no lines out")
    if options.halvings and "steps" in names:
        raise InputError("--halvings cuts --steps itself; give one number of them")
    if "steps" not in names and config.steps < 2**options.halvings:
        raise InputError(f"--steps {config.steps} are too few for --halvings {options.halvings}")


def choose(
    options: Options, config: RunConfig, vocab_size: int
) -> list[tuple[dict[str, Any], RunConfig]]:
    """Return what each setting changes, and its choices; none with too many parameters."""
    import jax

    from mm_jax.models.base import num_params
    from mm_jax.models.registry import build_model

    chosen = []
    for setting in list_settings(options.axes, options.num, config.seed):
        one = apply_setting(config, options.axes, setting)
        if options.max_params is not None:
            model = build_model(one.model, vocab_size)
            if num_params(jax.eval_shape(model.init, jax.random.key(0))) > options.max_params:
                continue
        chosen.append((setting, one))
    if not chosen:
        raise InputError(f"no setting has at most --max-params {options.max_params:,} parameters")
    if options.halvings and len(chosen) < 2**options.halvings:
        raise InputError(
            f"{len(chosen)} settings cannot be halved {options.halvings} times; lower --halvings"
        )
    return chosen
