"""Train a model on a file of lines and keep it in a run directory."""

import dataclasses
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

import tyro

from mm_jax.choices import InputError, flag
from mm_jax.commands import NUM_SAMPLES, Outcome, describe_split, with_absolute_path
from mm_jax.config import COUNTED, PRESETS, TRAINED, RunConfig, to_dict
from mm_jax.console import Console, shown
from mm_jax.memory import memory_bytes
from mm_jax.text import num_predictions

PRESET_HELP = "Choices to start from; other flags override them. " + " ".join(
    f"{name}: {preset.help}." for name, preset in PRESETS.items()
)


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
    """Return the Options that a --preset and a --model among the ``given`` flags begin with."""
    preset, model = given.get("preset"), given.get("model")
    if preset is not None and preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; there is {', '.join(PRESETS)}")
    if model is not None and model not in TRAINED:
        if model in COUNTED:
            raise InputError(f"{model} is counted, not trained: mm-jax count")
        raise InputError(f"unknown model {model!r}; there is {', '.join(TRAINED)}")
    config = PRESETS[preset].config if preset else RunConfig()
    if model not in (None, config.model.name):
        if preset:
            raise InputError(f"preset {preset} is for --model {config.model.name}, not {model}")
        config = dataclasses.replace(config, model=TRAINED[model]())
    return Options(config=config, model=config.model.name, preset=preset)


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    import jax

    from mm_jax import run as runs
    from mm_jax.evaluate import evaluate
    from mm_jax.lr import make_optimizer
    from mm_jax.model import num_params
    from mm_jax.models import build_model
    from mm_jax.sample import sample
    from mm_jax.session import descend, interruptible
    from mm_jax.text import load_splits, overlap
    from mm_jax.train import init_state
    from mm_jax.vocab import build_vocab, decode_lines
    from mm_jax.windows import distinct

    config = options.config
    config = dataclasses.replace(config, data=with_absolute_path(config.data))
    path = runs.choose_dir(options.out, options.preset or config.model.name)
    text, splits = load_splits(config.data)
    vocab = build_vocab(text.lines)
    model = build_model(config.model, len(vocab))
    optimizer = make_optimizer(config.optimizer, config.steps)
    strength = config.regularization or None
    key = jax.random.key(config.seed)
    begin = partial(init_state, model, optimizer, key, regularization=strength)
    leaves = jax.eval_shape(lambda: jax.tree.leaves(begin()))
    check_memory(leaves, text.lines, model.context, config, jax.devices()[0])
    train_data = runs.make_batch(splits.train, vocab, model, config)
    if config.full_batch:
        train_data = distinct(train_data)
    dev_data = runs.make_batch(splits.dev, vocab, model, config) if splits.dev else None
    state = jax.jit(begin)()  # one program, compiled in a third of the time of its parts
    data = {
        "path": str(text.path),
        "sha256": text.sha256,
        "num_lines": len(text.lines),
        "num_blank": text.num_blank,
        "split_lines": [len(lines) for lines in splits],
        "dev_lines_in_train": overlap(splits.dev, splits.train) if splits.dev else 0.0,
    }
    record = {
        "command": "train",
        "config": to_dict(config),
        "vocab_size": len(vocab),
        "num_params": num_params(state.params),
        "num_examples": num_predictions(splits.train),
        "dev_lines_in_train": data["dev_lines_in_train"],
        "run_dir": str(path),
    }
    for line in summary(record, data, jax.devices()):
        console.say(line)
    runs.create(path, config, vocab, data)

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


def check_memory(
    leaves: list[Any], lines: list[str], context: int, config: RunConfig, device: Any
) -> None:
    """Raise InputError where training cannot fit: a state of these leaves, and these lines."""
    stats = device.memory_stats() or {}
    there = stats.get("bytes_limit") or memory_bytes()
    # The state before a chunk, the state in it, and gradients; windows as they are made and after.
    needed = 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    needed += 2 * 4 * (context + 2) * num_predictions(lines)
    if needed > there:
        sizes = [n for n, value in vars(config.model).items() if isinstance(value, int)]
        mend = f"; a smaller {' or '.join(map(flag, sizes))} takes less" if sizes else ""
        raise InputError(
            f"training this takes about {needed / 1e9:,.0f} GB, and there is "
            f"{there / 1e9:,.0f} GB{mend}"
        )


def summary(record: dict[str, Any], data: dict[str, Any], devices: list[Any]) -> Iterator[str]:
    """Say what will be trained on what."""
    config = record["config"]
    yield (
        f"data       {config['data']['data']}: {data['num_lines']:,} lines, "
        f"{record['vocab_size']} symbols, {data['num_blank']:,} blank lines dropped"
    )
    yield f"split      {describe_split(data['split_lines'], data['dev_lines_in_train'])}"
    yield (
        f"model      {config['model']['name']}, {record['num_params']:,} parameters; "
        f"{record['num_examples']:,} training examples"
    )
    yield f"device     {devices[0].device_kind} x {len(devices)}"
