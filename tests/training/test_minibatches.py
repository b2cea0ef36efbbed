import jax
import jax.numpy as jnp
import pytest

from mm_jax.data.corpus import encode_corpus
from mm_jax.data.examples import Windows, examples_of
from mm_jax.data.vocab import build_vocab
from mm_jax.training.minibatches import (
    CHUNK_TOKENS,
    Prefetcher,
    chunk_length,
    gather_minibatches,
    minibatch_ids,
)
from tests.helpers import FIVE_NAMES, assert_trees_identical

CORPUS = encode_corpus(FIVE_NAMES, build_vocab(FIVE_NAMES))
ON_HOST = Windows(CORPUS.ids, None, 2)
KEY = jax.random.key(3)


def batch_of(step):
    examples = examples_of(CORPUS, 2)
    return examples.take(minibatch_ids(KEY, jnp.int32(step), examples.num_examples, 4))


def assert_minibatches(found, first, count):
    for i in range(count):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], found.batches)
        assert_trees_identical(one, batch_of(first + i))


def test_the_host_gathers_what_the_device_would_draw_and_leaves_the_rest_empty():
    found = gather_minibatches(ON_HOST, KEY, 5, 2, 4, num_steps=3)
    assert found.batches.tokens.shape == (3, 4, 2)
    assert_minibatches(found, 5, 2)
    assert not any(leaf[2].any() for leaf in jax.tree.leaves(found.batches))


def test_the_next_chunk_is_gathered_ahead_and_another_one_on_demand():
    with Prefetcher(ON_HOST, KEY, 4, 3) as prefetcher:
        assert_minibatches(prefetcher.get(0, 3, (3, 2)), 0, 3)
        assert prefetcher.coming[:2] == (3, 2)
        assert_minibatches(prefetcher.get(3, 2, (5, 3)), 3, 2)
        assert_minibatches(prefetcher.get(1, 1, (2, 0)), 1, 1)  # not what was foreseen


def test_what_is_on_the_device_is_passed_on():
    examples = examples_of(CORPUS, 2)
    with Prefetcher(examples, KEY, 4, 3) as prefetcher:
        assert prefetcher.get(0, 3, (3, 3)) is examples


@pytest.mark.parametrize("batch_size", [1, 32, 10**6, 10**8])
def test_a_chunk_is_of_at_least_one_step_and_bounded_in_memory(batch_size):
    length = chunk_length(ON_HOST, batch_size)
    assert 1 <= length <= 1000
    assert length == 1 or length * batch_size * (2 + 1) <= CHUNK_TOKENS
