"""The run of several seeds in its directory: a population, and its ensemble as the result.

Enters: config.json, written already, and the groups of the members. Leaves: metrics, checkpoints
while it trains, then samples and the parameters of all members.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import Dataset
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.members import Member, save_run_results
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.population_loop import open_checkpoints, train_members
from mm_jax.experiments.search_space import seeds_of
from mm_jax.runs.layout import RunMetadata


class EnsembleResult(NamedTuple):
    """The members that reached their last step, and why others did not."""

    num_trained: int
    members: list[Member]  # those of them that are finite, by seed
    seconds: float
    steps_per_second: float
    reason: str | None  # why some are missing
    interrupted: bool  # True: it was asked to stop; False with a reason: some diverged


class SeedEnsemble:
    """A run of several seeds: ``train``, then ``finish``, each once.

    Members that checkpoints hold are not trained again.
    """

    def __init__(
        self,
        path: Path,
        metadata: RunMetadata,
        dataset: Dataset,
        groups: Sequence[Group],
        checkpoint_config: CheckpointConfig,
        observer: Observer | None = None,
    ) -> None:
        config = metadata.config
        assert isinstance(config, RunConfig)
        self.path, self.config, self.dataset, self.groups = path, config, dataset, groups
        self.configs, self.checkpoint_config = seeds_of(config), checkpoint_config
        self.checkpoints = open_checkpoints(
            path, self.configs, dataset, checkpoint_config, observer or Observer()
        )
        self.first_step = self.checkpoints.steps_taken  # of all members

    def train(self, observer: Observer | None = None) -> EnsembleResult:
        """Train each member until its last step, or until the observer stops them."""
        begun = time.perf_counter()
        trained = train_members(
            self.configs,
            self.groups,
            checkpoints=self.checkpoints,
            checkpoint_config=self.checkpoint_config,
            observer=observer,
        )
        seconds = time.perf_counter() - begun
        finite = [trained[i] for i in sorted(trained) if trained[i].is_finite]
        reason, interrupted = None, len(trained) < self.config.seeds
        if interrupted:
            reason = f"interrupted; {len(trained)} of {self.config.seeds} members are trained"
        elif len(finite) < self.config.seeds:
            seeds = ", ".join(str(m.config.seed) for m in trained.values() if not m.is_finite)
            reason = f"training diverged for --seed {seeds}; lower --learning-rate"
        steps_taken = max(0, self.checkpoints.steps_taken - self.first_step)
        speed = steps_taken / seconds
        return EnsembleResult(len(trained), finite, seconds, speed, reason, interrupted)

    def finish(self, end: EnsembleResult) -> EvalResult:
        """Write the ensemble of the finite members, of which there must be one, as the results."""
        result = save_run_results(self.path, self.config, end.members, self.dataset)
        self.checkpoints.remove()
        return result
