"""What training begins with: states that the seed decides, and refusals before the work."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    BigramConfig,
    BowConfig,
    GRUConfig,
    MLPConfig,
    TransformerConfig,
)
from mm_jax.config.training import OptimizerConfig, RunConfig
from mm_jax.experiments.setup import check_memory, load_setup
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.sampled_softmax import with_sampled_symbols
from tests.helpers import assert_trees_identical, first_params

LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]
ADAM = make_optimizer(OptimizerConfig("adam"), 10)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("setup") / "names.txt"
    path.write_text("\n".join(LINES))
    return RunConfig(data=DataConfig(str(path)), model=BigramConfig("scaled"), steps=10)


def test_it_counts_what_is_trained_on_what(config):
    setup = load_setup(config, ADAM)
    assert setup.dataset.info.num_items == len(LINES)
    assert setup.vocab.symbols == (".", "a", "b", "c")
    splits = setup.dataset.splits
    assert list(map(len, splits)) == [16, 2, 2]
    assert sorted(line for part in splits for line in part.items()) == sorted(LINES)
    assert setup.num_params == 4 * 4
    assert setup.num_examples == sum(len(line) + 1 for line in splits.train.items())
    assert setup.data.num_examples == setup.num_examples
    assert setup.dev_data.num_examples == sum(len(line) + 1 for line in splits.dev.items())
    # Parameters and both moments of adam, of 4 bytes each; then steps, and a key of 8 bytes.
    assert 3 * 64 < setup.state_bytes < 3 * 64 + 48
    assert setup.batch_size == 32


def test_sampled_symbols_are_drawn_by_how_often_they_occur_in_train(config):
    mlp = dataclasses.replace(config, model=MLPConfig(2, 2, 4, "scaled"))
    setup = load_setup(dataclasses.replace(mlp, sampled_symbols=2), ADAM)
    train = setup.dataset.splits.train
    text = ".".join(train.items()) + "."
    assert train.symbol_counts.tolist() == [text.count(symbol) for symbol in ".abc"]
    assert setup.model is with_sampled_symbols(load_setup(mlp, ADAM).model, train.symbol_counts, 2)
    assert load_setup(mlp, ADAM).model.draw_symbols is None


def test_tokens_of_a_step_are_those_that_it_learns_from(config):
    predictions = load_setup(config, ADAM).num_examples
    for choices, expected in (
        ({}, 32),
        ({"full_batch": True}, predictions),
        ({"model": GRUConfig(4, 4), "batch_size": 3}, 3 * predictions / 16),
    ):
        setup = load_setup(dataclasses.replace(config, **choices), ADAM)
        assert setup.tokens_per_step == pytest.approx(expected)


def test_without_lines_for_dev_there_is_no_dev_data(config):
    everything = dataclasses.replace(config, data=dataclasses.replace(config.data, split="none"))
    assert load_setup(everything, ADAM).dev_data is None


def test_a_full_batch_holds_each_example_once_with_its_weight(config):
    setup = load_setup(dataclasses.replace(config, full_batch=True), ADAM)
    assert setup.batch_size is None
    lines = setup.dataset.splits.train.items()
    pairs = [pair for line in lines for pair in zip("." + line, line + ".", strict=True)]
    assert len(setup.data.targets) == len(set(pairs)) < len(pairs)
    assert float(setup.data.weights.sum()) == len(pairs)


@pytest.mark.parametrize(("row_length", "expected"), [(0, 6), (9, 9), (2, 6)])
def test_rows_are_as_long_as_is_said_or_as_an_item_needs(config, row_length, expected):
    chosen = dataclasses.replace(config, model=GRUConfig(8, 8), row_length=row_length)
    setup = load_setup(chosen, ADAM)
    longest = setup.dataset.splits.train.longest
    assert setup.data.length == (expected if row_length == 9 else longest + 1)
    num_lines = len(setup.dataset.splits.train)
    assert (setup.data.num_examples < num_lines) == (row_length == 9)
    assert setup.dev_data.num_examples <= len(setup.dataset.splits.dev)


def test_windows_have_no_rows_to_share(config):
    with pytest.raises(InputError, match="--row-length is for models that read rows, and bigram"):
        load_setup(dataclasses.replace(config, row_length=32), ADAM)
    with pytest.raises(InputError, match="--full-batch needs no --row-length"):
        dataclasses.replace(config, row_length=32, full_batch=True)


def test_positions_are_as_many_as_the_longest_item_of_all_splits_needs(config):
    setup = load_setup(dataclasses.replace(config, model=TransformerConfig(1, 8, 2)), ADAM)
    longest = max(map(len, LINES))
    assert setup.config.model.positions == setup.model.max_len == longest + 1
    few = TransformerConfig(1, 8, 2, positions=longest)
    num_longest = sum(len(line) == longest for line in LINES)
    words = (
        f"{num_longest} of {len(LINES)} items are too long for the {longest} positions of the "
        f"model, which hold a boundary and {longest - 1} symbols; the longest has {longest} "
        f"symbols and needs --positions {longest + 1}"
    )
    with pytest.raises(InputError, match=words):
        load_setup(dataclasses.replace(config, model=few), ADAM)


def test_a_document_is_read_in_blocks_that_fit_in_the_positions(config, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be " * 30)
    document = DataConfig(str(path), items="document", block=20)
    chosen = dataclasses.replace(config, data=document, model=BowConfig(4, 4), row_length=32)
    setup = load_setup(chosen, ADAM)
    assert setup.config.model.positions == setup.data.block == 20
    few = dataclasses.replace(chosen, model=BowConfig(4, 4, positions=12))
    with pytest.raises(InputError, match="--block 20 is more than the 12 positions"):
        load_setup(few, ADAM)


def test_the_seed_decides_the_first_state_and_data_seed_the_minibatches(config):
    def first(**choices):
        return load_setup(dataclasses.replace(config, **choices), ADAM).initial_state(ADAM)

    def key(state):
        return jax.random.key_data(state.key).tolist()

    state = first()
    assert int(state.step) == 0
    assert_trees_identical(state, first())
    other = first(seed=1)
    assert not np.array_equal(other.params["W"], state.params["W"])
    assert key(other) != key(state)
    same_data = first(seed=1, data_seed=0)
    assert_trees_identical(same_data.params, other.params)
    assert key(same_data) == key(state)
    assert state.average is None
    assert_trees_identical(first(average_decay=0.5).average, state.params)
    np.testing.assert_array_equal(first(init_scale=0.5).params["W"], state.params["W"] / 2)


def test_a_population_of_seeds_begins_as_each_of_them_alone(config):
    states = load_setup(config, ADAM).initial_states(ADAM, 3)
    for i in range(3):
        alone = load_setup(dataclasses.replace(config, seed=i), ADAM).initial_state(ADAM)
        assert_trees_identical(jax.tree.map(lambda leaf, i=i: leaf[i], states), alone)


# Memory


@pytest.fixture
def memory(monkeypatch):
    """Set how many bytes the device has; nothing may be compiled or put there then."""

    def forbidden(*_args, **_kwargs):
        raise AssertionError("something was compiled, or put on the device")

    def of(num_bytes):
        monkeypatch.setattr("mm_jax.experiments.setup.device_bytes", lambda _: num_bytes)
        monkeypatch.setattr("mm_jax.experiments.setup._jitted_init", forbidden)
        monkeypatch.setattr("mm_jax.data.dataset.Dataset.examples", forbidden)

    return of


@pytest.mark.parametrize(
    ("lines", "split", "model"),
    [
        (["ab" * 10**6], "none", MLPConfig()),  # a long line: 2 bytes a symbol
        (["ab"] * 500_000, "lecture", MLPConfig()),  # many lines
        ([chr(0x4E00 + i) for i in range(10_000)], "lecture", MLPConfig(hidden_dim=8)),
    ],
    ids=["a long line", "many lines", "many symbols"],
)
def test_what_does_not_fit_is_refused_with_the_estimate_before_it_is_compiled(
    lines, split, model, memory, tmp_path
):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(lines))
    memory(4 * 10**6)
    config = RunConfig(data=DataConfig(str(path), split=split), model=model)
    sgd = make_optimizer(config.optimizer, config.steps)
    with pytest.raises(InputError) as refused:
        load_setup(config, sgd)
    text = str(refused.value)
    assert re.match(r"training this takes about [\d.]+ MB, and there are 4\.0 MB; ", text)
    assert text.endswith("or fewer lines or symbols takes less")
    assert "--hidden-dim" in text


@pytest.mark.parametrize("model", [BigramConfig(), MLPConfig(hidden_dim=8), GRUConfig(4, 8)])
def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(model, memory, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LINES))
    config = RunConfig(data=DataConfig(str(path)), model=model, batch_size=10**9)
    sgd = make_optimizer(config.optimizer, config.steps)
    memory(4 * 10**6)
    with pytest.raises(InputError, match=r"4\.0 MB; --batch-size \d+ fits$") as refused:
        load_setup(config, sgd)
    fits = int(str(refused.value).split()[-2])
    with pytest.raises(InputError, match=f"--batch-size {fits} fits$"):
        load_setup(dataclasses.replace(config, batch_size=fits + 1), sgd)
    with pytest.raises(AssertionError):  # it comes to the examples, which are forbidden here
        load_setup(dataclasses.replace(config, batch_size=fits), sgd)


def test_the_seeds_that_fit_are_counted_and_named(config, monkeypatch):
    setup = load_setup(config, ADAM)
    params, state_bytes = first_params(setup.model), 10**6

    def fit(num_bytes, num_seeds):
        monkeypatch.setattr("mm_jax.experiments.setup.device_bytes", lambda _: num_bytes)
        model, dataset = setup.model, setup.dataset
        return check_memory(state_bytes, dataset, model, params, config, num_seeds)

    some = fit(10 * state_bytes, 1)
    assert some < 10 - 2  # two more states are needed for the work
    assert fit(11 * state_bytes, 1) == some + 1
    with pytest.raises(InputError, match=rf"or --seeds {some} takes less|; --seeds {some} takes"):
        fit(10 * state_bytes, some + 1)
    with pytest.raises(InputError, match="fewer lines or symbols takes less"):
        fit(state_bytes, 1)
