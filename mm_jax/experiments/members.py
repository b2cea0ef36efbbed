"""Members of a population -> what each has reached, and one run directory of some of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.samples import to_text
from mm_jax.experiments.evaluation import EvalResult, evaluate_and_sample
from mm_jax.models.base import Params
from mm_jax.models.ensemble import ensemble
from mm_jax.models.registry import build_model
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.runs.writer import append_metrics, drop_results, save_results, write_metadata
from mm_jax.runtime.environment import fingerprint

MAX_LINES = 200  # of the metrics of a member


class Member(NamedTuple):
    """One run of a population, at the end of its training or of a rung of it."""

    config: RunConfig
    num_params: int
    steps: int  # taken
    dev_loss: float | None  # nats per symbol; None where no lines are held out
    lines: list[dict[str, Any]]  # of metrics: step, loss, learning_rate
    params: Params  # to use: averages where they are kept; NumPy

    @property
    def is_finite(self) -> bool:
        """Whether its parameters and its loss on dev are finite, so that it can be used."""
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params))
        return finite and (self.dev_loss is None or math.isfinite(self.dev_loss))


class MemberLog:
    """The metrics of a member while it trains: the mean loss of each line, and what fills none."""

    def __init__(self, config: RunConfig) -> None:
        self.log = LossLog(config.optimizer, config.steps, MAX_LINES)
        self.means: list[float] = []

    @property
    def pending(self) -> list[float]:
        """Losses of steps that fill no line yet."""
        return self.log.pending

    def add(self, losses: np.ndarray) -> None:
        """Take the losses of steps."""
        self.means += [line["loss"] for line in self.log.add(losses)]

    def restore(self, means: np.ndarray, pending: np.ndarray) -> None:
        """Take the means and the pending losses of a checkpoint in place of its own."""
        self.means, self.log.pending = means.tolist(), pending.tolist()
        self.log.num_lines = len(self.means)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of metrics."""
        return [self.log.line(number, mean) for number, mean in enumerate(self.means)]


def save_run(
    path: Path, config: RunConfig, members: Sequence[Member], dataset: Dataset, *, alone: bool
) -> EvalResult:
    """Write a run directory of these members; of several seeds it is their ensemble.

    ``alone`` says whether each was trained by itself, so that its bits are those of a single run.
    """
    drop_results(path)
    environment = fingerprint() | {"alone": alone}
    metadata = RunMetadata(config, dataset.vocab.symbols, dataset.record, None, environment)
    write_metadata(path, metadata)
    return save_run_results(path, config, members, dataset)


def save_run_results(
    path: Path, config: RunConfig, members: Sequence[Member], dataset: Dataset
) -> EvalResult:
    """Write the metrics and results of a run whose config.json is written; see save_run."""
    drop_results(path)
    model = build_model(config.model, len(dataset.vocab))
    params = members[0].params
    if config.seeds > 1:  # one may be all that did not diverge
        model = ensemble(model, len(members))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *(m.params for m in members))
    result = evaluate_and_sample(model, params, dataset)
    for member in members:
        seed = {"seed": member.config.seed} if config.seeds > 1 else {}
        last = {"step": member.steps, "dev_loss": member.dev_loss}
        append_metrics(path, [seed | line for line in (*member.lines, last)])
    losses = {"train_loss": result.train_loss, "dev_loss": result.dev_loss}
    append_metrics(path, [{"step": members[0].steps, **losses}])
    save_results(path, params, to_text(result.samples, config.data))
    return result
