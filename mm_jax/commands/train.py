"""Train a model on a file of lines and keep it in a run directory."""

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_jax.commands import Outcome
from mm_jax.config import MODEL_CONFIGS, PRESETS, InputError, RunConfig, to_dict
from mm_jax.console import Console
from mm_jax.text import find_data

if TYPE_CHECKING:
    import numpy as np

METRIC_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps
DEV_LOOKS = 20  # times that the dev loss is measured during a run
NUM_SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a model on a file of lines and keep it in a run directory.

    Without flags: the last MLP of the second makemore lecture on names (200,000 steps).
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RunConfig
    )
    model: Annotated[str, tyro.conf.arg(metavar="|".join(MODEL_CONFIGS))] = "mlp"
    """Which model; the flags that are its own stand below."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="|".join(PRESETS))] = None
    """A set of choices to start from; other flags override it."""
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


class LossLines:
    """Turns the loss of every step into lines of metrics, each the mean over as many steps.

    Where a line ends depends on the step alone, not on the chunks that the losses come in.
    """

    def __init__(self, num_steps: int) -> None:
        self.interval = max(1, num_steps // METRIC_LINES)
        self.first = 0
        self.pending: list[float] = []  # losses of steps that fill no line yet

    def add(self, losses: "np.ndarray") -> list[dict[str, Any]]:
        """Return the lines that these losses complete."""
        self.pending += losses.tolist()
        lines = []
        while len(self.pending) >= self.interval:
            mean = math.fsum(self.pending[: self.interval]) / self.interval
            del self.pending[: self.interval]
            self.first += self.interval
            lines.append({"step": self.first, "loss": mean})
        return lines


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    import jax

    from mm_jax import run as runs
    from mm_jax.evaluate import evaluate
    from mm_jax.lr import learning_rates, make_optimizer
    from mm_jax.model import num_params
    from mm_jax.models import build_model
    from mm_jax.sample import sample
    from mm_jax.text import load_splits, overlap
    from mm_jax.train import NotFiniteError, fit_chunks, init_state
    from mm_jax.vocab import build_vocab, decode_lines

    config = with_absolute_path(options.config)
    path = runs.choose_dir(options.out, options.preset or config.model.name)
    text, splits = load_splits(config.data)
    vocab = build_vocab(text.lines)
    model = build_model(config.model, len(vocab))
    optimizer = make_optimizer(config.optimizer, config.steps)
    begin = partial(init_state, model, optimizer, jax.random.key(config.seed))
    check_memory(jax.eval_shape(begin), text.lines, config.model.context, jax.devices()[0])
    train_data, dev_data = (runs.make_batch(s, vocab, model, config) for s in splits[:2])
    state = begin()
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
        "num_examples": int(train_data.weights.sum()),
        "dev_lines_in_train": data["dev_lines_in_train"],
        "run_dir": str(path),
    }
    for line in summary(record, data, jax.devices()):
        console.say(line)
    runs.create(path, config, vocab, data)

    complaint, exit_code = None, 0
    lines, looks, done, compiled_at = LossLines(config.steps), 0, 0, 0
    good = state, 0  # where the loss on dev was last found finite, and after how many steps
    begun = compiled = time.perf_counter()
    chunks = fit_chunks(
        model,
        optimizer,
        state,
        train_data,
        num_steps=config.steps,
        batch_size=config.batch_size,
    )
    with interruptible() as interrupted, console.progress(config.steps) as update:
        try:
            for state, losses in chunks:
                metrics = lines.add(losses)
                at = [each["step"] - 1 for each in metrics]
                rates = learning_rates(config.optimizer, config.steps, at).tolist()
                for each, rate in zip(metrics, rates, strict=True):
                    each["learning_rate"] = rate
                done += len(losses)
                if done * DEV_LOOKS // config.steps > looks:
                    looks = done * DEV_LOOKS // config.steps
                    dev_loss = float(evaluate(model, state.params, dev_data))
                    metrics.append({"step": done, "dev_loss": dev_loss})
                    if not math.isfinite(dev_loss):
                        complaint, exit_code = f"the dev loss became {dev_loss} by step {done}", 1
                        break
                    good = state, done
                runs.append_metrics(path, metrics)
                update(done, float(losses.mean()))
                if not compiled_at:
                    compiled, compiled_at = time.perf_counter(), done
                if interrupted():
                    complaint, exit_code = f"interrupted after step {done}", 130
                    break
        except NotFiniteError as error:
            good = error.state, int(error.state.step)
            complaint, exit_code = str(error), 1
    if exit_code == 1:
        state, done = good
        complaint = (
            f"{complaint}; the parameters after step {done} are kept; lower --learning-rate "
            f"({config.optimizer.learning_rate:g}), or set --clip-norm 1"
        )
    ended = time.perf_counter()
    seconds = ended - begun
    speed = (done - compiled_at) / (ended - compiled) if done > compiled_at else done / seconds

    train_loss, dev_loss = (float(evaluate(model, state.params, d)) for d in (train_data, dev_data))
    runs.append_metrics(path, [{"step": done, "train_loss": train_loss, "dev_loss": dev_loss}])
    tokens, _ = sample(model, state.params, jax.random.key(0), num=NUM_SAMPLES)
    samples = decode_lines(vocab, jax.device_get(tokens))
    runs.save_results(path, state.params, samples)

    perplexity = math.exp(min(dev_loss, 700))
    console.say(f"loss       train {train_loss:.4f}, dev {dev_loss:.4f} nats a symbol")
    console.say(f"           (dev perplexity {perplexity:.2f}, {dev_loss / math.log(2):.4f} bits)")
    console.say(f"time       {done:,} steps in {seconds:.1f} s; {speed:,.0f} steps/s")
    console.say(f"run        {path}; {NUM_SAMPLES} lines it makes (more: mm-jax sample {path}):")
    show_samples(console, samples, set(splits.train))
    record |= {
        "steps": done,
        "train_loss": train_loss,
        "dev_loss": dev_loss,
        "seconds": seconds,
        "steps_per_second": speed,
        "samples": samples,
        "stopped": complaint,
    }
    return Outcome(record, exit_code, complaint and f"{complaint}; the run is in {path}")


def with_absolute_path(config: RunConfig) -> RunConfig:
    """Return the choices with a data path that holds from any folder."""
    name = config.data.data
    if name in ("names", "lecture-names"):
        return config
    data = dataclasses.replace(config.data, data=os.path.abspath(find_data(name)))
    return dataclasses.replace(config, data=data)


def check_memory(state: Any, lines: list[str], context: int, device: Any) -> None:
    """Raise InputError where training cannot fit in the memory: a state and a data set so large."""
    import jax

    stats = device.memory_stats() or {}
    there = stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # The state before a chunk, the state in it, and gradients; windows as they are made and after.
    needed = 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needed += 2 * 4 * (context + 2) * (sum(map(len, lines)) + len(lines))
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


def show_samples(console: Console, samples: list[str], train: set[str] | None) -> None:
    """Print samples, one a line; those that stand in the training lines are marked."""
    for line in samples:
        known = train is not None and line in train
        console.say(line + ("\t(in train)" if known else ""))


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that the caller asks for; a second one interrupts."""
    caught = False

    def note(*_: Any) -> None:
        nonlocal caught
        caught = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: caught
    finally:
        signal.signal(signal.SIGINT, before)
