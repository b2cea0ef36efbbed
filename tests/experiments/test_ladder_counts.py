"""What is counted for the ladder."""

import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments import counting
from mm_jax.experiments.ladder_counts import choose
from mm_jax.experiments.ladder_record import read_ladder
from mm_jax.models.baselines import Baseline
from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from tests.experiments.small_ladder import begin, entry_of

pytestmark = pytest.mark.usefixtures("small_presets")


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_what_is_counted_is_a_run_with_the_loss_of_the_table(whole):
    for name in ("bigram", "interpolated", "kneser-ney"):
        run = load_run(whole.path / name)
        loss = entry_of(whole, name).dev_losses[0]
        assert dev_loss(run, whole.dataset) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(("vocab_size", "order"), [(27, 5), (62, 4), (5000, 2), (10**5, 1)])
def test_the_best_add_k_has_a_table_of_moderate_size(vocab_size, order):
    """A longer context has a lower loss here; 27^5, 62^4 and 5000^2 are below 67 million."""
    baselines = [Baseline("add-k", n, 0.1, 3.0 - n / 10, 3.0 - n / 10) for n in range(1, 6)]
    assert choose("add-k", baselines, vocab_size).order == order


def test_a_bigram_table_of_many_words_is_left_out_and_what_holds_them_is_named():
    baselines = [Baseline("add-k", n, 0.1, 3.0, 3.0) for n in (1, 2)]
    assert choose("bigram", baselines, 8000).order == 2
    with pytest.raises(InputError, match=r"256 MB; kneser-ney and interpolated hold what occurs"):
        choose("bigram", baselines, 9000)
    assert choose("unigram", baselines, 9000).order == 1


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
