"""The weights of a mixture: those of brute force, on a grid that is refined, in float64."""

import dataclasses
import functools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.batches import rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.models.bigram import bigram
from mm_jax.models.mixture import mixture
from mm_jax.models.ngram import fit_ngram, ngram
from mm_jax.training import linear_weights, mixture_weights
from mm_jax.training.evaluate import evaluate
from mm_jax.training.mixture_weights import fit_mixture
from tests.helpers import first_params, gru, quick_jit

NAMES = read_lines("names").lines[::100]
VOCAB = build_vocab(NAMES)
V, TRAIN = len(VOCAB), NAMES[::2]
LINES = NAMES[1:80:2]  # held out
HELD_OUT = encode_corpus(LINES, VOCAB)
KINDS = ("linear", "log-linear")
SMOOTHING = {1: 0.5, 2: 1.0, 3: 0.1}  # by order
PAIR, WITH_ROWS = (ngram(V, 2, 1.0), ngram(V, 3, 0.1)), (gru(V), ngram(V, 3, 0.1))
MIXED = {"windows": PAIR, "rows and windows": WITH_ROWS}


def counts_of(order):
    return np.asarray(fit_ngram(TRAIN, VOCAB, order)["counts"], np.float64)


@functools.cache
def params_of(model):
    if model is not gru(V):
        return fit_ngram(TRAIN, VOCAB, model.context + 1)
    params = jax.tree.map(lambda leaf: 3 * leaf, first_params(model))
    params["out"]["b"] = jnp.log(jnp.asarray(counts_of(1) + 0.5, jnp.float32))
    return params


def probs64(model, lines=LINES):
    """The probabilities (N, V) of what is predicted in lines, each read alone."""
    if model is gru(V):
        batch = rows(lines, VOCAB)
        logits = quick_jit(model.apply)(params_of(model), batch.tokens)
        powers = np.exp(np.asarray(logits, np.float64)[np.asarray(batch.weights) > 0])
    else:
        order = model.context + 1
        tokens = np.asarray(windows(lines, VOCAB, model.context).tokens)
        powers = counts_of(order)[tuple(tokens.T)] + SMOOTHING[order]
    return powers / powers.sum(-1, keepdims=True)


def losses_of(kind, probs, targets, weights):
    """The nats (G, N) of mixtures with the weights (G, K), from probabilities (K, N, V)."""
    own = probs[:, np.arange(len(targets)), targets]
    if kind == "linear":
        with np.errstate(divide="ignore"):
            return -np.log(weights @ own)
    powers = np.exp(np.einsum("gk,knv->gnv", weights, np.log(probs)))
    return np.log(powers.sum(-1)) - weights @ np.log(own)


def best_of_grid(kind, probs, targets, counts=None):
    """The weights of two members with the least loss, and that loss: ever finer around the best."""
    best, step = (0.5, 0.5) if kind == "linear" else (1.0, 1.0), 0.1
    while step > 1e-4:
        near = [np.clip(x + step * np.arange(-10, 11), 0, None) for x in best]
        grid = np.stack(np.meshgrid(*near), -1).reshape(-1, 2)
        if kind == "linear":
            first = np.clip(near[0], 0, 1)
            grid = np.stack([first, 1 - first], -1)
        nats = losses_of(kind, probs, targets, grid)
        losses = np.average(nats, axis=1, weights=counts)
        best, step = grid[losses.argmin()], step / 3
    return best, losses.min()


TARGETS = HELD_OUT.ids[1:].astype(int)


@functools.cache
def members_say(name):
    return np.stack([probs64(model) for model in MIXED[name]])


@functools.cache
def fitted(name, kind):
    models = MIXED[name]
    return fit_mixture(models, [params_of(model) for model in models], HELD_OUT, kind)


both_kinds = pytest.mark.parametrize("kind", KINDS)
both_readings = pytest.mark.parametrize("name", MIXED)


# On all of what is held out


@both_kinds
@both_readings
def test_the_weights_are_the_best_of_a_grid(name, kind):
    fit = fitted(name, kind)
    weights, loss = best_of_grid(kind, members_say(name), TARGETS)
    assert weights.min() > 0.05  # neither member is idle
    np.testing.assert_allclose(fit.params["weights"], weights, atol=1e-3)
    assert fit.loss == pytest.approx(loss, rel=1e-5)


@both_kinds
@both_readings
def test_the_loss_is_that_of_the_mixture(name, kind):
    fit, model = fitted(name, kind), mixture(MIXED[name], kind)
    assert fit.loss == pytest.approx(float(evaluate(model, fit.params, HELD_OUT)), rel=1e-5)
    assert fit.num_predictions == sum(len(line) + 1 for line in LINES)


@both_kinds
@both_readings
def test_halved_loss_is_that_of_each_half_with_the_weights_of_the_other(name, kind):
    probs, middle = members_say(name), len(TARGETS) // 2
    halves = [(probs[:, :middle], TARGETS[:middle]), (probs[:, middle:], TARGETS[middle:])]
    nats = [
        losses_of(kind, *half, best_of_grid(kind, *other)[0][None])
        for half, other in (halves, halves[::-1])
    ]
    fit = fitted(name, kind)
    assert fit.halved_loss == pytest.approx(np.concatenate(nats, 1).mean(), rel=1e-4)
    assert fit.loss <= fit.halved_loss < fit.loss + 0.05


@both_kinds
def test_a_bad_member_gets_no_weight(kind):
    """One that says the opposite: to subtract it would help, but no weight is below 0."""
    bad = {"W": -3 * jnp.log(params_of(PAIR[0])["counts"] + 1.0)}
    models = (*PAIR, bigram(V, "scaled"))
    params = [*map(params_of, PAIR), bad]
    weights = np.asarray(fit_mixture(models, params, HELD_OUT, kind).params["weights"])
    assert 0 <= weights[2] < 1e-3
    np.testing.assert_allclose(weights[:2], fitted("windows", kind).params["weights"], atol=2e-3)


@both_kinds
def test_items_count_as_much_as_their_weights_say(kind):
    weights = np.arange(len(LINES)) % 4  # every fourth does not count
    corpus = encode_corpus(LINES, VOCAB, weights)
    fit = fit_mixture(PAIR, [*map(params_of, PAIR)], corpus, kind)
    counts = np.repeat(weights, [len(line) + 1 for line in LINES])
    best, loss = best_of_grid(kind, members_say("windows"), TARGETS, counts)
    np.testing.assert_allclose(fit.params["weights"], best, atol=1e-3)
    assert fit.loss == pytest.approx(loss, rel=1e-5)
    assert fit.num_predictions == np.count_nonzero(counts)


# By frequency


@both_readings
def test_by_frequency_the_loss_is_that_of_the_mixture(name):
    models = MIXED[name]
    corpus = encode_corpus(TRAIN, VOCAB)
    fit = fit_mixture(models, [*map(params_of, models)], HELD_OUT, "frequency", corpus)
    model = mixture(models, "frequency")
    assert fit.loss == pytest.approx(float(evaluate(model, fit.params, HELD_OUT)), rel=1e-5)
    assert fit.loss <= fitted(name, "linear").loss + 1e-6
    assert fit.halved_loss >= fit.loss
    assert fit.num_predictions == len(TARGETS)
    weights = np.asarray(fit.params["weights"])
    assert np.ptp(weights, 0).min() > 0.01  # they differ
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert fit.mean_weights.shape == (2,)
    assert (weights.min(0) <= fit.mean_weights).all()
    assert (fit.mean_weights <= weights.max(0)).all()


def test_by_frequency_each_bin_has_the_best_weights_drawn_to_the_constant_ones(monkeypatch):
    """A bin by brute force: the nats of its predictions, and of those that are thought of."""
    monkeypatch.setattr(linear_weights, "PSEUDO_COUNT", 40.0)
    corpus, params = encode_corpus(TRAIN, VOCAB), [*map(params_of, PAIR)]
    fit = fit_mixture(PAIR, params, HELD_OUT, "frequency", corpus)
    padded = [".." + line for line in TRAIN]
    counts = Counter(line[i : i + 2] for line in padded for i in range(len(line) - 1))
    contexts = [(".." + line)[i : i + 2] for line in LINES for i in range(len(line) + 1)]
    bins = np.array([math.ceil(-math.log((1 + counts[c]) / counts.total())) for c in contexts])
    own = members_say("windows")[:, np.arange(len(TARGETS)), TARGETS]
    constant = np.asarray(fitted("windows", "linear").params["weights"], np.float64)
    grid = np.linspace(0, 1, 20_001)[1:-1]
    grid = np.stack([grid, 1 - grid], 1)
    for number, weights in enumerate(np.asarray(fit.params["weights"])):
        likely = np.log(grid @ own[:, bins == number]).sum(1) + 40 * np.log(grid) @ constant
        np.testing.assert_allclose(weights, grid[likely.argmax()], atol=2e-3)
    assert len({*bins}) > 3


def test_by_frequency_contexts_have_to_be_counted_somewhere():
    with pytest.raises(InputError, match="need train, in which contexts are counted"):
        fit_mixture(PAIR, [*map(params_of, PAIR)], HELD_OUT, "frequency")


@both_kinds
def test_models_of_other_symbols_are_refused(kind):
    models = (PAIR[0], ngram(V + 1, 2))
    params = [params_of(PAIR[0]), {"counts": jnp.ones((V + 1, V + 1), jnp.int32)}]
    with pytest.raises(InputError, match=f"model 2 has {V + 1} symbols, and model 1 has {V}"):
        fit_mixture(models, params, HELD_OUT, kind)


# A member that rules symbols out


def test_log_linear_refuses_a_member_that_rules_out_what_occurs():
    strict = ngram(V, 2, 0.0)
    tokens = np.asarray(windows(LINES, VOCAB, 1).tokens)[:, 0]
    counts = counts_of(2)[tokens]
    ruled_out = (counts[np.arange(len(TARGETS)), TARGETS] == 0) & counts.any(1)
    models = (PAIR[1], strict)
    params = [*map(params_of, models)]
    message = f"model 2 gives {ruled_out.sum()} of {len(TARGETS)} symbols .* mix linear"
    with pytest.raises(InputError, match=message):
        fit_mixture(models, params, HELD_OUT, "log-linear")
    fit = fit_mixture(models, params, HELD_OUT, "linear")
    strict_says = counts / counts.sum(1, keepdims=True)
    weights, loss = best_of_grid("linear", np.stack([probs64(PAIR[1]), strict_says]), TARGETS)
    np.testing.assert_allclose(fit.params["weights"], weights, atol=1e-3)
    assert fit.loss == pytest.approx(loss, rel=1e-5)


# In parts


@both_kinds
@both_readings
def test_small_batches_change_nothing(monkeypatch, name, kind):
    whole = fitted(name, kind)
    monkeypatch.setattr(mixture_weights, "BATCH_SIZE", 7)
    fit = fitted.__wrapped__(name, kind)
    np.testing.assert_allclose(fit.params["weights"], whole.params["weights"], atol=1e-3)
    assert fit.loss == pytest.approx(whole.loss, rel=1e-6)
    assert fit.num_predictions == whole.num_predictions


@both_kinds
def test_of_a_large_corpus_a_part_is_read_evenly_spread(monkeypatch, kind):
    monkeypatch.setattr(mixture_weights, "MAX_PREDICTIONS", 90)
    fit = fitted.__wrapped__("windows", kind)
    numbers = np.arange(90) * len(TARGETS) // 90
    assert fit.num_predictions == 90 < len(TARGETS) / 2
    weights, loss = best_of_grid(kind, members_say("windows")[:, numbers], TARGETS[numbers])
    np.testing.assert_allclose(fit.params["weights"], weights, atol=1e-3)
    assert fit.loss == pytest.approx(loss, rel=1e-5)


def test_log_linear_keeps_no_more_numbers_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(mixture_weights, "MAX_NUMBERS", 60 * len(PAIR) * V)
    assert fitted.__wrapped__("windows", "log-linear").num_predictions == 60
    assert fitted.__wrapped__("windows", "linear").num_predictions == len(TARGETS)


@both_kinds
@both_readings
def test_a_corpus_in_a_file_is_read_as_one_in_memory(tmp_path, name, kind):
    HELD_OUT.ids.tofile(tmp_path / "ids")
    mapped = dataclasses.replace(HELD_OUT, ids=np.memmap(tmp_path / "ids", HELD_OUT.ids.dtype, "r"))
    models, whole = MIXED[name], fitted(name, kind)
    fit = fit_mixture(models, [*map(params_of, models)], mapped, kind)
    np.testing.assert_allclose(fit.params["weights"], whole.params["weights"], atol=1e-3)
    assert fit.loss == pytest.approx(whole.loss, rel=1e-6)


def counted_on(lines, order, smoothing):
    return ngram(V, order, smoothing), fit_ngram(lines, VOCAB, order)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_one_prediction_is_refused(kind):
    models, params = zip(*(counted_on(TRAIN, order, 1.0) for order in (1, 2)), strict=True)
    with pytest.raises(InputError, match="two predictions or more, and the text has one"):
        fit_mixture(models, params, encode_corpus([""], VOCAB), kind)


@pytest.mark.parametrize(
    "lines", [["emma", "mex", "am"], ["x"], ["emma", "x"]], ids=["some", "all", "one half"]
)
def test_what_no_member_gives_a_probability_makes_the_losses_infinite(lines):
    members = [counted_on(["emma", "mae"], order, 0.0) for order in (1, 2)]
    models, params = zip(*members, strict=True)
    fit = fit_mixture(models, params, encode_corpus(lines, VOCAB), "linear")
    assert fit.loss == fit.halved_loss == np.inf
    assert float(fit.params["weights"].sum()) == pytest.approx(1)


def test_linear_weights_of_members_that_hardly_differ_are_the_best_too():
    """Where expectation maximisation is slow."""
    members = [counted_on(TRAIN, 2, smoothing) for smoothing in (0.1, 1.0)]
    models, params = zip(*members, strict=True)
    fit = fit_mixture(models, params, HELD_OUT, "linear")
    batch = windows(LINES, VOCAB, 1)
    powers = [counts_of(2)[np.asarray(batch.tokens)[:, 0]] + k for k in (0.1, 1.0)]
    own = np.stack([p / p.sum(-1, keepdims=True) for p in powers])
    own = own[:, np.arange(len(batch.targets)), np.asarray(batch.targets)]
    first = np.linspace(0, 1, 2001)
    nats = -np.log(np.outer(first, own[0]) + np.outer(1 - first, own[1])).mean(1)
    assert fit.loss == pytest.approx(nats.min(), abs=1e-6)
    assert 0 < nats.argmin() < 2000
