"""The ladder in its directory: what it trains, keeps, leaves out, and does not do again."""

import contextlib
import json
import math

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.ladder import ENTRIES, NETS, LadderConfig
from mm_jax.config.models import GRUConfig, KneserNeyConfig, MLPConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import MixConfig, OptimizerConfig, RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.splits import hold_out
from mm_jax.experiments import ladder as ladder_module
from mm_jax.experiments import ladder_mixture
from mm_jax.experiments.ladder import Ladder
from mm_jax.experiments.ladder_nets import plan_net, tokens_per_step
from mm_jax.experiments.ladder_record import Entry, LadderRecord, RunResult, read_ladder
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.setup import load_setup
from mm_jax.models.ensemble import ensemble
from mm_jax.models.kneser_ney import fit_kneser_ney
from mm_jax.runs.reader import load_run
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer

STARTS = ("em", "av", "li", "no", "ka", "so", "ir", "be")
ENDS = ("ma", "a", "el", "ora", "nie", "lia", "bel", "rin", "tta", "na")
LINES = [start + end for start in STARTS for end in ENDS]
SGD = OptimizerConfig(learning_rate=0.5)
TINY = {
    "lecture": RunConfig(
        model=MLPConfig(context=2, embed_dim=3, hidden_dim=8, init="scaled"),
        optimizer=SGD,
        steps=60,
    ),
    "modern": RunConfig(
        model=MLPConfig(context=3, embed_dim=3, hidden_dim=8, init="scaled"),
        optimizer=SGD,
        steps=20,
    ),
    "gru": RunConfig(
        model=GRUConfig(embed_dim=4, hidden_dim=8), optimizer=SGD, steps=40, batch_size=8
    ),
}
NAMES = "bigram,kneser-ney,mlp-lecture,mlp-modern,gru,ensemble,mixture"


class Trainings:
    """The trainings of a ladder: their names, and when they are asked to stop."""

    def __init__(self, stop_at=None):
        self.names, self.stop_at = [], stop_at

    @contextlib.contextmanager
    def __call__(self, name, *_):
        self.names.append(name)
        observer = Observer()
        observer.should_stop = lambda: name == self.stop_at
        yield observer


@pytest.fixture(autouse=True)
def small_presets(monkeypatch):
    for name, config in TINY.items():
        monkeypatch.setitem(PRESETS, name, PRESETS[name]._replace(config=config))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(LINES))
    return path


def begin(path, file, *, models=NAMES, seeds=2, stop_at=None, budget=None, **data):
    """A ladder in a new directory, not run yet."""
    path.mkdir(exist_ok=True)
    config = LadderConfig(DataConfig(str(file), **data), models, seeds, budget)
    dataset = load_dataset(config.data)
    record = LadderRecord(config, dataset.vocab.symbols, dataset.record)
    return Ladder(path, record, dataset, Trainings(stop_at))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, file):
    """A ladder of all kinds of entries that has come to its end."""
    with pytest.MonkeyPatch.context() as patch:
        for name, config in TINY.items():
            patch.setitem(PRESETS, name, PRESETS[name]._replace(config=config))
        made = begin(tmp_path_factory.mktemp("ladder"), file)
        assert made.run()
    return made


def entry_of(ladder, name):
    return next(entry for entry in ladder.record.entries if entry.name == name)


def dev_loss(run, dataset):
    return float(evaluate(run.model, run.params, dataset.splits.dev))


def test_entries_come_in_the_order_of_the_ladder_whatever_is_asked_for_first(whole):
    assert [entry.name for entry in whole.record.entries] == NAMES.split(",")
    config = LadderConfig(models="gru,bigram,gru")
    assert config.names == ["bigram", "gru"]


def test_an_unknown_entry_is_refused_with_all_names():
    with pytest.raises(InputError, match="no 'grue'; choose from uniform, unigram"):
        LadderConfig(models="gru,grue")
    with pytest.raises(InputError, match="no ''"):
        LadderConfig(models="")


def test_each_net_has_the_choices_of_a_preset():
    assert all(NETS[name].config.model for name in NETS)
    assert {*NETS} < {*ENTRIES}


def test_every_seed_of_a_net_is_a_run_of_its_own_with_the_loss_of_the_table(whole):
    entry = entry_of(whole, "gru")
    for seed in range(2):
        run = load_run(whole.path / "gru" / f"seed-{seed}")
        assert run.config.seed == seed
        assert dev_loss(run, whole.dataset) == pytest.approx(entry.dev_losses[seed], rel=1e-5)
    assert entry.dev_losses[0] != entry.dev_losses[1]
    assert entry.steps == 40
    assert entry.folder == "gru/seed-0"


def test_what_is_counted_is_a_run_with_the_loss_of_the_table(whole):
    for name in ("bigram", "kneser-ney"):
        run = load_run(whole.path / name)
        loss = entry_of(whole, name).dev_losses[0]
        assert dev_loss(run, whole.dataset) == pytest.approx(loss, rel=1e-5)


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
    assert dev_loss(run, whole.dataset) == pytest.approx(entry.dev_losses[0], rel=1e-5)
    assert len(entry.dev_losses) == 2


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
        ladder_mixture.stacked_weights(copies, KneserNeyConfig(3), whole.dataset, Trainings())
    assert seen["lines"] == lines
    counted = fit_kneser_ney(rest, order=3)
    np.testing.assert_array_equal(seen["params"][1]["logits"], counted["logits"])
    own = load_run(whole.path / "gru" / "seed-0").params
    assert not np.allclose(seen["params"][0]["embed"], own["embed"])


def test_what_was_found_is_read_back_as_it_was(whole):
    again = read_ladder(whole.path)
    assert again == whole.record
    assert again.is_finished


def test_a_finished_ladder_trains_nothing_again(whole, file):
    again = Ladder(whole.path, read_ladder(whole.path), whole.dataset, Trainings())
    before = (whole.path / "ladder.json").read_bytes()
    assert again.run()
    assert again.training.names == []
    assert (whole.path / "ladder.json").read_bytes() == before


@pytest.mark.parametrize(
    "stop_at", ["gru, seed 1 of 2", "gru, seed 2 of 2", "gru, for the weights"]
)
def test_an_interrupted_ladder_keeps_what_is_finished_and_goes_on_to_the_same_losses(
    whole, file, tmp_path, monkeypatch, stop_at
):
    """Chunks of ten steps, so that a training can stop before its end."""
    monkeypatch.setattr("mm_jax.training.step.chunk_length", lambda *_: 10)
    monkeypatch.setattr("mm_jax.experiments.training_loop.chunk_length", lambda *_: 10)
    first = begin(tmp_path, file, stop_at=stop_at)
    assert not first.run()
    kept = [entry.name for entry in read_ladder(tmp_path).entries]
    assert kept[:4] == ["bigram", "kneser-ney", "mlp-lecture", "mlp-modern"]
    assert "mixture" not in kept
    second = Ladder(tmp_path, read_ladder(tmp_path), first.dataset, Trainings())
    assert second.run()
    assert second.training.names[0] == stop_at
    for name in ("gru", "mlp-modern", "mixture"):
        losses = entry_of(second, name).dev_losses
        assert losses == pytest.approx(entry_of(whole, name).dev_losses, rel=1e-5)


def test_a_budget_decides_how_many_steps_each_seed_takes(file, tmp_path):
    made = begin(tmp_path, file, models="mlp-lecture", budget=0.5)
    assert made.run()
    (entry,) = made.record.entries
    runs = [load_run(tmp_path / f"mlp-lecture/seed-{seed}").config for seed in range(2)]
    assert entry.steps == runs[0].steps == runs[1].steps
    # Where a run was begun with a number of steps, it keeps that.
    planned = plan_net(
        TINY["lecture"], made.record.config, made.dataset, tmp_path / "mlp-lecture/seed-0"
    )
    assert planned.steps == entry.steps


def test_a_budget_that_is_too_short_leaves_a_net_out_and_the_others_go_on(file, tmp_path):
    made = begin(tmp_path, file, models="bigram,mlp-lecture,mixture", budget=1e-9)
    assert made.run()
    bigram, net, mixture = made.record.entries
    assert bigram.skipped is None
    assert net.skipped.startswith("--budget 1e-09 is too short: the 20 evaluations of dev take")
    assert mixture.skipped == "it needs a net and kneser-ney"


def test_a_model_that_the_data_are_not_for_is_left_out_with_the_reason(file, tmp_path, monkeypatch):
    too_few = GRUConfig(embed_dim=2**20, hidden_dim=2**20)
    config = RunConfig(model=too_few, optimizer=SGD, steps=1)
    monkeypatch.setitem(PRESETS, "gru", PRESETS["gru"]._replace(config=config))
    made = begin(tmp_path, file, models="gru,mlp-modern", seeds=1)
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


def test_without_held_out_lines_it_compares_losses_on_train(file, tmp_path):
    models = "uniform,bigram,add-k,kneser-ney,mlp-modern"
    made = begin(tmp_path, file, models=models, seeds=1, split="none")
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


def test_tokens_of_a_step_are_those_that_it_learns_from(file):
    dataset = load_dataset(DataConfig(str(file)))
    predictions = dataset.splits.train.num_predictions
    for config, expected in (
        (TINY["lecture"], 32),
        (TINY["gru"], 8 * predictions / 64),
        (RunConfig(model=TINY["lecture"].model, full_batch=True), predictions),
    ):
        setup = load_setup(config, make_optimizer(SGD, 1), dataset=dataset)
        assert tokens_per_step(setup) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "a newer mm-jax wrote it"),
        ({"entries": [{"name": "grue"}]}, "unknown entry 'grue'"),
        ({"entries": 5}, "is damaged"),
        ({"runs": {"gru/seed-0": {"steps": 1}}}, "is damaged"),
        ({"config": {"models": "gru"}}, "is damaged"),
        ({"weights": {"gru": "heavy"}}, "a weight is not a number"),
    ],
)
def test_a_damaged_record_is_refused_with_its_name(whole, tmp_path, change, words):
    record = json.loads((whole.path / "ladder.json").read_text()) | change
    (tmp_path / "ladder.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=words) as error:
        read_ladder(tmp_path)
    assert str(tmp_path / "ladder.json") in str(error.value)


def test_a_net_that_diverges_counts_as_infinitely_bad(whole):
    record = LadderRecord(whole.record.config, (), {})
    record.runs["gru/seed-0"] = RunResult(1, 2, math.inf, math.inf, None, None)
    entry = Entry("gru", train_losses=(math.inf, 2.0), dev_losses=(math.inf, 2.0))
    assert entry.spread.mean == math.inf
    assert record.results == []
