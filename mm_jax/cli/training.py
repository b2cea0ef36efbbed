"""One run, or one of many seeds: trained from where it is, measured, and kept."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mm_jax.cli.common import describe_losses, describe_members, members_record, resume_hint
from mm_jax.config.base import InputError
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.evaluation import evaluate_and_sample
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.population_loop import save_results_of, train_members
from mm_jax.experiments.search_space import seeds_of
from mm_jax.experiments.setup import Setup
from mm_jax.experiments.training_loop import train_loop
from mm_jax.runs import writer
from mm_jax.runs.checkpoint_manager import CheckpointManager
from mm_jax.runs.layout import PROFILE, RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.runs.population_checkpoints import PopulationCheckpoints, population_digest
from mm_jax.runtime.console import Console
from mm_jax.runtime.mesh import is_primary, place, whole
from mm_jax.runtime.signals import interruptible
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.profiler import Profile, profile


class RunResult(NamedTuple):
    """What came of it."""

    record: dict[str, Any]  # for --json
    said: list[str]
    exit_code: int = 0  # above 1: a signal stopped it, and there are no results yet
    complaint: str | None = None


NOTHING: dict[str, Any] = {
    "train_loss": None,
    "dev_loss": None,
    "samples": [],
}  # of a run that was stopped


def train_one(
    metadata: RunMetadata,
    setup: Setup,
    mesh: Mesh | None,
    path: Path,
    keep: CheckpointConfig,
    console: Console,
    *,
    inside: bool = False,
    profiled: bool = False,
) -> RunResult:
    """Train one model; with ``inside`` its metrics say what it looks like inside, too.

    With ``profiled`` some steps more are traced at the end.
    """
    config = metadata.config
    assert isinstance(config, RunConfig)
    optimizer, data, dev_data = (
        make_optimizer(config.optimizer, config.steps),
        setup.data,
        setup.dev_data,
    )
    everywhere = None
    if mesh is not None:
        everywhere = NamedSharding(mesh, PartitionSpec())
        data = place(data, mesh)
        dev_data = None if dev_data is None else place(dev_data, mesh)
    state = setup.initial_state(optimizer, everywhere)
    manager = CheckpointManager(path, metadata, keep, LossLog(config.optimizer, config.steps))
    found = manager.find(state, console.note)
    if found is not None:
        state = found if mesh is None else place(found, mesh)
        console.say(f"resumed    after step {int(state.step):,}")
    aside = ThreadPoolExecutor(1) if mesh is None else None
    with interruptible() as stop:
        with (
            resume_hint("train", path),
            console.progress(config.steps, first=int(state.step)) as show,
        ):

            def update(step: int, loss_nats: float) -> None:
                nonlocal aside
                show(step, loss_nats)
                if aside is not None and step < config.steps:
                    # What follows training is compiled while that goes on, on another core.
                    aside.submit(
                        evaluate_and_sample, setup.model, state.params, setup.dataset, config
                    )
                    aside.shutdown(wait=False)
                    aside = None

            end = train_loop(
                *(config, setup.model, state, data, dev_data, manager, update, stop, mesh),
                inside=inside,
            )
        record: dict[str, Any] = {
            "steps": end.steps,
            "seconds": end.seconds,
            "steps_per_second": end.speed,
            "checkpoint_seconds": manager.seconds,
        }
        said = [f"time       {end.taken:,} steps in {end.seconds:.1f} s; {end.speed:,.0f} steps/s"]
        if end.exit_code > 1:
            return RunResult(record | NOTHING, said, end.exit_code, end.complaint)
        params = end.state.best_params if mesh is None else whole(end.state.best_params)
        measured = evaluate_and_sample(setup.model, params, setup.dataset, config)
        if not (math.isfinite(measured.train_loss + (measured.dev_loss or 0)) or end.complaint):
            both = f"train {measured.train_loss}, dev {measured.dev_loss}"
            why = f"the loss at the end is not finite ({both}); lower --learning-rate"
            end = end._replace(complaint=why, exit_code=1)
        losses = {"train_loss": measured.train_loss, "dev_loss": measured.dev_loss}
        with resume_hint("train", path):
            writer.append_metrics(path, [{"step": end.steps, **losses}])
            writer.save_results(path, params, measured.samples)
    record |= losses | {"samples": measured.samples}
    if profiled:
        made = profile(
            *(path / PROFILE, setup.model, optimizer, end.state, data),
            batch_size=setup.batch_size,
            mesh=mesh,
        )
        record["profile"] = {"trace": str(made.path), "microseconds": made.microseconds}
        said += describe_profile(made)
    return RunResult(record, [*describe_losses(measured), *said], end.exit_code, end.complaint)


def describe_profile(made: Profile) -> list[str]:
    """Say what a step is made of, and with what to look at the trace."""
    total = sum(made.microseconds.values())
    lines = [f"profile    {made.path}: drop it on ui.perfetto.dev, or: tensorboard --logdir"]
    lines[0] += f" {made.path.parent}"
    for scope, each in made.microseconds.items():
        lines.append(f"           {each:8.2f} us a step, {each / total:6.1%}  {scope}")
    return lines


def train_seeds(
    metadata: RunMetadata,
    setup: Setup,
    programs: list[Group],
    path: Path,
    keep: CheckpointConfig,
    console: Console,
) -> RunResult:
    """Train a member for each seed and keep their ensemble."""
    config = metadata.config
    assert isinstance(config, RunConfig)
    begun, taken, members = time.perf_counter(), 0, seeds_of(config)
    parts = open_checkpoints(path, members, setup.dataset, keep, console)
    total, first = config.steps * config.seeds, parts.taken

    def note(steps: int, loss_nats: float) -> None:
        nonlocal taken
        taken = steps
        update(steps, loss_nats)

    with interruptible() as stop:
        with resume_hint("train", path), console.progress(total, first=first) as update:
            trained = train_members(
                members, programs, parts=parts, pace=keep, update=note, stop=stop
            )
        seconds = time.perf_counter() - begun
        speed = max(0, taken - first) / seconds
        record: dict[str, Any] = {"seconds": seconds, "steps_per_second": speed}
        said = [f"time       {len(trained)} members in {seconds:.1f} s; {speed:,.0f} steps/s"]
        if len(trained) < config.seeds:
            why = f"interrupted; {len(trained)} of {config.seeds} members are trained"
            return RunResult(record | NOTHING, said, stop.exit_code, why)
        complaint, code = None, 0
        good = [trained[i] for i in sorted(trained) if trained[i].good]
        if len(good) < config.seeds:
            seeds = ", ".join(str(m.config.seed) for m in trained.values() if not m.good)
            complaint, code = f"training diverged for --seed {seeds}; lower --learning-rate", 1
        if not good:
            raise InputError(f"{complaint}; there is nothing to keep, and {path} is half-written")
        with resume_hint("train", path):
            saved = save_results_of(path, config, good, setup.dataset)
            parts.remove()
    record |= {
        "steps": config.steps,
        "train_loss": saved.train_loss,
        "dev_loss": saved.dev_loss,
        **members_record(good),
        "samples": saved.samples,
    }
    said = [*describe_members(good), *describe_losses(saved, "ensemble"), *said]
    return RunResult(record, said, code, complaint)


def open_checkpoints(
    path: Path, members: list[RunConfig], dataset: Dataset, keep: CheckpointConfig, console: Console
) -> PopulationCheckpoints:
    """Return what there is of a population, and say so. Raises InputError: see Parts.open."""
    about = population_digest(members, dataset.record, dataset.vocab.symbols)
    parts = PopulationCheckpoints(path, about, writes=is_primary())

    def report(error: InputError) -> None:
        if keep.strict:
            raise error
        console.note(f"{error}; its members are trained again")

    parts.open(report)
    if parts.held:
        console.say(f"resumed    {parts.taken:,} steps of members are taken already")
    return parts
