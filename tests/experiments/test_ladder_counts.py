"""What is counted for the ladder."""

import pytest

from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from tests.experiments.small_ladder import entry_of

pytestmark = pytest.mark.usefixtures("small_presets")


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_what_is_counted_is_a_run_with_the_loss_of_the_table(whole):
    for name in ("bigram", "kneser-ney"):
        run = load_run(whole.path / name)
        loss = entry_of(whole, name).dev_losses[0]
        assert dev_loss(run, whole.dataset) == pytest.approx(loss, rel=1e-5)
