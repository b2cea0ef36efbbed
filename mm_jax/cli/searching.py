"""The settings of a sweep: trained from where they are, compared, and the best kept."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mm_jax.cli.common import (
    describe_devices,
    describe_losses,
    describe_source,
    resume_command,
    resume_hint,
)
from mm_jax.cli.training import open_checkpoints
from mm_jax.config.command_line import command_of
from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.population_loop import save_members
from mm_jax.experiments.search_space import seeds_of
from mm_jax.experiments.successive_halving import (
    SearchResult,
    describe_result,
    member_rows,
    rungs,
    search,
)
from mm_jax.reports.text_tables import sweep_table
from mm_jax.runs import writer
from mm_jax.runs.layout import MEMBERS, SWEEP
from mm_jax.runtime.console import Console
from mm_jax.runtime.signals import interruptible


def search_in(
    path: Path,
    config: RunConfig,
    dataset: Dataset,
    chosen: list[tuple[dict[str, Any], RunConfig]],
    programs: list[Group],
    console: Console,
    *,
    halvings: int,
    keep: CheckpointConfig,
) -> tuple[dict[str, Any], int, str | None]:
    """Train what was chosen; return the record, the exit code, and why where that is not 0."""
    configs = [one for _, of_setting in chosen for one in seeds_of(of_setting)]
    for line in describe_source(config.data.data, dataset):
        console.say(line)
    console.say(
        f"sweep      {len(chosen):,} settings x {config.seeds:,} seeds, {config.steps:,} steps, "
        f"in {len(programs):,} programs"
    )
    console.say(describe_devices())
    parts = open_checkpoints(path, configs, dataset, keep, console)
    begun, taken, first = time.perf_counter(), 0, parts.taken

    def note(steps: int, loss_nats: float) -> None:
        nonlocal taken
        taken = steps
        update(steps, loss_nats)

    total = total_steps(configs, config.seeds, halvings)
    with interruptible() as stop, resume_hint("sweep", path):
        with console.progress(total, first=first) as update:
            found = search(
                configs,
                programs,
                config.seeds,
                halvings=halvings,
                parts=parts,
                pace=keep,
                update=note,
                stop=stop,
            )
        seconds = time.perf_counter() - begun
        changes = [setting for setting, _ in chosen]
        for line in sweep_table(found.results, changes):
            console.say(line)
        taken = max(0, taken - first)
        record = {
            "command": "sweep",
            "config": to_dict(config),
            "vocab_size": len(dataset.vocab),
            "num_examples": programs[0].setup.num_examples,
            "settings": [describe_result(result, changes) for result in found.results],
            "seconds": seconds,
            "steps_per_second": taken / seconds,
            "sweep_dir": str(path),
        }
        single = all(program.plan.alone for program in programs)
        for line in keep_best(path, found, dataset, record, single):
            console.say(line)
        rows = list(member_rows(found.results, changes, config.seed))
        writer.save_table(path, rows, record if found.complete else None)
        if found.complete:
            parts.remove()
    console.say(f"time       {taken:,} steps in {seconds:.1f} s; {taken / seconds:,.0f} steps/s")
    if not found.complete:
        finished = sum(result.steps == config.steps for result in found.results)
        done = f"{finished:,} of {len(chosen):,} settings were finished"
        mend = f"resume with: {resume_command('sweep', path)}"
        return record, stop.exit_code, f"interrupted; {done}; they are in {path}; {mend}"
    console.say(f"sweep      {path}: {MEMBERS}, {SWEEP}")
    if not found.best:
        return (
            record,
            1,
            f"training diverged in every setting; lower --learning-rate; see {path}",
        )
    return record, 0, None


def total_steps(configs: Sequence[RunConfig], num_seeds: int, halvings: int) -> int:
    """Return how many steps all members take."""
    if not halvings:
        return sum(config.steps for config in configs)
    total, before = 0, 0
    for count, share in rungs(len(configs) // num_seeds, halvings):
        until = configs[0].steps // share
        total, before = total + count * num_seeds * (until - before), until
    return total


def keep_best(
    path: Path,
    found: SearchResult,
    dataset: Dataset,
    record: dict[str, Any],
    single: bool,
) -> Iterator[str]:
    """Write the best member as a run, and its setting's seeds as another; say what they reach."""
    if not found.best:
        return
    best = min(found.best, key=lambda member: member.dev_loss or 0.0)
    alone, together = path / "best", path / "ensemble"
    saved = save_members(alone, best.config, [best], dataset, alone=single)
    record |= {
        "num_params": best.num_params,
        "best_setting": found.results[0].setting,
        "best_seed": best.config.seed,
        "train_loss": saved.train_loss,
        "dev_loss": saved.dev_loss,
        "run_dir": str(alone),
        "train_command": command_of(best.config),
    }
    yield from describe_losses(saved, "best")
    yield f"           {alone}: seed {best.config.seed} of the first line; to train it again:"
    yield f"           {record['train_command']}"
    if len(found.best) > 1:
        first = found.best[0].config
        config = dataclasses.replace(first, seeds=len(found.best))
        saved = save_members(together, config, found.best, dataset, alone=single)
        record |= {
            "ensemble_train_loss": saved.train_loss,
            "ensemble_dev_loss": saved.dev_loss,
            "ensemble_dir": str(together),
        }
        yield from describe_losses(saved, "ensemble")
        yield f"           {together}: all {len(found.best)} seeds of the first line as one model"
