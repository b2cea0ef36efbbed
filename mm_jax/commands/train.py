"""Train a model on a file of lines and keep it in a run directory."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.choices import InputError
from mm_jax.commands import (
    PRESET_HELP,
    Outcome,
    check_machine,
    choices_of,
    describe_losses,
    describe_members,
    describe_task,
    join,
    members_record,
    mesh_of,
    range_record,
    with_absolute_path,
)
from mm_jax.config import NUM_SAMPLES, TRAINED, MachineConfig, RunConfig
from mm_jax.console import Console
from mm_jax.presets import PRESETS
from mm_jax.records import to_dict
from mm_jax.sweep import seeds_of

if TYPE_CHECKING:
    from mm_jax.task import Task


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a model on a file of lines and keep it in a run directory.

    Without flags: the last MLP of the second makemore lecture, on names.
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
    out: str | None = None
    """The run directory. By default the first free one of runs/NAME-1, runs/NAME-2, ..."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def defaults(given: dict[str, str]) -> Options:
    """Return the Options that the ``given`` flags begin with."""
    config = choices_of(given)
    return Options(config=config, model=config.model.name, preset=given.get("preset"))


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    speaks = join(options.machine, console)
    from mm_jax import run as runs
    from mm_jax.lr import make_optimizer, range_optimizer
    from mm_jax.task import load_task

    config = options.config
    config = dataclasses.replace(config, data=with_absolute_path(config.data))
    members = seeds_of(config)
    check_machine(config, options.machine)
    mesh = mesh_of(options.machine, len(members))
    path = runs.choose_dir(options.out, options.preset or config.model.name)
    auto = config.optimizer.learning_rate == "auto"
    optimizer = (
        range_optimizer(config.optimizer)
        if auto
        else make_optimizer(config.optimizer, config.steps)
    )
    task = load_task(config, optimizer)
    for line in describe_task(task):
        console.say(line)
    lr_range = None
    if auto:
        config, lr_range = find_rate(config, task, optimizer, console)
        members = seeds_of(config)
    if config.seeds > 1:
        from mm_jax.members import plan_programs

        per_slice = options.machine.members_per_slice
        how = plan_programs(members, task.source, members_per_slice=per_slice, mesh=mesh)
    else:
        how = mesh
    record = {
        "command": "train",
        "config": to_dict(config),
        "vocab_size": len(task.vocab),
        "num_params": task.num_params * len(members),
        "num_examples": task.num_examples,
        "dev_lines_in_train": task.source.dev_lines_in_train,
        "run_dir": str(path),
        "lr_range": lr_range,
    }
    runs.create(path, config, task.vocab, task.source.record, lr_range)
    train: Any = train_one if config.seeds == 1 else train_seeds
    found, code, complaint = train(config, task, how, path, console)
    for line in found.pop("said"):
        console.say(line)
    console.say(f"run        {path}; {NUM_SAMPLES} lines it makes (more: mm-jax sample {path}):")
    console.say_samples(found["samples"], set(task.splits.train))
    record |= found | {"stopped": complaint}
    return Outcome(record if speaks else {}, code, complaint and f"{complaint}; it is in {path}")


def train_one(
    config: RunConfig, task: "Task", mesh: Any, path: Path, console: Console
) -> tuple[dict[str, Any], int, str | None]:
    """Train one model; return what was found, the exit code, and why it stopped, if it did."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from mm_jax import run as runs
    from mm_jax.lr import make_optimizer
    from mm_jax.mesh import place, whole
    from mm_jax.session import descend, interruptible
    from mm_jax.task import measure

    optimizer, data, dev_data = (
        make_optimizer(config.optimizer, config.steps),
        task.data,
        task.dev_data,
    )
    everywhere = None
    if mesh is not None:
        everywhere = NamedSharding(mesh, PartitionSpec())
        data = place(data, mesh)
        dev_data = None if dev_data is None else place(dev_data, mesh)
    begin = jax.jit(task.begin, static_argnums=0, out_shardings=everywhere)
    state = begin(optimizer, jax.random.key(config.seed))  # faster than part by part
    with interruptible() as interrupted, ThreadPoolExecutor(1) as aside:
        if mesh is None:  # compiled while training runs, on another core
            aside.submit(measure, task.model, state.params, task.source, config)
        with console.progress(config.steps) as update:
            end = descend(
                config, task.model, state, data, dev_data, path, update, interrupted, mesh
            )
        params = end.state.best_params if mesh is None else whole(end.state.best_params)
        found = measure(task.model, params, task.source, config)
        if not (math.isfinite(found.train_loss + (found.dev_loss or 0)) or end.complaint):
            both = f"train {found.train_loss}, dev {found.dev_loss}"
            why = f"the loss at the end is not finite ({both}); lower --learning-rate"
            end = end._replace(complaint=why, exit_code=1)
        losses = {"train_loss": found.train_loss, "dev_loss": found.dev_loss}
        runs.append_metrics(path, [{"step": end.steps, **losses}])
        runs.save_results(path, params, found.samples)
    said = [*describe_losses(found)]
    said.append(f"time       {end.steps:,} steps in {end.seconds:.1f} s; {end.speed:,.0f} steps/s")
    record: dict[str, Any] = {
        "steps": end.steps,
        **losses,
        "seconds": end.seconds,
        "steps_per_second": end.speed,
        "samples": found.samples,
        "said": said,
    }
    return record, end.exit_code, end.complaint


def train_seeds(
    config: RunConfig, task: "Task", programs: Any, path: Path, console: Console
) -> tuple[dict[str, Any], int, str | None]:
    """Train a member for each seed and keep their ensemble; returns as train_one does."""
    import time

    from mm_jax.members import save_results_of, train_members
    from mm_jax.session import interruptible

    begun, total, taken = time.perf_counter(), config.steps * config.seeds, 0

    def note(steps: int, loss_nats: float) -> None:
        nonlocal taken
        taken = steps
        update(steps, loss_nats)

    with interruptible() as interrupted:
        with console.progress(total) as update:
            trained = train_members(seeds_of(config), programs, update=note, stop=interrupted)
        seconds = time.perf_counter() - begun
        members = [trained[i] for i in sorted(trained)]
        whole = [member for member in members if member.steps == config.steps]
        complaint, code = None, 0
        if len(whole) < config.seeds:
            steps = f", after step {min(member.steps for member in members):,}" if not whole else ""
            members = whole or members
            complaint = f"interrupted; {len(members)} of {config.seeds} members are kept{steps}"
            code = 130
        good = [member for member in members if member.good]
        if len(good) < len(members):
            seeds = ", ".join(str(m.config.seed) for m in members if not m.good)
            complaint, code = f"training diverged for --seed {seeds}; lower --learning-rate", 1
        if not good:
            raise InputError(f"{complaint}; there is nothing to keep, and {path} is half-written")
        saved = save_results_of(path, config, good, task.source)
    said = [*describe_members(good), *describe_losses(saved, "ensemble")]
    said.append(
        f"time       {len(trained)} members, {taken:,} steps in {seconds:.1f} s; "
        f"{taken / seconds:,.0f} steps/s"
    )
    record = {
        "steps": min(member.steps for member in good),
        "train_loss": saved.train_loss,
        "dev_loss": saved.dev_loss,
        **members_record(good),
        "seconds": seconds,
        "steps_per_second": taken / seconds,
        "samples": saved.samples,
        "said": said,
    }
    return record, code, complaint


def find_rate(
    config: RunConfig, task: "Task", optimizer: Any, console: Console
) -> tuple[RunConfig, dict[str, Any]]:
    """Return the choices with the learning rate that a range test suggests, and its record."""
    from mm_jax.config import LRRangeConfig
    from mm_jax.lr import find_learning_rate

    wanted = LRRangeConfig()
    num_seeds = min(wanted.num_seeds, task.most_seeds)
    states = task.begin_seeds(optimizer, num_seeds)
    total = 2 * num_seeds * wanted.num_steps  # a wide sweep, then a near one
    try:
        with console.progress(total, lines=False) as update:
            found = find_learning_rate(
                task.model,
                optimizer,
                states,
                task.data,
                batch_size=task.batch_size,
                update=update,
            )
    except InputError as error:
        why = str(error).partition(";")[0]  # what comes then is advice for lr-range
        raise InputError(f"--learning-rate auto: {why}; give a number") from None
    rate = found.suggested_lr
    console.say(f"rate       {rate:.3g}: {found.suggestion.reason}")
    chosen = dataclasses.replace(config.optimizer, learning_rate=rate)
    return dataclasses.replace(config, optimizer=chosen), range_record(found)
