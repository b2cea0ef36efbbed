import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax import population
from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import rows, windows
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.models.sampling import sample
from mm_jax.training.evaluate import evaluate
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit
from tests.data.two_ways import both_datasets
from tests.helpers import (
    FIVE_NAMES,
    V,
    assert_trees_close,
    assert_trees_identical,
    bigram,
    gru,
    quick_jit,
)

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL = mlp(V, 3, 4, 8, "scaled", 0.2)
BATCH = windows(FIVE_NAMES, LETTERS, 3)
ADAMW = OptimizerConfig("adamw", weight_decay=1.0, clip_norm=1.0, learning_rate=1.0)
NUMBERS = {  # of three members, no two alike
    "learning_rate": [0.01, 0.03, 0.1],
    "weight_decay": [0.0, 0.5, 2.0],
    "clip_norm": [0.3, 1.0, 100.0],
    "init_scale": [1.0, 0.5, 2.0],
    "regularization": [0.1, 0.0, 1.0],
    "label_smoothing": [0.0, 0.1, 0.3],
    "average_decay": [0.9, 0.0, 0.5],
}
SEEDS, ORDERS = [3, 4, 4], [7, 4, 9]


def keys(seeds):
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


@pytest.fixture(scope="module")
def trained():
    """Three members after eight steps, and their losses."""
    optimizer = make_optimizer(ADAMW, 8)
    numbers = {name: jnp.float32(values) for name, values in NUMBERS.items()}
    state = population.init(MODEL, optimizer, keys(SEEDS), key_data=keys(ORDERS), **numbers)
    return population.fit(MODEL, optimizer, state, BATCH, num_steps=8, batch_size=8)


@pytest.mark.parametrize("i", [1, 2])  # the one has zeros that the other has not
def test_a_member_is_the_single_run_of_its_seed_order_and_numbers(trained, i):
    of = {name: values[i] for name, values in NUMBERS.items()}
    descent = {name: of.pop(name) for name in ("learning_rate", "weight_decay", "clip_norm")}
    optimizer = make_optimizer(dataclasses.replace(ADAMW, **descent), 8)
    order = jax.random.key(ORDERS[i])
    state = init_state(MODEL, optimizer, jax.random.key(SEEDS[i]), key_data=order, **of)
    state, losses = fit(MODEL, optimizer, state, BATCH, num_steps=8, batch_size=8)
    member = jax.tree.map(lambda leaf: leaf[i], (trained[0].params, trained[0].average, trained[1]))
    assert_trees_close(member, (state.params, state.average, losses))


def test_members_of_one_seed_and_other_numbers_are_other_members(trained):
    w = np.asarray(trained[0].params["W1"])
    assert not np.allclose(w[1], w[2], atol=1e-3)
    assert not np.allclose(trained[0].average["W1"][0], w[0], atol=1e-4)


def test_a_number_that_the_optimizer_does_not_keep_is_refused():
    plain = make_optimizer(OptimizerConfig(learning_rate=0.1), 8)
    with pytest.raises(InputError, match="has no hyperparameter momentum in its state"):
        population.init(MODEL, plain, keys([0, 1]), momentum=jnp.zeros(2))
    with pytest.raises(InputError, match="a population has at least one member"):
        population.init(MODEL, plain, keys([0])[:0])


def test_losses_and_samples_of_members_are_those_of_each_alone(trained):
    params = trained[0].params
    losses = population.evaluate(MODEL, params, BATCH)
    tokens, ended = quick_jit(
        lambda params, key: population.sample(MODEL, params, key, num=5, max_len=9)
    )(params, keys([5, 6, 7]))
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], params)
        assert float(losses[i]) == pytest.approx(float(evaluate(MODEL, one, BATCH)), abs=1e-6)
        alone = sample(MODEL, one, jax.random.key(5 + i), num=5, max_len=9)
        assert np.array_equal(tokens[i], alone[0])
        assert np.array_equal(ended[i], alone[1])


def test_steps_in_two_programs_are_the_steps_of_one(trained):
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1, schedule="constant"), 8)
    state = population.init(MODEL, optimizer, keys(SEEDS))
    options = {"num_steps": 6, "batch_size": 8}
    whole, _ = population.fit(MODEL, optimizer, state, BATCH, limit=6, **options)
    for limit in 2, 4:
        state, losses = population.fit(MODEL, optimizer, state, BATCH, limit=limit, **options)
        assert (np.asarray(losses) > 0).sum(1).tolist() == [limit] * 3
    assert_trees_identical(whole, state)


# Data of their own, and data on the disk

SGD = make_optimizer(OptimizerConfig(learning_rate=0.1, schedule="constant"), 8)
OTHERS = [FIVE_NAMES, ["zoe", "mia", "noah", "liam", "ella"], ["aa", "bbb", "cc", "ddd", "ee"]]


def own_data(model):
    """A batch of examples for each of three members, and all in one."""
    make = windows if model.context else rows
    each = [make(lines, LETTERS, model.context) for lines in OTHERS]
    if model.context:  # windows of as many predictions
        each = [batch.take(jnp.arange(17)) for batch in each]
    else:
        each = [rows(lines, LETTERS, None, 8) for lines in OTHERS]
    return each, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


@pytest.mark.parametrize("batch_size", [4, None])
@pytest.mark.parametrize("model", [bigram(), gru(V, 4)], ids=["bigram", "gru"])
def test_members_with_data_of_their_own_are_runs_on_these(model, batch_size):
    each, own = own_data(model)
    options = {"num_steps": 3, "batch_size": batch_size}
    state = population.init(model, SGD, keys(SEEDS))
    after, losses = population.fit(model, SGD, state, own, **options)
    measured = population.evaluate(model, after.params, own)
    for i, data in enumerate(each):
        alone = init_state(model, SGD, jax.random.key(SEEDS[i]))
        expected, expected_losses = fit(model, SGD, alone, data, **options)
        member = jax.tree.map(lambda leaf, i=i: leaf[i], (after.params, losses))
        assert_trees_close(member, (expected.params, expected_losses))
        assert float(measured[i]) == pytest.approx(
            float(evaluate(model, expected.params, data)), rel=1e-5
        )
    # Members 1 and 2 have one seed: what differs comes from their data.
    assert not np.allclose(losses[1], losses[2], atol=1e-3)


def test_data_for_another_number_of_members_are_refused():
    model = bigram()
    _, own = own_data(model)
    state = population.init(model, SGD, keys([0, 1]))
    deeper = jax.tree.map(lambda leaf: leaf[None], own)
    for data, axes in (own, r"1 axes \(3,\)"), (deeper, r"2 axes \(1, 3\)"):
        said = rf"the data have {axes} in front of their examples; one, of the 2 members"
        with pytest.raises(InputError, match=said):
            population.fit(model, SGD, state, data, num_steps=1, batch_size=2)
        with pytest.raises(InputError, match=said):
            population.evaluate(model, state.params, data)


def test_windows_are_refused_by_members_that_read_rows():
    model = gru(V, 4)
    state = population.init(model, SGD, keys(SEEDS))
    with pytest.raises(InputError, match="this model reads whole rows"):
        population.fit(model, SGD, state, BATCH, num_steps=1, batch_size=2)
    with pytest.raises(InputError, match="this model reads whole rows"):
        population.evaluate(model, state.params, BATCH)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("kind", ["windows", "rows"])
def test_members_from_a_mapped_corpus_have_the_bits_of_memory(tmp_path, kind, limit):
    memory, large = both_datasets(tmp_path)
    size = len(memory.vocab)
    model = bigram(size) if kind == "windows" else gru(size, 4)
    runs = []
    for data in memory, large:
        state = population.init(model, SGD, keys(SEEDS), key_data=keys(ORDERS))
        options = {"num_steps": 3, "batch_size": 4, "limit": limit}
        state, losses = population.fit(model, SGD, state, data.splits.train, **options)
        runs.append((state, losses, population.evaluate(model, state.params, data.splits.dev)))
    assert_trees_identical(runs[0][:2], runs[1][:2])
    # The members of mapped data are measured one by one, where matrices are multiplied alone.
    assert_trees_close(runs[0][2], runs[1][2])
