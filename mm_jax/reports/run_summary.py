"""A run -> the numbers behind its figures and its report.

Enters: a run. Leaves: a RunSummary. Without the data file some numbers are missing, and ``notes``
say which and why.
"""

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Int

from mm_jax.config.base import MAX_FLOAT, InputError
from mm_jax.config.training import NUM_SAMPLES, RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.examples import is_on_host
from mm_jax.data.samples import Samples
from mm_jax.data.vocab import SymbolError
from mm_jax.experiments.evaluation import first_samples
from mm_jax.experiments.setup import load_setup
from mm_jax.reports.analysis import (
    AnnotatedLine,
    ArrayStats,
    annotate_lines,
    array_stats,
    baseline_losses,
    named_baselines,
)
from mm_jax.runs.layout import CONFIG, METRICS, SAMPLES, check_data_record
from mm_jax.runs.metrics import LossCurve, loss_curves, read_lines
from mm_jax.runs.reader import Run, read_samples, run_dataset
from mm_jax.runtime.paths import is_large
from mm_jax.training.data import read_by
from mm_jax.training.diagnostics import Diagnostics, look_inside
from mm_jax.training.optimizers import make_optimizer

NUM_EXAMPLES = 4096  # predictions that the diagnostics of a net are computed on


class RunSummary(NamedTuple):
    """Everything that the figures and the report of a run show."""

    run: Run
    curves: list[LossCurve]
    losses: dict[str, float | None]  # exact, at the end: train_loss, dev_loss
    dataset: Dataset | None  # None where the data file is gone, has changed, or is large
    baselines: list[tuple[str, float]]  # name and loss, the highest first
    samples: list[AnnotatedLine]
    arrays: list[ArrayStats]  # of its parameters
    notes: list[str]  # what is missing, and why

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.run.folder

    @property
    def embedding(self) -> np.ndarray | None:
        """The embedding (V, D) of the symbols; None where the model, or an ensemble, has none."""
        embedding = self.run.model.embedding
        return None if embedding is None else np.asarray(embedding(self.run.params))

    @property
    def frequency(self) -> Int[np.ndarray, " V"] | None:
        """How often each symbol occurs in train; None where the data set is not there."""
        if self.dataset is None:
            return None
        return self.dataset.splits.train.symbol_counts


def summarize_run(run: Run) -> RunSummary:
    """Return the summary of a run. Raises InputError where its metrics are damaged."""
    check_data_record(run.folder / CONFIG, run.data)
    notes: list[str] = []
    dataset = None
    if is_large(run.config.data.data):
        notes.append("its data file is large, and was not read for this")
    else:
        try:
            dataset = run_dataset(run)
        except InputError as error:
            notes.append(str(error))
    lines = read_lines(run.folder / METRICS)
    arrays = flatten_dict(run.params, sep=".")
    curves = [
        curve._replace(
            diagnostics=[line for line in curve.diagnostics if _can_be_drawn(line, arrays)]
        )
        for curve in loss_curves(lines)
        if len(curve.steps) > 1
    ]
    last = lines[-1] if lines and run.step is None else {}
    losses = {name: last.get(name) for name in ("train_loss", "dev_loss")}
    baselines = [("uniform", math.log(len(run.vocab)))]
    if dataset is not None:
        baselines = list(named_baselines(baseline_losses(dataset.splits)))
    try:
        samples = annotate_lines(
            read_or_draw_samples(run),
            run.model,
            run.params,
            run.vocab,
            dataset,
            is_document=run.config.data.items == "document",
        )
    except SymbolError as error:
        raise InputError(f"{run.folder / SAMPLES}: {error}") from None
    return RunSummary(
        run,
        curves,
        losses,
        dataset,
        baselines,
        samples,
        array_stats((name, np.asarray(leaf)) for name, leaf in arrays.items()),
        notes,
    )


def _can_be_drawn(line: dict[str, Any], arrays: dict[str, Any]) -> bool:
    """Return whether a line of diagnostics is about these arrays and has a finite ratio."""
    ratios = line["update_to_data"]
    return ratios.keys() == arrays.keys() and any(0 < x < MAX_FLOAT for x in ratios.values())


def read_or_draw_samples(run: Run) -> Samples:
    """Return the samples stored with a run, or new ones where there are none."""
    if run.step is None and (run.folder / SAMPLES).is_file():
        kept = read_samples(run.folder, run.config)
        return kept._replace(texts=kept.texts[:NUM_SAMPLES], cut=kept.cut[:NUM_SAMPLES])
    return first_samples(run.model, run.params, run.vocab, run.sample_shape)


def diagnostics_before_and_after(
    summary: RunSummary, config: RunConfig
) -> tuple[Diagnostics, Diagnostics]:
    """Return the diagnostics of the net before its first step, and with its parameters now."""
    run, optimizer = summary.run, make_optimizer(config.optimizer, config.steps)
    setup = load_setup(config, optimizer, dataset=summary.dataset)
    state = setup.initial_state(optimizer)
    data, most = setup.data, NUM_EXAMPLES
    if setup.model.context is None:  # each example of rows has a prediction at each of its tokens
        data = read_by(setup.model, setup.dataset.splits.train, packed=True)
        most = max(1, NUM_EXAMPLES // data.example_size)
    count = data.num_examples
    numbers = np.arange(min(count, most)) * count // min(count, most)
    batch = data.take(numbers if is_on_host(data) else jnp.asarray(numbers))
    diagnose = partial(look_inside, setup.model, optimizer)
    before = diagnose(state, batch)
    return before, diagnose(dataclasses.replace(state, params=run.params), batch)
