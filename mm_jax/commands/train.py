"""Train a model on a file of lines and keep it in a run directory."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.choices import InputError
from mm_jax.commands import (
    NUM_SAMPLES,
    PRESET_HELP,
    Outcome,
    choices_of,
    describe_task,
    range_record,
    with_absolute_path,
)
from mm_jax.config import PRESETS, TRAINED, RunConfig
from mm_jax.console import Console, shown
from mm_jax.records import to_dict

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
    import jax

    from mm_jax import run as runs
    from mm_jax.evaluate import evaluate
    from mm_jax.lr import make_optimizer, range_optimizer
    from mm_jax.sample import sample
    from mm_jax.session import descend, interruptible
    from mm_jax.task import load_task
    from mm_jax.vocab import decode_lines

    config = options.config
    config = dataclasses.replace(config, data=with_absolute_path(config.data))
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
        optimizer = make_optimizer(config.optimizer, config.steps)
    model, vocab, splits, train_data = task.model, task.vocab, task.splits, task.data
    dev_data = runs.make_batch(splits.dev, vocab, model, config) if splits.dev else None
    key = jax.random.key(config.seed)
    state = jax.jit(task.begin, static_argnums=0)(optimizer, key)  # faster than part by part
    data = {
        "path": str(task.text.path),
        "sha256": task.text.sha256,
        "num_lines": len(task.text.lines),
        "num_blank": task.text.num_blank,
        "split_lines": [len(lines) for lines in splits],
        "dev_lines_in_train": task.dev_lines_in_train,
    }
    record = {
        "command": "train",
        "config": to_dict(config),
        "vocab_size": len(vocab),
        "num_params": task.num_params,
        "num_examples": task.num_examples,
        "dev_lines_in_train": task.dev_lines_in_train,
        "run_dir": str(path),
        "lr_range": lr_range,
    }
    runs.create(path, config, vocab, data, lr_range)

    def results(params: Any) -> tuple[float, float | None, list[str]]:
        train_loss = float(evaluate(model, params, train_data))
        dev_loss = None if dev_data is None else float(evaluate(model, params, dev_data))
        tokens, _ = sample(model, params, jax.random.key(0), num=NUM_SAMPLES)
        return train_loss, dev_loss, decode_lines(vocab, jax.device_get(tokens))

    with interruptible() as interrupted, ThreadPoolExecutor(1) as aside:
        aside.submit(results, state.params)  # compiled while training runs, on another core
        with console.progress(config.steps) as update:
            end = descend(config, model, state, train_data, dev_data, path, update, interrupted)
        train_loss, dev_loss, samples = results(end.state.params)
        if not (math.isfinite(train_loss + (dev_loss or 0)) or end.complaint):
            why = f"the loss at the end is not finite (train {train_loss}, dev {dev_loss})"
            end = end._replace(complaint=f"{why}; lower --learning-rate", exit_code=1)
        losses = {"train_loss": train_loss, "dev_loss": dev_loss}
        runs.append_metrics(path, [{"step": end.steps, **losses}])
        runs.save_results(path, end.state.params, samples)

    which, last = ("train", train_loss) if dev_loss is None else ("dev", dev_loss)
    held_out = "" if dev_loss is None else f", dev {shown(dev_loss)}"
    console.say(f"loss       train {shown(train_loss)}{held_out} nats a symbol")
    perplexity = f"{math.exp(last):.2f}" if last < 20 else "huge"
    console.say(f"           ({which} perplexity {perplexity}, {shown(last / math.log(2))} bits)")
    console.say(f"time       {end.steps:,} steps in {end.seconds:.1f} s; {end.speed:,.0f} steps/s")
    console.say(f"run        {path}; {NUM_SAMPLES} lines it makes (more: mm-jax sample {path}):")
    console.say_samples(samples, set(splits.train))
    record |= {
        "steps": end.steps,
        **losses,
        "seconds": end.seconds,
        "steps_per_second": end.speed,
        "samples": samples,
        "stopped": end.complaint,
    }
    return Outcome(record, end.exit_code, end.complaint and f"{end.complaint}; it is in {path}")


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
