"""The ladder in its directory: what it trains, keeps, leaves out, and does not do again."""

import math

import pytest

from mm_jax.config.ladder import LadderConfig
from mm_jax.config.models import GRUConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import RunConfig
from mm_jax.experiments import ladder as ladder_module
from mm_jax.experiments.ladder_record import Entry, read_ladder
from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from tests.experiments.small_ladder import LINES, NAMES, SGD, Trainings, begin, entry_of

pytestmark = pytest.mark.usefixtures("small_presets")


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_entries_come_in_the_order_of_the_ladder_whatever_is_asked_for_first(whole):
    assert [entry.name for entry in whole.record.entries] == NAMES.split(",")
    config = LadderConfig(models="gru,bigram,gru")
    assert config.names == ["bigram", "gru"]


def test_every_seed_of_a_net_is_a_run_of_its_own_with_the_loss_of_the_table(whole):
    entry = entry_of(whole, "gru")
    for seed in range(2):
        run = load_run(whole.path / "gru" / f"seed-{seed}")
        assert run.config.seed == seed
        assert dev_loss(run, whole.dataset) == pytest.approx(entry.dev_losses[seed], rel=1e-5)
    assert entry.dev_losses[0] != entry.dev_losses[1]
    assert entry.steps == 40
    assert entry.folder == "gru/seed-0"


def test_a_finished_ladder_trains_nothing_again(whole):
    again = Trainings().begin(whole.path, read_ladder(whole.path), whole.dataset)
    before = (whole.path / "ladder.json").read_bytes()
    assert again.run()
    assert again.training.names == []
    assert (whole.path / "ladder.json").read_bytes() == before


@pytest.mark.parametrize(
    "stop_at", ["gru, seed 1 of 2", "gru, seed 2 of 2", "gru, for the weights"]
)
def test_an_interrupted_ladder_keeps_what_is_finished_and_goes_on_to_the_same_losses(
    whole, names_file, tmp_path, monkeypatch, stop_at
):
    """Chunks of ten steps, so that a training can stop before its end."""
    monkeypatch.setattr("mm_jax.training.step.chunk_length", lambda *_: 10)
    monkeypatch.setattr("mm_jax.experiments.training_loop.chunk_length", lambda *_: 10)
    first = begin(tmp_path, names_file, stop_at=stop_at)
    assert not first.run()
    kept = [entry.name for entry in read_ladder(tmp_path).entries]
    assert kept[:4] == ["bigram", "interpolated", "kneser-ney", "mlp-lecture"]
    assert "mixture" not in kept
    second = Trainings().begin(tmp_path, read_ladder(tmp_path), first.dataset)
    assert second.run()
    assert second.training.names[0] == stop_at
    for name in ("gru", "mlp-modern", "mixture"):
        losses = entry_of(second, name).dev_losses
        assert losses == pytest.approx(entry_of(whole, name).dev_losses, rel=1e-5)


def test_it_stops_between_entries_that_train_nothing_too(names_file, tmp_path):
    """Counted entries, and nets that a budget is too short for."""
    made = begin(tmp_path, names_file, models="uniform,mlp-lecture,mlp-modern", budget=1e-9)
    for count in (1, 2, 3):
        asked = Trainings().begin(tmp_path, made.record, made.dataset, lambda: True)
        assert asked.run() == (count == 3)
        assert len(read_ladder(tmp_path).entries) == count


def test_a_model_that_the_data_are_not_for_is_left_out_with_the_reason(
    names_file, tmp_path, monkeypatch
):
    too_few = GRUConfig(embed_dim=2**20, hidden_dim=2**20)
    config = RunConfig(model=too_few, optimizer=SGD, steps=1)
    monkeypatch.setitem(PRESETS, "gru", PRESETS["gru"]._replace(config=config))
    made = begin(tmp_path, names_file, models="gru,mlp-modern", seeds=1)
    assert made.run()
    assert "training this takes about" in entry_of(made, "gru").skipped
    assert entry_of(made, "mlp-modern").skipped is None


def test_what_does_not_fit_in_memory_is_left_out():
    def fail(words):
        raise RuntimeError(words)

    entry = ladder_module.unless_impossible("gru", lambda: fail("RESOURCE_EXHAUSTED: 9 GB"))
    assert entry == Entry("gru", skipped="it does not fit in memory")
    with pytest.raises(RuntimeError, match="another"):
        ladder_module.unless_impossible("gru", lambda: fail("another"))


def test_without_held_out_lines_it_compares_losses_on_train(names_file, tmp_path):
    models = "uniform,bigram,add-k,kneser-ney,mlp-modern"
    made = begin(tmp_path, names_file, models=models, seeds=1, split="none")
    assert made.run()
    assert entry_of(made, "uniform").losses == pytest.approx([math.log(len(made.dataset.vocab))])
    assert entry_of(made, "mlp-modern").dev_losses == ()
    assert entry_of(made, "mlp-modern").losses == entry_of(made, "mlp-modern").train_losses
    assert "no lines are held out" in entry_of(made, "add-k").skipped


def test_a_document_has_no_share_of_new_samples(tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(LINES) * 3)
    models, text = "kneser-ney,gru,mixture", tmp_path / "text.txt"
    made = begin(tmp_path / "ladder", text, models=models, seeds=1, items="document", block=16)
    assert made.run()
    assert [entry.new_share for entry in made.record.entries] == [None] * 3
    assert entry_of(made, "mixture").skipped is None
