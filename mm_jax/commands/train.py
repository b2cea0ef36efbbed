"""Train a model on a file of lines and keep it in a run directory."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mm_jax.commands import Outcome
from mm_jax.config import MODEL_CONFIGS, PRESETS, InputError, RunConfig, to_dict
from mm_jax.console import Console, printable

METRIC_LINES = 2000  # of minibatch losses in metrics.jsonl; each is the mean over its steps
DEV_LOOKS = 20  # times that the dev loss is measured during a run
NUM_SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a model on a file of lines and keep it in a run directory.

    Without flags: the last MLP of the second makemore lecture on names (200,000 steps).
    """

    config: RunConfig = RunConfig()
    model: str = "mlp"
    """Which model; its own flags are below."""
    preset: str | None = None
    """A set of choices to start from; other flags override it."""
    out: str | None = None
    """The run directory; by default the first free runs/NAME-1, runs/NAME-2, ..."""
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
    if preset and model not in (None, config.model.name):
        raise InputError(f"preset {preset} is for --model {config.model.name}, not {model}")
    if model not in (None, config.model.name):
        config = dataclasses.replace(config, model=MODEL_CONFIGS[model]())
    return Options(config=config, model=config.model.name, preset=preset)


def run(options: Options, console: Console) -> Outcome:
    """Train, evaluate, sample, and write the run directory."""
    import jax

    from mm_jax import run as runs
    from mm_jax.evaluate import evaluate
    from mm_jax.lr import learning_rates, make_optimizer
    from mm_jax.model import num_params
    from mm_jax.models import build_model
    from mm_jax.sample import sample
    from mm_jax.text import find_data, load_splits, overlap
    from mm_jax.train import NotFiniteError, fit_chunks, init_state
    from mm_jax.vocab import build_vocab, decode_lines

    config = options.config
    if config.data.data not in ("names", "lecture-names"):  # a path must hold from any folder
        absolute = str(find_data(config.data.data).absolute())
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, data=absolute))
    path = runs.choose_dir(options.out, options.preset or config.model.name)
    text, splits = load_splits(config.data)
    vocab = build_vocab(text.lines)
    model = build_model(config.model, len(vocab))
    train_data, dev_data = (runs.make_batch(s, vocab, model, config) for s in splits[:2])
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = init_state(model, optimizer, jax.random.key(config.seed))
    size, seen = num_params(state.params), overlap(splits.dev, splits.train)
    num_examples = int(train_data.weights.sum())

    console.say(
        f"data       {config.data.data}: {len(text.lines):,} lines, {len(vocab)} symbols; "
        f"{text.num_blank:,} blank lines dropped"
    )
    counts = " / ".join(f"{len(lines):,}" for lines in splits)
    console.say(f"split      {counts} lines; {seen:.1%} of the dev lines are in train too")
    console.say(f"model      {config.model.name}, {size:,} parameters; {num_examples:,} examples")
    console.say(f"device     {jax.devices()[0].device_kind} x {jax.device_count()}")
    data = {
        "path": str(text.path),
        "sha256": text.sha256,
        "num_lines": len(text.lines),
        "num_blank": text.num_blank,
        "split_lines": [len(lines) for lines in splits],
        "dev_lines_in_train": seen,
    }
    runs.create(path, config, vocab, data)

    interval = max(1, config.steps // METRIC_LINES)
    pending: list[float] = []  # losses of steps that fill no interval yet
    looks = done = compiled_at = 0
    complaint, exit_code = None, 0
    begun = compiled = time.perf_counter()
    steps = fit_chunks(
        model,
        optimizer,
        state,
        train_data,
        num_steps=config.steps,
        batch_size=config.batch_size,
    )
    with interruptible() as interrupted, console.progress(config.steps) as update:
        try:
            for state, losses in steps:  # noqa: B007, B020
                records: list[dict[str, Any]] = []
                first = done - len(pending)
                pending += losses.tolist()
                done += len(losses)
                full = len(pending) // interval
                ends = [first + interval * (i + 1) for i in range(full)]
                rates = learning_rates(config.optimizer, config.steps, [end - 1 for end in ends])
                for i, (end, rate) in enumerate(zip(ends, rates.tolist(), strict=True)):
                    mean = math.fsum(pending[interval * i : interval * (i + 1)]) / interval
                    records.append({"step": end, "loss": mean, "learning_rate": rate})
                del pending[: interval * full]
                if done * DEV_LOOKS // config.steps > looks:
                    looks = done * DEV_LOOKS // config.steps
                    dev_loss = float(evaluate(model, state.params, dev_data))
                    records.append({"step": done, "dev_loss": dev_loss})
                runs.append_metrics(path, records)
                update(done, float(losses.mean()))
                if not compiled_at:
                    compiled, compiled_at = time.perf_counter(), done
                if interrupted():
                    complaint, exit_code = f"interrupted after step {done}", 130
                    break
        except NotFiniteError as error:
            state, done, exit_code = error.state, int(error.state.step), 1
            complaint = f"{error}; the parameters after {done} steps are kept; a lower " + (
                f"--learning-rate than {config.optimizer.learning_rate:g}, or --clip-norm 1, helps"
            )
    ended = time.perf_counter()
    seconds = ended - begun
    speed = (done - compiled_at) / (ended - compiled) if done > compiled_at else done / seconds

    train_loss, dev_loss = (
        float(evaluate(model, state.params, d)) for d in (train_data, dev_data)
    )
    runs.append_metrics(path, [{"step": done, "train_loss": train_loss, "dev_loss": dev_loss}])
    tokens, _ = sample(model, state.params, jax.random.key(0), num=NUM_SAMPLES)
    samples = decode_lines(vocab, jax.device_get(tokens))
    runs.save_results(path, state.params, samples)

    console.say()
    console.say(
        f"train loss {train_loss:.4f}   dev loss {dev_loss:.4f} nats a symbol "
        f"(perplexity {math.exp(min(dev_loss, 700)):.2f})"
    )
    console.say(f"{done:,} steps in {seconds:.1f} s, {speed:,.0f} steps/s after compilation")
    console.say()
    show_samples(console, samples, set(splits.train))
    console.say()
    console.say(f"The run is in {path}. More lines: mm-jax sample {path}")
    record = {
        "command": "train",
        "config": to_dict(config),
        "vocab_size": len(vocab),
        "num_params": size,
        "num_examples": num_examples,
        "steps": done,
        "train_loss": train_loss,
        "dev_loss": dev_loss,
        "seconds": seconds,
        "steps_per_second": speed,
        "dev_lines_in_train": seen,
        "samples": samples,
        "run_dir": str(path),
        "stopped": complaint,
    }
    return Outcome(record, exit_code, complaint and f"{complaint}; the run is in {path}")


def show_samples(console: Console, samples: list[str], train: set[str] | None) -> None:
    """Print samples, one a line; those that stand in the training lines are marked."""
    for line in samples:
        known = train is not None and line in train
        console.say(printable(line) + ("\t(in train)" if known else ""))


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that the caller asks for; a second one interrupts."""
    caught = False

    def note(signum: int, frame: Any) -> None:
        nonlocal caught
        caught = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: caught
    finally:
        signal.signal(signal.SIGINT, before)
