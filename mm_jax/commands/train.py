"""Train a model on a file of lines and keep it in a run directory."""

import dataclasses
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

import tyro

from mm_jax.commands import Outcome
from mm_jax.config import MODEL_CONFIGS, PRESETS, InputError, RunConfig, to_dict
from mm_jax.console import Console, shown
from mm_jax.text import find_data, num_predictions

NUM_SAMPLES = 20
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
    model: Annotated[str, tyro.conf.arg(metavar="|".join(MODEL_CONFIGS))] = "mlp"
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
    if model is not None and model not in MODEL_CONFIGS:
        raise InputError(f"unknown model {model!r}; there is {', '.join(MODEL_CONFIGS)}")
    config = PRESETS[preset].config if preset else RunConfig()
    if model not in (None, config.model.name):
        if preset:
            raise InputError(f"preset {preset} is for --model {config.model.name}, not {model}")
        config = dataclasses.replace(config, model=MODEL_CONFIGS[model]())
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

    config = with_absolute_path(options.config)
    path = runs.choose_dir(options.out, options.preset or config.model.name)
    text, splits = load_splits(config.data)
    vocab = build_vocab(text.lines)
    model = build_model(config.model, len(vocab))
    optimizer = make_optimizer(config.optimizer, config.steps)
    begin = partial(init_state, model, optimizer, jax.random.key(config.seed))
    leaves = jax.eval_shape(lambda: jax.tree.leaves(begin()))
    check_memory(leaves, text.lines, config.model.context, jax.devices()[0])
    train_data, dev_data = (runs.make_batch(s, vocab, model, config) for s in splits[:2])
    state = jax.jit(begin)()  # one program, compiled in a third of the time of its parts
    data = {
        "path": str(text.path),
        "sha256": text.sha256,
        "num_lines": len(text.lines),
        "num_blank": text.num_blank,
        "split_lines": [len(lines) for lines in splits],
        "dev_lines_in_train": overlap(splits.dev, splits.train),
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

    def results(params: Any) -> tuple[float, float, list[str]]:
        train_loss = float(evaluate(model, params, train_data))
        dev_loss = float(evaluate(model, params, dev_data))
        tokens, _ = sample(model, params, jax.random.key(0), num=NUM_SAMPLES)
        return train_loss, dev_loss, decode_lines(vocab, jax.device_get(tokens))

    with interruptible() as interrupted, ThreadPoolExecutor(1) as aside:
        aside.submit(results, state.params)  # compiled while training runs, on another core
        with console.progress(config.steps) as update:
            end = descend(config, model, state, train_data, dev_data, path, update, interrupted)
        train_loss, dev_loss, samples = results(end.state.params)
        if not (math.isfinite(train_loss + dev_loss) or end.complaint):
            why = f"the loss at the end is not finite (train {train_loss}, dev {dev_loss})"
            end = end._replace(complaint=f"{why}; lower --learning-rate", exit_code=1)
        runs.append_metrics(
            path, [{"step": end.steps, "train_loss": train_loss, "dev_loss": dev_loss}]
        )
        runs.save_results(path, end.state.params, samples)

    perplexity = f"{math.exp(dev_loss):.2f}" if dev_loss < 20 else "huge"
    console.say(f"loss       train {shown(train_loss)}, dev {shown(dev_loss)} nats a symbol")
    bits = shown(dev_loss / math.log(2))
    console.say(f"           (dev perplexity {perplexity}, {bits} bits)")
    console.say(f"time       {end.steps:,} steps in {end.seconds:.1f} s; {end.speed:,.0f} steps/s")
    console.say(f"run        {path}; {NUM_SAMPLES} lines it makes (more: mm-jax sample {path}):")
    console.say_samples(samples, set(splits.train))
    record |= {
        "steps": end.steps,
        "train_loss": train_loss,
        "dev_loss": dev_loss,
        "seconds": end.seconds,
        "steps_per_second": end.speed,
        "samples": samples,
        "stopped": end.complaint,
    }
    return Outcome(record, end.exit_code, end.complaint and f"{end.complaint}; it is in {path}")


def with_absolute_path(config: RunConfig) -> RunConfig:
    """Return the choices with a data path that holds from any folder."""
    name = config.data.data
    if name in ("names", "lecture-names"):
        return config
    data = dataclasses.replace(config.data, data=os.path.abspath(find_data(name)))
    return dataclasses.replace(config, data=data)


def check_memory(leaves: list[Any], lines: list[str], context: int, device: Any) -> None:
    """Raise InputError where training cannot fit: a state of these leaves, and these lines."""
    stats = device.memory_stats() or {}
    there = stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # The state before a chunk, the state in it, and gradients; windows as they are made and after.
    needed = 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    needed += 2 * 4 * (context + 2) * num_predictions(lines)
    if needed > there:
        raise InputError(
            f"training this takes about {needed / 1e9:,.0f} GB, and there is "
            f"{there / 1e9:,.0f} GB; a smaller --context, --hidden-dim or --embed-dim takes less"
        )


def summary(record: dict[str, Any], data: dict[str, Any], devices: list[Any]) -> Iterator[str]:
    """Say what will be trained on what."""
    config = record["config"]
    yield (
        f"data       {config['data']['data']}: {data['num_lines']:,} lines, "
        f"{record['vocab_size']} symbols, {data['num_blank']:,} blank lines dropped"
    )
    counts = " / ".join(f"{count:,}" for count in data["split_lines"])
    shared = data["dev_lines_in_train"]
    mend = "; see --split unique" if shared else ""
    yield f"split      {counts} lines ({shared:.1%} of dev is in train too{mend})"
    yield (
        f"model      {config['model']['name']}, {record['num_params']:,} parameters; "
        f"{record['num_examples']:,} training examples"
    )
    yield f"device     {devices[0].device_kind} x {len(devices)}"
