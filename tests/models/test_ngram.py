import itertools
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_jax
from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch, distinct, rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.ngram_counts import count_lines
from mm_jax.models.mlp import mlp
from mm_jax.models.ngram import count_logits, examples, from_counts, log_probs, ngram, probs
from mm_jax.training.evaluate import evaluate
from mm_jax.training.loss import loss, nats
from mm_jax.training.surprise import impossible_ngrams
from tests.helpers import (
    FIVE_NAMES,
    assert_frequencies,
    assert_trees_close,
    first_params,
    quick_jit,
)

LETTERS = mm_jax.build_vocab(["abcdefghijklmnopqrstuvwxyz"])
quick_evaluate = quick_jit(evaluate, static_argnames=("model", "batch_size"))
quick_loss = quick_jit(loss, static_argnums=0)
quick_nats = quick_jit(nats, static_argnums=0)
quick_sample = quick_jit(mm_jax.sample, static_argnames=("model", "num", "max_len"))
SMOOTHINGS = [0.0, 1e-3, 0.5, 1.0, 5.0]


def slow_counts(lines, order):
    padded = ["." * (order - 1) + line + "." for line in lines]
    return Counter(line[i : i + order] for line in padded for i in range(len(line) - order + 1))


def slow_prob(counts, spelled, smoothing, symbols):
    """p(last symbol | those before) by the formula; of what never came, without k, 1 / V."""
    k = Fraction(smoothing)
    total = sum(counts[spelled[:-1] + symbol] for symbol in symbols) + k * len(symbols)
    return (counts[spelled] + k) / total if total else Fraction(1, len(symbols))


def slow_loss(lines, order, smoothing):
    symbols = [".", *sorted(set("".join(lines)))]
    counts = slow_counts(lines, order)
    totals = Counter()
    for spelled, count in counts.items():
        totals[spelled[:-1]] += count
    each = (
        count * math.log((totals[spelled[:-1]] + smoothing * len(symbols)) / (count + smoothing))
        for spelled, count in counts.items()
    )
    return math.fsum(each) / counts.total()


# Counts to probabilities


tables = st.lists(st.lists(st.integers(0, 1000), min_size=3, max_size=3), min_size=4, max_size=4)


@given(tables, st.sampled_from(SMOOTHINGS))
def test_probabilities_are_exact_fractions_rounded_once(table, smoothing):
    k = Fraction(smoothing)
    expected = [[count + k for count in row] for row in table]
    expected = [
        [float(count / sum(row)) if sum(row) else 1 / 3 for count in row] for row in expected
    ]
    with np.errstate(divide="ignore"):
        logs = np.log(np.array(expected))
    counts = jnp.array(table)
    np.testing.assert_allclose(probs(counts, smoothing), expected, rtol=1e-6)
    np.testing.assert_allclose(log_probs(counts, smoothing), logs, rtol=1e-6, atol=1e-6)
    logits = np.asarray(count_logits(counts, smoothing), np.float64)
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), expected, rtol=1e-5)


def test_logits_are_the_logarithms_of_the_smoothed_counts():
    logits = count_logits(jnp.array([[3, 1, 0], [0, 0, 7]]), 0.5)
    np.testing.assert_allclose(logits, np.log([[3.5, 1.5, 0.5], [0.5, 0.5, 7.5]]), rtol=1e-6)


def test_without_smoothing_what_never_came_is_impossible_and_an_empty_row_uniform():
    counts = jnp.array([[3, 1, 0, 0], [0, 0, 0, 0]])
    assert probs(counts).tolist() == [[0.75, 0.25, 0, 0], [0.25] * 4]
    logs = log_probs(counts).tolist()
    assert logs[0][2:] == [-math.inf] * 2
    assert logs[1] == pytest.approx([-math.log(4)] * 4)
    assert np.isfinite(log_probs(counts, 1e-6)).all()


def test_leading_axes_are_kept():
    table = np.random.default_rng(0).integers(0, 9, (2, 3, 4))
    for function in probs, log_probs, count_logits:
        together = function(jnp.asarray(table), 0.5)
        assert together.shape == (2, 3, 4)
        assert together.dtype == jnp.float32
        each = jnp.stack([function(jnp.asarray(part), 0.5) for part in table])
        assert_trees_close(together, each)


def test_more_smoothing_brings_every_row_nearer_to_the_uniform_distribution():
    counts = jnp.array([[50, 3, 0, 1, 9], [1, 0, 0, 0, 0], [2, 2, 2, 2, 1]])
    divergences = []
    for smoothing in [0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4]:
        p = np.asarray(probs(counts, smoothing), np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            divergences.append(np.where(p > 0, p * np.log(5 * p), 0).sum(-1))
    assert (np.diff(divergences, axis=0) < 0).all()
    assert (divergences[-1] < 1e-4).all()
    np.testing.assert_allclose(probs(counts, 1e9), np.full((3, 5), 0.2), rtol=1e-6)


# The model


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_context_has_the_probabilities_of_a_counter(order, smoothing):
    lines = ["abba", "abc", "cab", "b", "aab"]
    symbols, counts = ".abc", slow_counts(lines, order)
    params = mm_jax.fit_ngram(lines, mm_jax.build_vocab(lines), order)
    model = ngram(4, order, smoothing)
    context = max(1, order - 1)
    assert model.context == context
    contexts = list(itertools.product(range(4), repeat=context))
    logits = quick_jit(model.apply)(params, np.array(contexts, np.int32))
    assert logits.shape == (len(contexts), 1, 4)
    for ids, row in zip(contexts, logits[:, 0].tolist(), strict=True):
        before = "".join(symbols[i] for i in ids) if order > 1 else ""
        expected = [float(slow_prob(counts, before + s, smoothing, symbols)) for s in symbols]
        powers = np.exp(np.array(row))
        np.testing.assert_allclose(powers / powers.sum(), expected, rtol=1e-5)


def test_the_model_reads_a_line_by_steps_as_at_once():
    lines, vocab = FIVE_NAMES, mm_jax.build_vocab(FIVE_NAMES)
    for order in (1, 3):
        model, params = ngram(len(vocab), order, 0.5), mm_jax.fit_ngram(lines, vocab, order)
        counts, context = slow_counts(lines, order), "." * (order - 1)
        carry, step = model.start(params), quick_jit(model.step)
        for last in ".ava":
            carry, logits = step(params, carry, jnp.int32(vocab.symbols.index(last)))
            context = (context + last)[len(context) + 1 - (order - 1) :] if order > 1 else ""
            powers = np.exp(np.asarray(logits, np.float64))
            expected = [
                float(slow_prob(counts, context + s, 0.5, vocab.symbols)) for s in vocab.symbols
            ]
            np.testing.assert_allclose(powers / powers.sum(), expected, rtol=1e-5)


@pytest.mark.parametrize(("smoothing", "layout"), [(0.0, windows), (0.5, rows), (1.0, windows)])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_loss_is_that_of_a_counter_in_float64(order, smoothing, layout):
    vocab = mm_jax.build_vocab(FIVE_NAMES)
    params = mm_jax.fit_ngram(FIVE_NAMES, vocab, order)
    model = ngram(len(vocab), order, smoothing)
    value = quick_loss(model, params, layout(FIVE_NAMES, vocab, model.context))
    assert float(value) == pytest.approx(slow_loss(FIVE_NAMES, order, smoothing), rel=1e-6)


def test_the_first_parameters_know_nothing():
    for smoothing in (0.0, 1.0):
        model = ngram(5, 3, smoothing)
        params = first_params(model)
        assert params["counts"].shape == (5, 5, 5)
        assert params["counts"].dtype == jnp.int32
        assert not np.asarray(params["counts"]).any()
        logits = quick_jit(model.apply)(params, np.zeros((1, 2), np.int32))
        assert logits.tolist() == [[[0.0] * 5]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_fitting_is_counting(order):
    lines, vocab = [*FIVE_NAMES, "ava"], mm_jax.build_vocab(FIVE_NAMES)
    fitted = mm_jax.fit_ngram(lines, vocab, order)
    assert list(fitted) == ["counts"]
    assert fitted["counts"].dtype == jnp.int32
    table, counts = np.asarray(fitted["counts"]), slow_counts(lines, order)
    assert table.shape == (len(vocab),) * order
    assert table.sum() == counts.total()
    for spelled, count in counts.items():
        assert table[tuple(vocab.symbols.index(symbol) for symbol in spelled)] == count
    counted = from_counts(count_lines(lines, vocab, order))
    assert np.array_equal(counted["counts"], table)


@pytest.mark.parametrize(
    ("vocab_size", "order", "smoothing", "complaint"),
    [
        (0, 2, 1.0, "vocab_size must be at least 1"),
        *((27, order, 1.0, "--order must be at least 1") for order in (0, -1)),
        *((27, order, 1.0, "--order must be at most 30") for order in (31, 300)),
        *((27, 2, k, "--smoothing must be at least 0") for k in (-1.0, -1e-9)),
        *((27, 2, k, "--smoothing must be a finite") for k in (math.nan, math.inf, -math.inf)),
        (27, 2, 1e39, "--smoothing must be at most 1e"),
        (27, 2, 1e-39, "--smoothing must be 0 or at least 1e-30"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(vocab_size, order, smoothing, complaint):
    with pytest.raises(InputError, match=complaint):
        ngram(vocab_size, order, smoothing)


@pytest.mark.parametrize("smoothing", [1e-30, 1e30])
def test_the_limits_of_smoothing_are_within_float32(smoothing):
    table = jnp.array([[3, 1, 0], [0, 0, 0]])
    for found in (probs(table, smoothing), jnp.exp(log_probs(table, smoothing))):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert np.isfinite(log_probs(table, smoothing)).all()


def test_examples_of_single_symbols_are_refused():
    with pytest.raises(InputError, match="order 2 or more"):
        examples(jnp.array([3, 1, 2]))


def test_a_table_too_large_is_refused_before_it_is_made(monkeypatch):
    with pytest.raises(InputError, match="orders 1 to"):
        ngram(27, 30)
    monkeypatch.setattr("mm_jax.data.ngrams.memory_bytes", lambda: 4 * 4 * 29**2)
    assert ngram(29, 2).context == 1
    with pytest.raises(InputError, match="orders 1 to 2 fit"):
        ngram(29, 3)


# The lecture's numbers


@pytest.fixture(scope="module")
def lecture_counts():
    """How often each of the 27 x 27 bigrams occurs in the lecture's file of names, as it counts."""
    table = np.loadtxt(Path(__file__).with_name("lecture_bigrams.txt"), np.int32)
    assert table.sum() == 228_146
    return {"counts": jnp.asarray(table)}


@pytest.mark.parametrize(
    ("smoothing", "expected"), [(0.0, 2.4540145), (1.0, 2.4545768), (5.0, 2.4576827)]
)
def test_the_loss_of_all_bigrams_is_the_lectures(lecture_counts, smoothing, expected):
    everything = examples(lecture_counts["counts"])
    value = quick_evaluate(mm_jax.ngram(27, 2, smoothing), lecture_counts, everything)
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_words_are_as_surprising_as_in_the_lecture(lecture_counts):
    words = ["andrej", "andrejq"]
    smooth, plain = mm_jax.ngram(27, 2, 1.0), mm_jax.ngram(27, 2, 0.0)
    batch = rows(words, LETTERS, 1)
    each = np.asarray(quick_nats(smooth, lecture_counts, batch))
    weights = np.asarray(batch.weights)
    assert each.shape == batch.targets.shape == (2, 8)
    per_word = (each * weights).sum(1) / weights.sum(1)
    np.testing.assert_allclose(per_word, [3.0367718, 3.4834020], atol=2e-6)
    impossible = np.isinf(quick_nats(plain, lecture_counts, batch)) & (weights > 0)
    assert np.argwhere(impossible).tolist() == [[1, 6]]  # jq
    in_windows = windows(words[1:], LETTERS, 1)
    one_word = quick_nats(smooth, lecture_counts, in_windows)
    assert one_word.shape == in_windows.targets.shape == (8,)
    np.testing.assert_allclose(one_word, each[1], atol=1e-6)


def test_what_has_no_probability_is_named_once(lecture_counts):
    corpus = encode_corpus(["andrej", "andrejq", "jqa"], LETTERS)
    batch = windows(corpus, context=1)
    table = np.asarray(lecture_counts["counts"])
    value = np.where(table[batch.tokens[:, 0], batch.targets] == 0, np.inf, 1.0)
    assert impossible_ngrams(corpus, value, 1) == ["jq"]
    value = np.where(np.isin(np.arange(len(value)), [0, 9]), np.inf, 1.0)
    assert impossible_ngrams(corpus, value, 1) == [".a", "nd"]


def test_symbols_are_drawn_as_often_as_they_came(lecture_counts):
    # Row 13: what comes after an m.
    row = np.asarray(lecture_counts["counts"])[13]
    tokens, _ = quick_sample(
        mm_jax.ngram(27, 2, 0.0),
        lecture_counts,
        jax.random.key(0),
        num=20_000,
        max_len=2,
        prefix=jnp.array([13]),
    )
    assert_frequencies(tokens[:, 1], row / row.sum())
    assert set(np.asarray(tokens[:, 0]).tolist()) == {13}


def test_symbols_are_drawn_from_the_smoothed_trigrams():
    lines, vocab = FIVE_NAMES, mm_jax.build_vocab(FIVE_NAMES)
    params, counts = mm_jax.fit_ngram(lines, vocab, 3), slow_counts(lines, 3)
    tokens, _ = quick_sample(
        mm_jax.ngram(len(vocab), 3, 0.5), params, jax.random.key(1), num=20_000, max_len=2
    )
    first, second = np.asarray(tokens).T

    def expected(context):
        return [float(slow_prob(counts, context + s, 0.5, vocab.symbols)) for s in vocab.symbols]

    assert_frequencies(first, expected(".."))
    a = vocab.symbols.index("a")
    assert_frequencies(second[first == a], expected(".a"))


# Each different example once


quick_grad = quick_jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)


def fields(batch):
    return batch.tokens, batch.targets, batch.weights


def assert_same_loss_and_gradient(model, whole, *others):
    """All are filled up with examples of weight 0 to one length, and so are compiled once."""
    most = max(len(batch.targets) for batch in (whole, *others))

    def filled(batch):
        shapes = [[(0, most - len(a))] + [(0, 0)] * (a.ndim - 1) for a in fields(batch)]
        return Batch(*map(jnp.asarray, map(np.pad, fields(batch), shapes)))

    params = first_params(model)
    expected = quick_grad(model, params, filled(whole))
    for batch in others:
        assert_trees_close(quick_grad(model, params, filled(batch)), expected)


def test_counts_are_a_data_set_of_the_same_loss_and_gradient():
    lines = [*FIVE_NAMES, "ava", "mia", "ava"]
    vocab = mm_jax.build_vocab(lines)
    size = len(vocab)
    for model, order in (mm_jax.bigram(size), 2), (mlp(size, 2, 3, 8), 3):
        batch = examples(jnp.asarray(mm_jax.count_ngrams(lines, vocab, order)))
        assert batch.tokens.shape == (size**order, order - 1)
        assert batch.targets.shape == batch.weights.shape == (size**order,)
        counts = slow_counts(lines, order)
        for tokens, target, weight in zip(*map(np.asarray, fields(batch)), strict=True):
            assert weight == counts["".join(vocab.symbols[i] for i in (*tokens, target))]
        whole = windows(lines, vocab, order - 1)
        assert_same_loss_and_gradient(model, whole, batch, distinct(whole))


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(0, 9),
)
@settings(max_examples=12)
def test_each_different_example_stands_once_with_the_sum_of_its_weights(lines, context, seed):
    vocab = mm_jax.build_vocab(["ab"])
    generator = np.random.default_rng(seed)
    for layout in windows, rows:
        batch = layout(lines, vocab, context)
        weights = generator.integers(0, 5, batch.weights.shape) / 4  # sums of these are exact
        batch = batch.replace(weights=jnp.asarray(weights, jnp.float32))
        few = distinct(batch)
        sums = {}
        for tokens, targets, each in zip(*map(np.asarray, fields(batch)), strict=True):
            example = (*tokens.tolist(), *np.atleast_1d(targets).tolist())
            sums[example] = sums.get(example, 0) + each
        found = [
            (*tokens.tolist(), *np.atleast_1d(targets).tolist())
            for tokens, targets in zip(*map(np.asarray, fields(few)[:2]), strict=True)
        ]
        assert found == sorted(sums)
        assert np.array_equal(few.weights, [sums[example] for example in found])
        for one, other in zip(fields(few), fields(batch), strict=True):
            assert one.dtype == other.dtype
            assert one.shape[1:] == other.shape[1:]
        assert all(
            np.array_equal(*pair) for pair in zip(fields(distinct(few)), fields(few), strict=True)
        )


@pytest.mark.parametrize("layout", [windows, rows])
def test_distinct_examples_have_the_same_loss_and_gradient_whatever_their_weights(layout):
    lines = ["ab", "ba", "ab", "b", "abba", "ab", "b"]
    vocab = mm_jax.build_vocab(lines)
    batch = layout(lines, vocab, 2)
    weights = np.random.default_rng(0).uniform(0.5, 3, batch.weights.shape)
    weighted = batch.replace(weights=jnp.asarray(weights, jnp.float32) * (batch.weights > 0))
    for each in batch, weighted:
        few = distinct(each)
        assert len(few.targets) < len(each.targets)
        assert_same_loss_and_gradient(mlp(len(vocab), 2, 3, 8), each, few)


def test_examples_that_differ_in_their_target_alone_are_different():
    batch = Batch(jnp.zeros((3, 1), jnp.int32), jnp.array([1, 2, 1]), jnp.array([1.0, 0.5, 0.25]))
    few = distinct(batch)
    assert few.tokens.tolist() == [[0], [0]]
    assert few.targets.tolist() == [1, 2]
    assert few.weights.tolist() == [1.25, 0.5]
