"""The ensemble and the mixture of the ladder."""

import jax
import numpy as np
import pytest

from mm_jax.config.ladder import NETS
from mm_jax.config.training import MixConfig
from mm_jax.experiments import ladder_together
from mm_jax.models.ensemble import ensemble
from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from tests.experiments.small_ladder import LINES, begin, entry_of
from tests.helpers import assert_trees_identical

pytestmark = pytest.mark.usefixtures("small_presets")


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_the_ensemble_is_of_all_seeds_of_the_best_net(whole):
    nets = [entry for entry in whole.record.entries if entry.name in NETS]
    best = min(nets, key=lambda entry: np.mean(entry.dev_losses))
    runs = [load_run(whole.path / best.name / f"seed-{seed}") for seed in range(2)]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *(run.params for run in runs))
    together = evaluate(ensemble(runs[0].model, 2), params, whole.dataset.splits.dev)
    assert entry_of(whole, "ensemble").dev_losses == pytest.approx([float(together)], rel=1e-5)
    assert "--seeds 2" in entry_of(whole, "ensemble").command


def test_the_mixture_has_the_best_net_of_each_model_and_kneser_ney(whole):
    run = load_run(whole.path / "mixture")
    assert isinstance(run.config, MixConfig)
    kinds = [type(member.model) for member in run.config.runs]
    assert sorted(kind.name for kind in kinds) == ["gru", "kneser-ney", "mlp"]
    mlps = [entry_of(whole, name) for name in ("mlp-lecture", "mlp-modern")]
    better = min(mlps, key=lambda entry: np.mean(entry.dev_losses))
    assert better.name in whole.record.weights
    entry = entry_of(whole, "mixture")
    assert len(entry.dev_losses) == 2
    assert dev_loss(run, whole.dataset) == pytest.approx(entry.dev_losses[0], rel=1e-5)


def test_with_good_turing_the_mixture_is_of_the_same_runs_with_the_same_weights(whole):
    """The lines of train are all different, so that none of them is expected again."""
    plain, heeding = (load_run(whole.path / name) for name in ("mixture", "good-turing"))
    assert heeding.config.runs == plain.config.runs
    assert heeding.config.fixed_weights == plain.config.fixed_weights
    assert heeding.config.model.good_turing
    assert_trees_identical(heeding.params["model"], plain.params)
    entry = entry_of(whole, "good-turing")
    assert dev_loss(heeding, whole.dataset) == pytest.approx(entry.dev_losses[0], rel=1e-5)
    assert "--good-turing" in entry.command
    assert entry.train_losses[0] > entry_of(whole, "mixture").train_losses[0]


def test_where_log_linear_took_too_long_the_mixture_is_linear_and_good_turing_left_out(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(ladder_together, "MAX_PROBS", 1000)
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    models = "kneser-ney,mlp-modern,mixture,good-turing"
    made = begin(tmp_path / "out", tmp_path / "lines.txt", models=models, seeds=1)
    assert made.run()
    entry, left_out = made.record.entries[-2:]
    assert "--kind linear" in entry.command
    assert sum(made.record.weights.values()) == pytest.approx(1, abs=1e-6)
    assert dev_loss(load_run(made.path / "mixture"), made.dataset) == pytest.approx(
        entry.dev_losses[0], rel=1e-5
    )
    places = made.dataset.splits.train.num_predictions
    assert f"each of {len(made.dataset.vocab)} symbols at {places} places" in left_out.skipped
