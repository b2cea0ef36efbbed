"""What a model learns from: a corpus in memory or mapped, or a Batch of the kind that it reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import LRRangeConfig, OptimizerConfig
from mm_jax.data.batches import Batch, rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.examples import Windows, examples_of, is_on_host
from mm_jax.data.row_examples import Crops, Rows
from mm_jax.data.vocab import build_vocab
from mm_jax.experiments.lr_range import lr_range_test
from mm_jax.models.mlp import mlp
from mm_jax.training.data import all_of, read_by
from mm_jax.training.evaluate import evaluate
from mm_jax.training.loss import nats
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit, fit_chunks, gather_minibatches
from mm_jax.training.surprise import surprise
from tests.data.two_ways import all_is_large, both_datasets
from tests.helpers import assert_trees_identical, bigram, first_params, gru, quick_jit

SGD = make_optimizer(OptimizerConfig(learning_rate=0.1, schedule="constant"), 10)
VOCAB = build_vocab(["abc"])
WORDS = ["abc", "", "ca", "abcabcab"]
CORPUS = encode_corpus(WORDS, VOCAB)
MLP, GRU = mlp(4, 3, 2, 4), gru(4, 4)
KINDS = {
    "windows": (lambda size: mlp(size, 3, 2, 4), {}),
    "rows": (lambda size: gru(size, 4), {}),
    "crops": (lambda size: gru(size, 4), {"items": "document", "block": 6}),
}


def begin(model):
    return init_state(model, SGD, jax.random.key(1), params=first_params(model))


def run(model, data, chunk_steps=3, num_steps=7):
    """The last state of a run, and the losses of all its steps."""
    state, losses = begin(model), []
    options = {"num_steps": num_steps, "batch_size": 4, "chunk_steps": chunk_steps}
    for after, chunk in fit_chunks(model, SGD, state, data, **options):
        state = after
        losses += chunk.tolist()
    return state, losses


# Mapped


@pytest.mark.parametrize("kind", KINDS)
def test_training_from_a_mapped_corpus_gives_the_bits_of_memory(tmp_path, kind):
    make, choices = KINDS[kind]
    memory, large = both_datasets(tmp_path, **choices)
    model = make(len(memory.vocab))
    with all_is_large(tmp_path / "cache"):
        one, other = (run(model, each.splits.train) for each in (memory, large))
        assert one[1] == other[1]
        assert len(one[1]) == 7
        assert_trees_identical(one[0], other[0])
        params = one[0].params
        losses = [
            evaluate(model, params, each.splits.dev, batch_size=2) for each in (memory, large)
        ]
        assert_trees_identical(*losses)
        assert_trees_identical(
            *(evaluate(model, params, each.splits.train) for each in (memory, large))
        )
        each = [surprise(model, params, each.splits.dev, batch_size=3) for each in (memory, large)]
        assert np.array_equal(*each)


@pytest.mark.parametrize("chunk_steps", [1, 7])
def test_the_chunks_that_the_host_gathers_change_no_bit(tmp_path, chunk_steps):
    _, large = both_datasets(tmp_path)
    model = bigram(len(large.vocab))
    one = run(model, large.splits.train, chunk_steps)
    other = run(model, large.splits.train, 3)
    assert one[1] == other[1]
    assert_trees_identical(one[0], other[0])


def test_a_part_of_the_steps_from_a_mapped_corpus_is_that_part(tmp_path):
    memory, large = both_datasets(tmp_path)
    model = bigram(len(memory.vocab))
    options = {"num_steps": 4, "batch_size": 3, "limit": np.int32(2)}
    one, other = (
        fit(model, SGD, begin(model), each.splits.train, **options) for each in (memory, large)
    )
    assert_trees_identical(one, other)
    assert (np.asarray(other[1]) > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("mode", ["sweep", "grid"])
def test_a_range_test_from_a_mapped_corpus_gives_the_bits_of_memory(tmp_path, mode):
    memory, large = both_datasets(tmp_path)
    model = bigram(len(memory.vocab))
    steps = {"steps": 5} if mode == "grid" else {}
    config = LRRangeConfig(mode=mode, num=10, seeds=2, **steps)
    one, other = (
        lr_range_test(model, SGD, begin(model), each.splits.train, config, batch_size=4)
        for each in (memory, large)
    )
    assert np.array_equal(one.losses, other.losses)
    assert np.array_equal(one.untrained, other.untrained)
    assert one.suggestion.lr == other.suggestion.lr


def test_a_mapped_corpus_needs_a_batch_size(tmp_path):
    _, large = both_datasets(tmp_path)
    model = bigram(len(large.vocab))
    with pytest.raises(InputError, match="too large for steps that read all of them"):
        fit(model, SGD, begin(model), large.splits.train, num_steps=1, batch_size=None)


class Numbered:
    """More examples than 32 bits can number, each of which shows its number."""

    num_examples, ids = 2**31 * 37, np.zeros(1, np.uint8)

    def take(self, numbers):
        tokens = np.stack([numbers >> 31, numbers & (2**31 - 1)], -1).astype(np.int32)
        return Batch(tokens, tokens[:, 0], np.ones(len(tokens), np.float32))


def test_minibatches_are_drawn_from_more_examples_than_32_bits_can_number():
    drawn = gather_minibatches(Numbered(), jax.random.key(0), 0, 20, 100, 20).batches
    assert drawn.tokens.shape == (20, 100, 2)
    high, low = drawn.tokens.reshape(-1, 2).T
    assert set(high.tolist()) == {*range(37)}
    assert (np.bincount(high) < 2000 / 37 + 6 * (2000 / 37) ** 0.5).all()
    assert abs((low / 2**31).mean() - 0.5) < 5 * (1 / 12 / 2000) ** 0.5
    later = gather_minibatches(Numbered(), jax.random.key(0), 7, 2, 100, 3).batches
    assert np.array_equal(later.tokens[:2], drawn.tokens[7:9])  # the step alone decides
    assert not later.tokens[2].any()
    assert not later.weights[2].any()


# In memory


@pytest.mark.parametrize(("model", "make"), [(MLP, windows), (GRU, rows)], ids=["mlp", "gru"])
@pytest.mark.parametrize("batch_size", [4, None])
def test_a_corpus_is_learned_as_the_batch_that_is_made_of_it(model, make, batch_size):
    options = {"num_steps": 3, "batch_size": batch_size}
    one, other = (
        fit(model, SGD, begin(model), data, **options)
        for data in (CORPUS, make(CORPUS, context=model.context))
    )
    assert_trees_identical(one, other)


def test_the_model_decides_what_the_examples_of_a_corpus_are():
    assert isinstance(read_by(MLP, CORPUS), Windows)
    assert read_by(MLP, CORPUS).context == 3
    assert isinstance(read_by(GRU, CORPUS), Rows)
    examples = examples_of(CORPUS, None)
    assert read_by(GRU, examples) is examples
    batch = windows(CORPUS, context=3)
    assert read_by(MLP, batch) is all_of(batch) is batch


@pytest.mark.parametrize("model", [MLP, GRU], ids=["mlp", "gru"])
def test_a_weighted_item_counts_as_often_as_it_would_be_repeated(model):
    weights = [3.0, 1.0, 0.0, 2.0]
    weighted = encode_corpus(WORDS, VOCAB, weights)
    repeated = [word for word, n in zip(WORDS, weights, strict=True) for _ in range(int(n))]
    params = first_params(model)
    losses = [evaluate(model, params, each) for each in (weighted, encode_corpus(repeated, VOCAB))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    assert abs(float(losses[0]) - float(evaluate(model, params, CORPUS))) > 1e-4
    # One step on all of the data lowers both by the same gradient.
    options = {"num_steps": 2, "batch_size": None}
    one, other = (
        fit(model, SGD, begin(model), data, **options)[1]
        for data in (weighted, encode_corpus(repeated, VOCAB))
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_all_of_a_document_has_each_token_once():
    ids = np.array([0, *(1 + i % 3 for i in range(20))], np.uint8)
    batch = all_of(Crops(jnp.asarray(ids), 8))
    targets = np.asarray(batch.targets)[np.asarray(batch.weights) > 0]
    assert targets.tolist() == ids[1:].tolist()
    assert is_on_host(Crops(ids, 8))


# Batches of another kind


def calls(model, batch):
    """All that reads a batch."""
    params, options = first_params(model), {"num_steps": 1, "batch_size": 2}
    yield lambda: fit(model, SGD, begin(model), batch, **options)
    yield lambda: next(fit_chunks(model, SGD, begin(model), batch, **options))
    yield lambda: evaluate(model, params, batch)
    yield lambda: quick_jit(nats, static_argnums=0)(model, params, batch)


def test_windows_are_refused_by_a_model_of_rows():
    for context in 1, 3:
        for call in calls(GRU, windows(CORPUS, context=context)):
            with pytest.raises(InputError, match=r"this model reads whole rows: make it with rows"):
                call()


@pytest.mark.parametrize("make", [windows, rows])
def test_examples_of_another_context_are_refused(make):
    for call in calls(MLP, make(CORPUS, context=2)):
        with pytest.raises(InputError, match=r"tokens.* make it with (windows|rows)\(..., .*3\)"):
            call()
    for call in calls(GRU, rows(CORPUS, context=2)):
        with pytest.raises(InputError, match=r"9 targets.* makes 10 predictions"):
            call()


def test_windows_of_no_context_are_refused():
    with pytest.raises(InputError, match=r"reads rows: make them with rows"):
        windows(CORPUS, context=None)


@pytest.mark.parametrize(("model", "make"), [(MLP, windows), (GRU, rows)], ids=["mlp", "gru"])
def test_data_of_several_members_are_refused_by_one_model(model, make):
    batch = make(CORPUS, context=model.context)
    own = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), batch)
    assert (batch.num_axes, own.num_axes) == (0, 1)
    assert (own.num_examples, own.are_windows) == (batch.num_examples, batch.are_windows)
    for call in [*calls(model, own)][:3]:
        with pytest.raises(InputError, match=r"population\.fit takes an axis of members in front"):
            call()
