import dataclasses
import math

import jax
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.text import read_lines
from mm_jax.experiments.grouping import common_config, group_members, member_numbers
from mm_jax.experiments.population_loop import Rung, train_members
from mm_jax.experiments.setup import load_setup
from mm_jax.experiments.successive_halving import search
from mm_jax.runs.population_checkpoints import PopulationCheckpoints
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.step import fit_chunks
from tests.helpers import assert_trees_close, assert_trees_identical

pytestmark = pytest.mark.slow
STEPS = 24


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(read_lines().lines[:200]))
    return load_dataset(DataConfig(str(path)))


def config(rate=0.1, hidden=8, seed=0, **more):
    model = MLPConfig(
        embed_dim=4, hidden_dim=hidden, init="scaled", dropout=more.pop("dropout", 0.0)
    )
    descent = OptimizerConfig(
        more.pop("optimizer", "sgd"),
        learning_rate=rate,
        schedule="cosine",
        weight_decay=more.pop("weight_decay", None),
    )
    data = DataConfig("names")  # the source is what is read
    return RunConfig(data, model, descent, 16, seed=seed, **{"steps": STEPS, **more})


MIX = [
    config(),
    config(0.3, seed=1, data_seed=9, weight_decay=0.1),
    config(0.3, hidden=12, dropout=0.3, label_smoothing=0.1, average_decay=0.9),
    config(0.3, seed=1, data_seed=9),
    config(0.01, optimizer="adamw", regularization=0.1, init_scale=0.5),
]


def alone(one, dataset):
    """The state and the dev loss of a run as mm-jax train makes it."""
    optimizer = make_optimizer(one.optimizer, one.steps)
    setup = load_setup(one, optimizer, dataset=dataset)
    state = setup.initial_state(optimizer)
    chunks = fit_chunks(setup.model, optimizer, state, setup.data, num_steps=STEPS, batch_size=16)
    [(state, _)] = list(chunks)
    return state, float(evaluate(setup.model, state.best_params, setup.dev_data))


@pytest.fixture(scope="module")
def trained(dataset):
    return train_members(MIX, group_members(MIX, dataset))


@pytest.mark.parametrize("i", range(len(MIX)))
def test_a_member_is_its_single_run_bit_for_bit(trained, dataset, i):
    state, dev_loss = alone(MIX[i], dataset)
    assert_trees_identical(trained[i].params, jax.device_get(state.best_params))
    assert trained[i].dev_loss == dev_loss
    assert (trained[i].steps, trained[i].config) == (STEPS, MIX[i])
    assert [line["step"] for line in trained[i].lines] == list(range(1, STEPS + 1))


def test_members_that_differ_in_numbers_alone_have_one_program(dataset):
    assert [program.ids for program in group_members(MIX, dataset)] == [[0, 3], [1], [2], [4]]
    assert common_config(MIX[0]) == common_config(MIX[3]) != common_config(MIX[1])
    # without decay there is nothing of it in the program, whatever the choices call that
    assert common_config(config(weight_decay=0.0)) == common_config(config())
    assert common_config(config(optimizer="adamw")) == common_config(
        config(optimizer="adamw", weight_decay=0.3)
    )
    assert member_numbers(config(optimizer="adamw"))["weight_decay"] == 1e-4


@pytest.mark.parametrize("members", [2, 3])
def test_larger_slices_train_the_same_members_to_rounding(dataset, members):
    configs = [config(rate, seed=i) for i, rate in enumerate((0.1, 0.2, 0.3))]
    plans = group_members(configs, dataset, members_per_slice=members)
    assert [program.plan.members for program in plans] == [members]
    together, single = (
        train_members(configs, plans),
        train_members(configs, group_members(configs, dataset)),
    )
    for i in range(3):
        assert_trees_close(together[i].params, single[i].params)
        assert together[i].dev_loss == pytest.approx(single[i].dev_loss, abs=1e-6)


@pytest.mark.parametrize("members", [1, 2])
def test_going_on_equals_not_stopping(dataset, members):
    """With dropout, an average, adam's moments, a schedule: all of a state is kept."""
    configs = [
        config(rate, seed=i, optimizer="adam", dropout=0.2, average_decay=0.9)
        for i, rate in enumerate((0.01, 0.02, 0.03))
    ]
    programs = group_members(configs, dataset, members_per_slice=members)
    whole = train_members(configs, programs)
    parts = PopulationCheckpoints()
    half = train_members(configs, programs, rung=Rung(lambda _: 11), parts=parts)
    assert {member.steps for member in half.values()} == {11}
    rung = Rung(before=lambda _: 11, only={0, 2})
    again = train_members(configs, programs, rung=rung, parts=parts)
    assert sorted(again) == [0, 2]
    for i in again:
        assert_trees_identical(again[i].params, whole[i].params)
        assert again[i].lines == whole[i].lines
        assert again[i].steps == STEPS


def test_a_member_that_diverges_is_no_good_and_spoils_no_other(dataset):
    configs = [config(0.1), config(1e30, seed=1)]
    members = train_members(configs, group_members(configs, dataset, members_per_slice=2))
    assert [members[i].good for i in range(2)] == [True, False]
    assert math.isfinite(members[0].dev_loss)


def test_what_cannot_be_a_population_is_refused(dataset):
    with pytest.raises(InputError, match="there are no members"):
        group_members([], dataset)
    with pytest.raises(InputError, match="--members-per-slice 6 is more than all 5 members"):
        group_members(MIX, dataset, members_per_slice=6)


# search


SETTINGS = [0.003, 0.3, 0.1, 1e30]  # learning rates, of two seeds each


def searched(dataset, **options):
    configs = [config(rate, seed=seed) for rate in SETTINGS for seed in range(2)]
    return search(configs, group_members(configs, dataset), 2, **options)


@pytest.fixture(scope="module")
def found(dataset):
    return searched(dataset)


def test_settings_come_lowest_loss_first_and_diverged_ones_last(found):
    means = [result.spread.mean for result in found.results]
    assert means == sorted(means)
    assert [result.setting for result in found.results] == [1, 2, 0, 3]
    assert means[-1] == math.inf
    assert {result.steps for result in found.results} == {STEPS}


def test_the_members_of_the_best_setting_are_kept_and_no_others(found, dataset):
    assert [member.config.seed for member in found.best] == [0, 1]
    assert [member.dev_loss for member in found.best] == found.results[0].losses
    state, dev_loss = alone(config(0.3, seed=1), dataset)
    assert found.best[1].dev_loss == dev_loss
    assert_trees_identical(found.best[1].params, jax.device_get(state.params))


def test_halving_trains_half_of_the_settings_on_and_what_remains_is_the_same(found, dataset):
    seen = []
    halved = searched(dataset, halvings=2, update=lambda done, _: seen.append(done))
    assert [result.steps for result in halved.results] == [
        STEPS,
        STEPS // 2,
        STEPS // 4,
        STEPS // 4,
    ]
    assert seen[-1] == 2 * (STEPS + STEPS // 2 + 2 * (STEPS // 4))
    assert seen == sorted(seen)
    first = halved.results[0]
    [same] = [result for result in found.results if result.setting == first.setting]
    assert first.losses == same.losses
    [diverged] = [result for result in halved.results if result.setting == 3]
    assert diverged.steps == STEPS // 4


def test_what_is_stopped_before_its_end_has_no_result(dataset):
    asked = []
    found = searched(dataset, stop=lambda: len(asked) > 6 or asked.append(0))
    assert 0 < len(found.results) < len(SETTINGS)
    assert all(result.steps == STEPS for result in found.results)
    assert not found.complete


def test_a_stop_on_a_rung_keeps_what_was_reached(dataset):
    asked = []
    found = searched(dataset, halvings=1, stop=lambda: len(asked) > 6 or asked.append(0))
    assert found.results
    assert {result.steps for result in found.results} == {STEPS // 2}
    assert (found.best, found.complete) == ([], False)


def test_the_test_split_is_not_looked_at(dataset, monkeypatch):
    looked = []
    batch = type(dataset).batch

    def noting(self, split, *args):
        looked.append(split)
        return batch(self, split, *args)

    monkeypatch.setattr(type(dataset), "batch", noting)
    one = dataclasses.replace(config(), seed=7)
    train_members([one], group_members([one], dataset))
    assert set(looked) == {"train", "dev"}
