"""Train many settings, several seeds each, and keep the best."""

import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.choices import Between, InputError
from mm_jax.commands import (
    PRESET_HELP,
    Outcome,
    choices_of,
    describe_devices,
    describe_losses,
    describe_source,
    join,
    mesh_of,
    with_absolute_path,
)
from mm_jax.config import TRAINED, MachineConfig, RunConfig
from mm_jax.console import Console
from mm_jax.presets import PRESETS
from mm_jax.records import to_dict
from mm_jax.sweep import (
    Axis,
    changed,
    fields_of,
    flags_of,
    is_range,
    read_axis,
    rungs,
    seeds_of,
    settings,
)

if TYPE_CHECKING:
    from mm_jax.search import Found
    from mm_jax.task import Source


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
    machine: Annotated[MachineConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=MachineConfig
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
    known = fields_of(options.config)
    parts = (part.split("=", 1) if part.startswith("--") else [part] for part in flags)
    flags = list(itertools.chain.from_iterable(parts))
    axes: dict[str, Axis] = {}
    for i, (name, text) in enumerate(itertools.pairwise(flags)):
        field = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and field in known and is_range(text):
            axes[field] = read_axis(options.config, field, text)
            flags[i + 1] = axes[field].first
    return flags, {"axes": tuple(axes.values())}


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with."""
    config = choices_of(given)
    return Options(config=config, model=config.model.name, preset=given.get("preset"))


def run(options: Options, console: Console) -> Outcome:
    """Train all settings, show how they compare, and keep the best."""
    speaks = join(options.machine, console)
    import time

    from mm_jax import run as runs
    from mm_jax.members import plan_programs
    from mm_jax.search import describe_result, member_rows, search
    from mm_jax.session import interruptible
    from mm_jax.tables import sweep_table
    from mm_jax.task import load_source

    check(options)
    config = options.config
    config = dataclasses.replace(config, data=with_absolute_path(config.data))
    source = load_source(config.data)
    chosen = choose(options, config, len(source.vocab))
    configs = [one for _, of_setting in chosen for one in seeds_of(of_setting)]
    mesh = mesh_of(options.machine, len(configs))
    per_slice = options.machine.members_per_slice
    programs = plan_programs(configs, source, members_per_slice=per_slice, mesh=mesh)
    path = runs.choose_dir(options.out, "sweep")
    runs.make_dir(path)
    for line in describe_source(config.data.data, source):
        console.say(line)
    console.say(
        f"sweep      {len(chosen):,} settings x {config.seeds:,} seeds, {config.steps:,} steps, "
        f"in {len(programs):,} programs"
    )
    console.say(describe_devices())
    begun, taken = time.perf_counter(), 0

    def note(steps: int, loss_nats: float) -> None:
        nonlocal taken
        taken = steps
        update(steps, loss_nats)

    with interruptible() as interrupted:
        with console.progress(total_steps(configs, config.seeds, options.halvings)) as update:
            found = search(
                configs,
                programs,
                config.seeds,
                halvings=options.halvings,
                update=note,
                stop=interrupted,
            )
        seconds = time.perf_counter() - begun
        changes = [setting for setting, _ in chosen]
        for line in sweep_table(found.results, changes):
            console.say(line)
        record = {
            "command": "sweep",
            "config": to_dict(config),
            "vocab_size": len(source.vocab),
            "num_examples": programs[0].task.num_examples,
            "settings": [describe_result(result, changes) for result in found.results],
            "seconds": seconds,
            "steps_per_second": taken / seconds,
            "sweep_dir": str(path),
        }
        for line in keep(path, found, source, options, record):
            console.say(line)
        runs.save_table(path, list(member_rows(found.results, changes, config.seed)), record)
    console.say(f"time       {taken:,} steps in {seconds:.1f} s; {taken / seconds:,.0f} steps/s")
    console.say(f"sweep      {path}: members.csv, sweep.json")
    code, complaint = 0, None
    if not found.complete:
        finished = sum(result.steps == config.steps for result in found.results)
        done = f"{finished:,} of {len(chosen):,} settings were finished"
        code, complaint = 130, f"interrupted; {done}; they are in {path}"
    elif not found.best:
        code, complaint = (
            1,
            f"training diverged in every setting; lower --learning-rate; see {path}",
        )
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

    from mm_jax.model import num_params
    from mm_jax.models import build_model

    chosen = []
    for setting in settings(options.axes, options.num, config.seed):
        one = changed(config, options.axes, setting)
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


def total_steps(configs: Sequence[RunConfig], num_seeds: int, halvings: int) -> int:
    """Return how many steps all members take."""
    if not halvings:
        return sum(config.steps for config in configs)
    total, before = 0, 0
    for count, share in rungs(len(configs) // num_seeds, halvings):
        until = configs[0].steps // share
        total, before = total + count * num_seeds * (until - before), until
    return total


def keep(
    path: Path, found: "Found", source: "Source", options: Options, record: dict[str, Any]
) -> Iterator[str]:
    """Write the best member as a run, and its setting's seeds as another; say what they reach."""
    from mm_jax.members import save_members

    if not found.best:
        return
    best = min(found.best, key=lambda member: member.dev_loss or 0.0)
    alone, together = path / "best", path / "ensemble"
    saved = save_members(alone, best.config, [best], source)
    record |= {
        "num_params": best.num_params,
        "best_setting": found.results[0].setting,
        "best_seed": best.config.seed,
        "train_loss": saved.train_loss,
        "dev_loss": saved.dev_loss,
        "run_dir": str(alone),
        "train_command": train_command(options, best.config),
    }
    yield from describe_losses(saved, "best")
    yield f"           {alone}: seed {best.config.seed} of the first line; to train it again:"
    yield f"           {record['train_command']}"
    if len(found.best) > 1:
        first = found.best[0].config
        config = dataclasses.replace(first, seeds=len(found.best))
        saved = save_members(together, config, found.best, source)
        record |= {
            "ensemble_train_loss": saved.train_loss,
            "ensemble_dev_loss": saved.dev_loss,
            "ensemble_dir": str(together),
        }
        yield from describe_losses(saved, "ensemble")
        yield f"           {together}: all {len(found.best)} seeds of the first line as one model"


def train_command(options: Options, config: RunConfig) -> str:
    """Return the command that trains a run of these choices."""
    command = ["mm-jax", "train"]
    base = RunConfig(model=TRAINED[options.model]())
    if options.preset:
        command += ["--preset", options.preset]
        base = PRESETS[options.preset].config
    elif options.model != RunConfig().model.name:
        command += ["--model", options.model]
    return shlex.join(command + flags_of(config, base))
