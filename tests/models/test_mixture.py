"""Mixtures by their definition in float64, of what their members say when each reads alone."""

import inspect
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.batches import rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.vocab import Vocab
from mm_jax.models.context_frequency import frequency_table
from mm_jax.models.ensemble import ensemble
from mm_jax.models.kneser_ney import fit_kneser_ney, kneser_ney
from mm_jax.models.mixture import KINDS, mixture, mixture_params
from mm_jax.models.mlp import mlp
from mm_jax.models.ngram import fit_ngram, ngram
from mm_jax.models.transformer import transformer
from tests.helpers import (
    FIVE_NAMES,
    V,
    assert_trees_close,
    bigram,
    first_params,
    gru,
    mlp64,
    quick_jit,
    softmax64,
)

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MLP, BIGRAM, GRU = mlp(V, 3, 4, 8, "scaled"), bigram(), gru()
KNESER_NEY = kneser_ney(V, 3)


def clinging_counts():
    """Counts with parameters that are allowed: at the end of an item step does not begin anew."""
    params = fit_kneser_ney(FIVE_NAMES, LETTERS, 3)
    following = np.array(params["next"])
    one = following[0, 0]
    two = following[one, 0]  # the states after one boundary, and after two, as at the start
    others = np.setdiff1d(np.arange(len(following)), [0, one, two])
    following[others, 0] = 0
    return params | {"next": jnp.asarray(following)}


PARAMS = {
    MLP: jax.tree.map(lambda leaf: 10 * leaf, first_params(MLP)),
    BIGRAM: {"W": 20 * first_params(BIGRAM)["W"]},
    GRU: jax.tree.map(lambda leaf: 2 * leaf, first_params(GRU)),
    KNESER_NEY: clinging_counts(),
}
WINDOWS, ROWS = (MLP, BIGRAM, KNESER_NEY), (GRU, KNESER_NEY, MLP)
WEIGHTS = {"linear": (0.5, 0.2, 0.3), "log-linear": (0.9, 0.3, 0.5)}
TRAIN = ["ava", "eva", "emma", "ana", "anna"] * 2  # in which contexts are counted
TABLE, NUM_BINS = frequency_table(encode_corpus(TRAIN, LETTERS))
WEIGHTS["frequency"] = np.random.default_rng(0).dirichlet(np.ones(3), NUM_BINS)
TWO_ITEMS = ["ava", "emma"]  # 9 predictions
SHARED_ROW = np.array([0, *map(LETTERS.symbols.index, "ava.emma")], np.int32)


def with_weights(models, weights):
    """The parameters of a mixture of these models."""
    table = TABLE if np.ndim(weights) == 2 else None
    return mixture_params(weights, [PARAMS[model] for model in models], table)


def contexts_of(items):
    """The last two symbols before each prediction, fewer after a boundary."""
    return [("." + item)[max(0, i - 1) : i + 1] for item in items for i in range(len(item) + 1)]


def weights_of(kind, items):
    """The weights (K,), or by frequency those of each prediction (K, N)."""
    if kind != "frequency":
        return WEIGHTS[kind]
    counts = Counter(contexts_of(TRAIN))
    total = counts.total()
    bins = [math.ceil(-math.log((1 + counts[each]) / total)) for each in contexts_of(items)]
    assert len({*bins}) > 1
    return WEIGHTS[kind][bins].T


def logits64(model, items):
    """What a member says of each prediction (N, V), read from rows or windows of its own."""
    make = windows if model.context else rows
    batch = make(items, LETTERS, model.context)
    if model is MLP:
        return mlp64(PARAMS[MLP], batch.tokens)[1]
    if model is BIGRAM:
        return np.asarray(PARAMS[BIGRAM]["W"], np.float64)[batch.tokens[:, 0]]
    logits = np.asarray(quick_jit(model.apply)(PARAMS[model], batch.tokens), np.float64)
    return logits[:, 0] if model.context else logits[np.asarray(batch.weights) > 0]


def mixed64(kind, weights, logits):
    """The probabilities of a mixture by its definition, from the logits of each member."""
    probs = np.stack([softmax64(each) for each in logits])
    tall = np.reshape(weights, np.shape(weights) + (1,) * (probs.ndim - np.ndim(weights)))
    if kind != "log-linear":
        return (tall * probs).sum(0)
    product = np.prod(probs**tall, 0)
    return product / product.sum(-1, keepdims=True)


def expected_of(models, kind, items):
    return mixed64(kind, weights_of(kind, items), [logits64(model, items) for model in models])


def probs_of(model, params, tokens):
    return softmax64(quick_jit(model.apply)(params, tokens))


# What it says


@pytest.mark.parametrize("kind", KINDS)
def test_of_windows_it_is_the_weighted_mean(kind):
    model, params = mixture(WINDOWS, kind), with_weights(WINDOWS, WEIGHTS[kind])
    found = probs_of(model, params, windows(FIVE_NAMES, LETTERS, 3).tokens)
    np.testing.assert_allclose(found[:, 0], expected_of(WINDOWS, kind, FIVE_NAMES), rtol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_of_rows_it_is_the_weighted_mean(kind):
    model, params = mixture(ROWS, kind), with_weights(ROWS, WEIGHTS[kind])
    batch = rows(FIVE_NAMES, LETTERS)
    found = probs_of(model, params, batch.tokens)[np.asarray(batch.weights) > 0]
    np.testing.assert_allclose(found, expected_of(ROWS, kind, FIVE_NAMES), rtol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_row_that_two_items_share_no_member_sees_the_other_item(kind):
    model, params = mixture(ROWS, kind), with_weights(ROWS, WEIGHTS[kind])
    found = probs_of(model, params, SHARED_ROW)
    np.testing.assert_allclose(found, expected_of(ROWS, kind, TWO_ITEMS), rtol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [WINDOWS, ROWS], ids=["windows", "rows"])
def test_step_by_step_it_predicts_the_same_also_after_a_boundary(models, kind):
    model, params = mixture(models, kind), with_weights(models, WEIGHTS[kind])

    def read(params, tokens):
        return jax.lax.scan(lambda *each: model.step(params, *each), model.start(params), tokens)

    _, logits = quick_jit(read)(params, SHARED_ROW)
    np.testing.assert_allclose(softmax64(logits), expected_of(models, kind, TWO_ITEMS), rtol=3e-5)


def test_linear_with_equal_weights_is_an_ensemble():
    each = [jax.tree.map(lambda leaf: 10 * leaf, first_params(MLP, seed)) for seed in (1, 2)]
    params = {"weights": jnp.full(2, 0.5), "members": {"0": each[0], "1": each[1]}}
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    tokens = windows(FIVE_NAMES, LETTERS, 3).tokens
    assert_trees_close(
        quick_jit(mixture((MLP, MLP), "linear").apply)(params, tokens),
        quick_jit(ensemble(MLP, 2).apply)(stacked, tokens),
    )


def test_what_a_member_of_weight_0_rules_out_stays_possible():
    strict = ngram(V, 2, 0.0)
    models, tokens = (MLP, strict), windows(["olivia"], LETTERS, 3).tokens
    members = {"0": PARAMS[MLP], "1": fit_ngram(["emma"], LETTERS, 2)}
    for kind in ("linear", "log-linear"):
        model = mixture(models, kind)
        without, half = (
            probs_of(model, {"weights": jnp.array(weights), "members": members}, tokens)[:, 0]
            for weights in ((1.0, 0.0), (0.5, 0.5))
        )
        expected = softmax64(mlp64(PARAMS[MLP], tokens)[1])
        np.testing.assert_allclose(without, expected, rtol=3e-5)
        # Any other weight rules out in a product of probabilities: only e begins a line.
        assert np.count_nonzero(half[0]) == (V if kind == "linear" else 1)


def test_a_mixture_of_mixtures_is_the_mean_of_a_mean():
    inner = mixture((MLP, BIGRAM), "log-linear")
    outer = mixture((inner, KNESER_NEY), "linear")
    within = with_weights((MLP, BIGRAM), (0.7, 0.6))
    members = {"0": within, "1": PARAMS[KNESER_NEY]}
    params = {"weights": jnp.array([0.25, 0.75]), "members": members}
    mlp_says, bigram_says, counts_say = (logits64(model, FIVE_NAMES) for model in WINDOWS)
    first = np.log(mixed64("log-linear", (0.7, 0.6), [mlp_says, bigram_says]))
    expected = mixed64("linear", (0.25, 0.75), [first, counts_say])
    found = probs_of(outer, params, windows(FIVE_NAMES, LETTERS, 3).tokens)
    np.testing.assert_allclose(found[:, 0], expected, rtol=3e-5)


def test_by_frequency_it_reads_two_tokens_where_its_members_read_one():
    models = (BIGRAM, BIGRAM)
    model = mixture(models, "frequency")
    assert (model.context, mixture(models, "linear").context) == (2, 1)
    weights = WEIGHTS["frequency"][:, :2]
    params = with_weights(models, weights / weights.sum(1, keepdims=True))
    params["members"]["1"] = {"W": -PARAMS[BIGRAM]["W"]}
    tokens = windows(FIVE_NAMES, LETTERS, 2).tokens
    each = [softmax64(sign * np.asarray(PARAMS[BIGRAM]["W"])[tokens[:, 1]]) for sign in (1, -1)]
    share = weights_of("frequency", FIVE_NAMES)[:2]
    expected = np.einsum("kn,knv->nv", share / share.sum(0), each)
    np.testing.assert_allclose(probs_of(model, params, tokens)[:, 0], expected, rtol=3e-5)


@pytest.mark.parametrize("kind", ["linear", "frequency"])
def test_what_it_says_of_targets_is_what_its_logits_say(kind):
    for models in (WINDOWS, ROWS):
        model, params = mixture(models, kind), with_weights(models, WEIGHTS[kind])
        tokens = np.random.default_rng(0).integers(0, V, (4, 9), np.int32)
        logits = quick_jit(model.apply)(params, tokens)
        targets = np.random.default_rng(1).integers(0, V, logits.shape[:-1], np.int32)
        expected = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        found = quick_jit(model.target_log_probs)(params, tokens, targets)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# What it is made of


def test_it_begins_with_equal_weights_and_different_members():
    params = quick_jit(mixture((MLP, MLP, BIGRAM)).init)(jax.random.key(0))
    np.testing.assert_allclose(params["weights"], np.full(3, 1 / 3), rtol=1e-6)
    assert list(params["members"]) == ["0", "1", "2"]
    assert np.any(params["members"]["0"]["W1"] != params["members"]["1"]["W1"])


def test_by_frequency_it_begins_with_equal_weights_for_all_contexts():
    params = quick_jit(mixture((MLP, BIGRAM), "frequency").init)(jax.random.key(0))
    assert params["weights"].tolist() == [[0.5, 0.5]]
    tokens = windows(FIVE_NAMES, LETTERS, 3).tokens
    linear = {"weights": params["weights"][0], "members": params["members"]}
    assert_trees_close(
        quick_jit(mixture((MLP, BIGRAM), "frequency").apply)(params, tokens),
        quick_jit(mixture((MLP, BIGRAM), "linear").apply)(linear, tokens),
    )


def test_its_context_and_length_are_those_that_all_members_can_read():
    long, short = (transformer(V, n, layers=1, embed_dim=4, heads=1) for n in (9, 7))
    assert mixture((long, MLP, short)).max_len == 7
    assert mixture((long, MLP)).max_len == 9
    assert mixture((long, MLP)).context is None
    assert (mixture(WINDOWS).max_len, mixture(WINDOWS).context) == (None, 3)


def test_it_begins_anew_at_a_boundary_where_each_member_of_rows_does():
    assert not KNESER_NEY.restarts
    assert mixture(WINDOWS).restarts
    assert mixture(ROWS).restarts
    assert not mixture((MLP, GRU._replace(restarts=False))).restarts


def test_no_model_is_no_mixture_and_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="a model or more"):
        mixture(())
    plain = inspect.unwrap(mixture)  # without the check of types that there is in tests
    with pytest.raises(InputError, match=r"unknown kind 'other'.*linear, log-linear, frequency"):
        plain((MLP, BIGRAM), "other")


def test_a_mixture_is_built_once():
    model = mixture((MLP, BIGRAM))
    assert mixture(models=(MLP, BIGRAM), kind="log-linear") is model  # or compiled again
    others = mixture((MLP, BIGRAM), "linear"), mixture((BIGRAM, MLP))
    assert all(other is not model for other in others)
