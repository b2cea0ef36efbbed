"""What is counted for the ladder."""

import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments import counting
from mm_jax.experiments.ladder_record import read_ladder
from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from tests.experiments.small_ladder import begin, entry_of

pytestmark = pytest.mark.usefixtures("small_presets")


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_what_is_counted_is_a_run_with_the_loss_of_the_table(whole):
    for name in ("bigram", "kneser-ney"):
        run = load_run(whole.path / name)
        loss = entry_of(whole, name).dev_losses[0]
        assert dev_loss(run, whole.dataset) == pytest.approx(loss, rel=1e-5)


def test_a_full_disk_ends_the_ladder_and_is_no_reason_to_leave_an_entry_out(
    names_file, tmp_path, monkeypatch
):
    """The bigram's run cannot be written; once it can, it is."""

    def fail(*_):
        raise InputError("No space left on device")

    made = begin(tmp_path, names_file, models="uniform,bigram")
    with monkeypatch.context() as patch:
        patch.setattr(counting, "save_results", fail)
        with pytest.raises(InputError, match="No space left"):
            made.run()
    assert [entry.name for entry in read_ladder(tmp_path).entries] == ["uniform"]
    assert made.run()
    assert load_run(tmp_path / "bigram").config.model.name == "ngram"
