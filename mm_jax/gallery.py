"""A run, or a sweep -> all there is to see of it, and the pictures of that.

Enters: a run directory. Leaves: a Sight with its numbers, and a Picture for each figure that fits
its model. Without the data file there are fewer of them, and ``notes`` say which are missing.
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Integer
from matplotlib.figure import Figure

from mm_jax import plots
from mm_jax.choices import InputError
from mm_jax.config import NUM_SAMPLES, NgramConfig, RunConfig
from mm_jax.inside import Inside, look_inside
from mm_jax.lr import make_optimizer
from mm_jax.metrics import Curve, curves_of, read_lines
from mm_jax.run import Run, run_splits
from mm_jax.rundir import METRICS, SAMPLES, SETTINGS, SWEEP
from mm_jax.sample import sample
from mm_jax.settings import Search, read_search
from mm_jax.task import Source, load_task
from mm_jax.text import Splits, Text, is_large, overlap
from mm_jax.view import (
    Line,
    Shape,
    bigrams_of,
    floor_lines,
    floors_of,
    lines_of,
    neighbours_of,
    plane_of,
    shapes_of,
)
from mm_jax.vocab import decode_lines

EXAMPLES = 4096  # that the inside of a net is looked at with


class Picture(NamedTuple):
    """A figure, the name of its file, and in words what it shows."""

    name: str
    title: str
    description: str
    figure: Figure


class Sight(NamedTuple):
    """What there is to see of a run."""

    run: Run
    curves: list[Curve]
    losses: dict[str, float | None]  # exact, at the end: train_loss, dev_loss
    text: Text | None  # None where the data file is gone, has changed, or is large
    splits: Splits | None
    floors: list[tuple[str, float]]
    lines: list[Line]  # that it makes
    shapes: list[Shape]  # of its parameters
    notes: list[str]  # what is missing, and why


def see(run: Run) -> Sight:
    """Return what there is to see of a run. Raises InputError where its metrics are damaged."""
    notes, text, splits = [], None, None
    if is_large(run.config.data.data):
        notes.append("its data file is large, and was not read for this")
    else:
        try:
            text, splits = run_splits(run)
        except InputError as error:
            notes.append(str(error))
    lines = read_lines(run.folder / METRICS)
    curves = [curve for curve in curves_of(lines) if len(curve.steps) > 1]
    last = lines[-1] if lines and run.step is None else {}
    losses = {name: _number(last.get(name)) for name in ("train_loss", "dev_loss")}
    floors = [("uniform", math.log(len(run.vocab)))]
    if splits is not None:
        floors = list(floor_lines(floors_of(splits, run.vocab)))
    arrays = [(k, np.asarray(v)) for k, v in flatten_dict(run.params, sep=".").items()]
    looked_at = lines_of(samples_of(run), run.model, run.params, run.vocab, splits)
    return Sight(
        run, curves, losses, text, splits, floors, looked_at, list(shapes_of(arrays)), notes
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def samples_of(run: Run) -> list[str]:
    """Return the lines that are kept with a run, or new ones where none are."""
    file = run.folder / SAMPLES
    if run.step is None and file.is_file():
        try:
            return file.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {file}: {error}") from None
    tokens, _ = sample(run.model, run.params, jax.random.key(0), num=NUM_SAMPLES)
    return decode_lines(run.vocab, jax.device_get(tokens))


def pictures(sight: Sight) -> Iterator[Picture]:
    """Yield each picture that a run has."""
    config = sight.run.config
    if sight.curves:
        yield curve_picture(sight)
    if sight.curves and len(sight.curves) == 1 and len(sight.curves[0].looks) > 1:
        yield looks_picture(sight.curves[0])
    yield from pair_pictures(sight)
    if "C" in sight.run.params and not _is_ensemble(config):
        yield from embedding_pictures(sight)
    if isinstance(config, RunConfig) and config.seeds == 1 and sight.splits is not None:
        yield from inside_pictures(sight, config)
    if sight.lines:
        yield samples_picture(sight.lines)


def _is_ensemble(config: Any) -> bool:
    return isinstance(config, RunConfig) and config.seeds > 1


def curve_picture(sight: Sight) -> Picture:
    """Return the picture of the loss over steps."""
    ends = {name.removesuffix("_loss"): loss for name, loss in sight.losses.items()}
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in ends.items() if loss is not None)
    held = ", ".join(f"{name} {loss:.3f}" for name, loss in sight.floors)
    steps = max(curve.end for curve in sight.curves)
    description = f"Loss in nats a symbol over {steps:,} steps"
    description += (f", at the end {told}" if told else "") + f". Lines to hold it against: {held}."
    figure = plots.training(sight.curves, sight.floors)
    return Picture("loss", "Loss over steps", description, figure)


def looks_picture(curve: Curve) -> Picture:
    """Return the picture of how much steps change each array over time."""
    last = curve.looks[-1]["update_to_data"]
    told = ", ".join(f"{name} {float(ratio):.1e}" for name, ratio in last.items())
    return Picture(
        "updates",
        "How much a step changes each array",
        f"Ratio of a step's update to each array over time, at the end: {told}.",
        plots.ratios(curve.looks),
    )


def pair_pictures(sight: Sight) -> Iterator[Picture]:
    """Yield tables of pairs: counts, and of a net of one matrix its probabilities beside them."""
    run, counts = sight.run, pair_counts(sight)
    name = run.config.model.name
    if name == "mlp" or (counts is None and name != "bigram"):
        return
    frequent = None
    if counts is not None:
        frequent = counts.sum(0)
        i, j = divmod(int(counts.argmax()), len(counts))
        most = run.vocab.symbols[i] + run.vocab.symbols[j]
        description = (
            f"How often each of {counts.sum():,} bigrams occurs in the training lines, a row for "
            f"the first symbol; {most} most often, {counts.max():,} times."
        )
        figure = plots.bigram_table(counts, run.vocab)
        yield Picture("bigrams", "Counts of bigrams", description, figure)
    if name != "bigram" or _is_ensemble(run.config):
        return
    probs = np.asarray(jax.nn.softmax(run.params["W"]), np.float64)
    yield Picture(
        "probabilities",
        "What the net gives each next symbol",
        "The net's probability of each next symbol in percent, a row for the symbol before it.",
        plots.probability_table(probs, run.vocab, frequent),
    )
    if counts is not None:
        totals = counts.sum(1, keepdims=True)
        counted = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / len(counts))
        far = float(np.abs(probs - counted).max())
        yield Picture(
            "difference",
            "The net less the counts",
            "The net's probabilities less those of counting, in percentage points; the largest is "
            f"{100 * far:.1f}.",
            plots.difference_table(probs - counted, run.vocab, frequent),
        )


def pair_counts(sight: Sight) -> Integer[np.ndarray, "V V"] | None:
    """Return how often each bigram occurs: as a model has counted, or in the training lines."""
    model = sight.run.config.model
    if isinstance(model, NgramConfig) and model.order > 1:
        counts = np.asarray(sight.run.params["counts"])
        return counts.sum(tuple(range(model.order - 2)), dtype=np.int64)
    if sight.splits is None or len(sight.run.vocab) ** 2 > 2**26:
        return None
    return bigrams_of(sight.splits.train, sight.run.vocab)


def embedding_pictures(sight: Sight) -> Iterator[Picture]:
    """Yield where an embedding puts the symbols, and the nearest ones of each."""
    vocab, table = sight.run.vocab, np.asarray(sight.run.params["C"])
    plane = plane_of(table, vocab)
    how = f", projected on two that explain {plane.explained:.0%}" if plane.dim > 2 else ""
    yield Picture(
        "embedding",
        "Where the embedding puts the symbols",
        f"The embedding of {len(vocab):,} symbols in {plane.dim} dimensions{how}; the table of "
        "nearest symbols says the same in numbers.",
        plots.embedding(table, vocab),
    )
    if len(vocab) > 1:
        yield Picture(
            "neighbours",
            "The nearest symbols of each",
            "For each symbol the nearest ones in the embedding, and their distances.",
            plots.neighbours(*neighbours_of(table), vocab),
        )


def inside_pictures(sight: Sight, config: RunConfig) -> Iterator[Picture]:
    """Yield the histograms of activations and gradients, before and after training."""
    before, after = insides(sight, config)
    if after.activations:
        told = "; ".join(
            f"{name}: {float(before.saturated[name]):.0%} before, {float(share):.0%} after"
            for name, share in after.saturated.items()
        )
        yield Picture(
            "activations",
            "Activations of the hidden layer",
            f"Histogram of tanh activations; saturated share, {told}.",
            plots.activations(before, after),
        )
    told = ", ".join(f"{name} {float(std):.1e}" for name, std in after.gradient_std.items())
    yield Picture(
        "gradients",
        "Gradients of each array",
        f"Histogram of gradients after training; standard deviations: {told}.",
        plots.gradients(before, after),
    )


def insides(sight: Sight, config: RunConfig) -> tuple[Inside, Inside]:
    """Return what the net looks like inside before its first step, and as it is now."""
    run, text, splits = sight.run, sight.text, sight.splits
    assert text is not None
    assert splits is not None
    both = overlap(splits.dev, splits.train) if splits.dev else 0.0
    optimizer = make_optimizer(config.optimizer, config.steps)
    source = Source(text, splits, run.vocab, both, {})
    task = load_task(config, optimizer, source=source)
    state = task.begin_whole(optimizer, jax.random.key(config.seed))
    count = len(task.data.targets)
    ids = jnp.arange(count) if count <= EXAMPLES else jnp.arange(EXAMPLES) * count // EXAMPLES
    batch = jax.tree.map(lambda leaf: leaf[ids], task.data)
    look = jax.jit(partial(look_inside, task.model, optimizer))
    before = look(state, batch)
    return before, look(dataclasses.replace(state, params=run.params), batch)


def samples_picture(lines: list[Line]) -> Picture:
    """Return the picture of lines that the model makes."""
    new = sum(not line.seen for line in lines)
    return Picture(
        "samples",
        "Lines it makes",
        f"{len(lines)} lines, {new} of them new, and the surprise of each symbol.",
        plots.samples(lines),
    )


# Sweeps


class SweepSight(NamedTuple):
    """What there is to see of a sweep."""

    path: Path
    search: Search
    record: dict[str, Any]  # sweep.json

    @property
    def scales(self) -> dict[str, str]:
        """How each choice is drawn: log, linear, or names."""
        return {axis.name: _scale(self.search, axis.name) for axis in self.search.axes}


def is_sweep(path: Path) -> bool:
    """Tell whether a directory is a sweep, and not a run."""
    return (path / SETTINGS).is_file()


def see_sweep(path: Path) -> SweepSight:
    """Return what there is to see of a sweep. Raises InputError where it is not at its end."""
    search = read_search(path)
    if not (path / SWEEP).is_file():
        raise InputError(f"{path} has not come to its end; mm-jax sweep --resume --out {path}")
    try:
        record = json.loads((path / SWEEP).read_bytes())
        for each in record["settings"]:
            each["mean_dev_loss"] = float(each["mean_dev_loss"])
            each["dev_losses"] = [float(loss) for loss in each["dev_losses"]]
            dict(each["choices"]), int(each["num_params"]), int(each["steps"])
        if not record["settings"]:
            raise ValueError("it has no settings")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path / SWEEP} is damaged: {type(error).__name__}: {error}") from None
    return SweepSight(path, search, record)


def _scale(search: Search, name: str) -> str:
    axis = next(axis for axis in search.axes if axis.name == name)
    if axis.values is None:
        return "log" if axis.log else "linear"
    numbers = [value for value in axis.values if not isinstance(value, str)]
    if len(numbers) < len(axis.values):
        return "names"
    low, high = min(numbers), max(numbers)
    return "log" if low > 0 and high / low >= 8 else "linear"


def choices_picture(sight: SweepSight, only: str | None = None) -> Picture:
    """Return the picture of the loss against each choice of a sweep, or ``only`` one of them."""
    settings = sight.record["settings"]
    names = [axis.name for axis in sight.search.axes if only in (None, axis.name)]
    rows = [
        ({name: each["choices"][name] for name in names}, each["mean_dev_loss"])
        for each in settings
    ]
    best, lowest = rows[0]
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best.items())
    which = f"the {only.replace('_', ' ')}" if only else "each choice"
    return Picture(
        f"choices_{only}" if only else "choices",
        f"Loss against {which}",
        f"Mean loss on dev of {len(rows)} settings against {which}; the best, {lowest:.4f}, "
        f"has {told}.",
        plots.choices(rows, sight.scales, [each["steps"] for each in settings]),
    )
