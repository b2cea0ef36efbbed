"""The run of one model in its directory: begun or restored, trained, and its results written.

Enters: a directory with its config.json, a setup. Leaves: metrics, checkpoints, and at the end
samples and parameters.
"""

import math
from pathlib import Path

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.samples import to_text
from mm_jax.experiments.evaluation import EvalResult, evaluate_and_sample
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import Setup
from mm_jax.experiments.training_loop import TrainingLoop, TrainResult
from mm_jax.runs.checkpoint_manager import CheckpointManager
from mm_jax.runs.layout import PROFILE, RunMetadata
from mm_jax.runs.metrics import LossLog
from mm_jax.runs.writer import append_metrics, save_results
from mm_jax.runtime.mesh import place, whole
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.profiler import Profile, profile
from mm_jax.training.state import TrainState


class SingleRun:
    """A run of one model: ``train``, then ``finish``, each once.

    It begins where its newest checkpoint is, or at the first step. On a ``mesh`` batches are
    divided among its devices; ``diagnostics`` are those of TrainingLoop.
    """

    def __init__(
        self,
        path: Path,
        metadata: RunMetadata,
        setup: Setup,
        checkpoint_config: CheckpointConfig,
        observer: Observer | None = None,
        *,
        mesh: Mesh | None = None,
        diagnostics: bool = False,
    ) -> None:
        config = metadata.config
        assert isinstance(config, RunConfig)
        self.path, self.setup, self.mesh, self.config = path, setup, mesh, config
        self.optimizer = make_optimizer(config.optimizer, config.steps)
        log = LossLog(config.optimizer, config.steps)
        self.manager = CheckpointManager(path, metadata, checkpoint_config, log)
        state = self._first_state(observer or Observer())
        self.loop = TrainingLoop(
            config, setup, self.optimizer, state, self.manager, mesh=mesh, diagnostics=diagnostics
        )
        self.save_latest = self.loop.save_latest

    @property
    def first_step(self) -> int:
        """How many steps were taken before."""
        return self.loop.first_step

    def _first_state(self, observer: Observer) -> TrainState:
        everywhere = None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())
        state = self.setup.initial_state(self.optimizer, everywhere)
        restored = self.manager.restore(state, observer.warning)
        if restored is None:
            return state
        observer.message(f"resumed    after step {int(restored.step):,}")
        return restored if self.mesh is None else place(restored, self.mesh)

    def train(self, observer: Observer | None = None) -> TrainResult:
        """Train until the last step, until the observer stops it, or until a loss is not finite."""
        return self.loop.run(observer)

    def finish(self, end: TrainResult) -> tuple[TrainResult, EvalResult]:
        """Evaluate and sample what training ended with, and write it as the results of the run.

        Returns both; where the exact losses are not finite that is the reason of the first.
        """
        params = end.state.best_params if self.mesh is None else whole(end.state.best_params)
        result = evaluate_and_sample(self.setup.model, params, self.setup.dataset)
        if not (math.isfinite(result.train_loss + (result.dev_loss or 0)) or end.reason):
            losses = f"train {result.train_loss}, dev {result.dev_loss}"
            reason = f"the loss at the end is not finite ({losses}); lower --learning-rate"
            end = end._replace(reason=reason)
        line = {"step": end.step, "train_loss": result.train_loss, "dev_loss": result.dev_loss}
        append_metrics(self.path, [line])
        save_results(self.path, params, to_text(result.samples, self.config.data))
        return end, result

    def profile(self, end: TrainResult) -> Profile:
        """Trace some more steps, which are thrown away."""
        return profile(
            self.path / PROFILE,
            self.setup.model,
            self.optimizer,
            end.state,
            self.loop.data,
            batch_size=self.setup.batch_size,
            mesh=self.mesh,
        )
