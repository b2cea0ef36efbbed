"""Good-Turing as a Model: what a tree adds to logits. The fit of it has tests of its own."""

import jax
import numpy as np
import pytest

from mm_jax.data.corpus import encode_corpus
from mm_jax.data.prefix_tree import prefix_tree
from mm_jax.data.vocab import Vocab
from mm_jax.models.good_turing import good_turing, tree_params, unusable_tree
from mm_jax.models.mlp import mlp
from tests.helpers import first_params, gru, quick_jit

ABC = Vocab((".", "a", "b", "c"))
LINES = ["a", "ab", "b"]
MLP = mlp(4, context=3, embed_dim=2, hidden_dim=3, init="scaled")
TREE = prefix_tree(encode_corpus(LINES, ABC))


def tree_of(log_means):
    return tree_params(TREE.symbols, TREE.first, np.asarray(log_means))


def log_probs_of(model, params, tokens):
    return np.asarray(jax.nn.log_softmax(quick_jit(model.apply)(params, tokens)), np.float64)


def test_each_symbol_gets_the_mean_of_the_node_that_it_leads_to():
    """Nodes: the empty prefix, a, b, a., ab, b., ab., and every prefix that is not in train."""
    log_means = np.array([0.0, 0.5, -0.5, -2.0, 0.25, -3.0, -4.0, 1.0])
    model = good_turing(gru(4))
    params = {"model": first_params(gru(4)), "tree": tree_of(log_means)}
    tokens = np.array([[0, 1, 2, 3], [0, 2, 1, 0], [0, 3, 1, 2]], np.int32)
    added = np.array(
        [
            [[1, 0.5, -0.5, 1], [-2, 1, 0.25, 1], [-4, 1, 1, 1], [1, 1, 1, 1]],
            [[1, 0.5, -0.5, 1], [-3, 1, 1, 1], [1, 1, 1, 1], [1, 0.5, -0.5, 1]],
            [[1, 0.5, -0.5, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
        ]
    )
    powers = np.exp(log_probs_of(gru(4), params["model"], tokens) + added)
    expected = np.log(powers / powers.sum(-1, keepdims=True))
    np.testing.assert_allclose(log_probs_of(model, params, tokens), expected, rtol=1e-5, atol=1e-6)


def test_it_begins_as_the_model_itself():
    params = quick_jit(good_turing(MLP).init)(jax.random.key(0))
    tokens = np.array([[0, 1, 2, 0, 3]], np.int32)
    same = log_probs_of(MLP, params["model"], np.array([[0, 0, 0, 1, 2]], np.int32))
    found = log_probs_of(good_turing(MLP), params, tokens)
    np.testing.assert_allclose(found[:, :3], same, rtol=1e-5)
    assert (MLP.context, good_turing(MLP).context) == (3, None)


def damaged(**arrays):
    return {**tree_of(np.zeros(8)), **arrays}


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (damaged(), None),
        (damaged(other=np.zeros(1)), "other is unknown"),
        ({"symbols": np.zeros(1, np.int32)}, "first is missing"),
        (damaged(symbols=np.full(6, 4, np.int32)), "symbols has a number out of its range"),
        (damaged(first=np.zeros(8, np.int32)), "first is int32[8], should be int32[9]"),
        (damaged(log_means=np.full(8, np.nan, np.float32)), "log_means is not finite"),
        (damaged(longest=np.zeros((), np.int64)), "longest is int64[], should be int32[]"),
        (tree_params(np.zeros(0), np.zeros(2), np.zeros(2)), "symbols is empty"),
    ],
)
def test_arrays_that_are_no_tree_are_named(arrays, problem):
    assert unusable_tree(arrays, 4) == problem
