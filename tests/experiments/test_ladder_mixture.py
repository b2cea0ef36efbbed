"""The weights of the ladder's mixture."""

import numpy as np
import pytest

from mm_jax.config.models import KneserNeyConfig
from mm_jax.data.splits import hold_out
from mm_jax.experiments import ladder_mixture
from mm_jax.models.kneser_ney import fit_kneser_ney
from mm_jax.runs.reader import load_run
from tests.experiments.small_ladder import TINY, Trainings, begin

pytestmark = pytest.mark.usefixtures("small_presets")


def test_the_weights_of_the_mixture_come_from_copies_that_did_not_see_a_tenth_of_train(
    whole, monkeypatch
):
    """The copies' parameters are kept, the held-out lines are the lines of their loss."""
    rest, held_out = hold_out(whole.dataset.splits.train)
    lines, train = held_out.items(), whole.dataset.splits.train.items()
    assert lines == train[9::10]
    assert sorted(rest.items() + lines) == sorted(train)
    seen = {}

    def fit_mixture(models, params, corpus, kind):
        seen.update(models=models, params=params, lines=corpus.items(), kind=kind)
        raise StopIteration

    monkeypatch.setattr(ladder_mixture, "fit_mixture", fit_mixture)
    copies = [
        ladder_mixture.Copy(name, TINY["gru"], whole.path / "held-out" / f"{name}.safetensors")
        for name in ("gru",)
    ]
    with pytest.raises(StopIteration):
        ladder_mixture.stacked_weights(
            copies, KneserNeyConfig(3), "linear", whole.dataset, Trainings()
        )
    assert (seen["lines"], seen["kind"]) == (lines, "linear")
    counted = fit_kneser_ney(rest, order=3)
    np.testing.assert_array_equal(seen["params"][1]["logits"], counted["logits"])
    own = load_run(whole.path / "gru" / "seed-0").params
    assert not np.allclose(seen["params"][0]["embed"], own["embed"])


def test_too_few_lines_for_a_mixture_leave_it_out(tmp_path):
    (tmp_path / "few.txt").write_text("emma\nava\nlia")
    models = "kneser-ney,mlp-modern,mixture"
    made = begin(tmp_path / "out", tmp_path / "few.txt", models=models, seeds=1, split="none")
    assert made.run()
    assert made.record.entries[-1].skipped == "3 lines are too few to hold a tenth of them out"
