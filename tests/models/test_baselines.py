import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.data.batches import windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.ngram_counts import count_corpus, count_lines
from mm_jax.data.ngrams import Counts
from mm_jax.data.splits import hold_out, split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.models import baselines
from mm_jax.models.baselines import (
    ORDERS,
    Baseline,
    add_k,
    add_k_losses,
    best,
    best_smoothing,
    count_baselines,
)
from mm_jax.models.interpolated import fit_interpolated, fit_weights, interpolated
from mm_jax.models.kneser_ney import fit_kneser_ney, kneser_ney
from mm_jax.models.ngram import fit_ngram, ngram
from mm_jax.training.evaluate import evaluate
from tests.helpers import quick_jit

quick_evaluate = quick_jit(evaluate, static_argnames=("model", "batch_size"))
SMOOTHINGS = np.array([0.0, 1e-3, 0.5, 1.0, 20.0])
VOCAB = build_vocab(["abc"])
lines_of_abc = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8)


def slow_loss(train, data, order, smoothing, vocab):
    """The mean of -ln p over all predictions, one after another."""

    def ngrams(lines):
        for line in lines:
            padded = "." * (order - 1) + line + "."
            for i in range(len(line) + 1):
                yield padded[i : i + order]

    counts, totals = Counter(ngrams(train)), Counter(ngram[:-1] for ngram in ngrams(train))
    nats = []
    for spelled in ngrams(data):
        count = counts[spelled] + smoothing
        total = totals[spelled[:-1]] + smoothing * len(vocab)
        of_nothing = math.inf if total else math.log(len(vocab))
        nats.append(math.log(total / count) if count else of_nothing)
    return math.fsum(nats) / len(nats)


def counts_of(order, *parts, vocab=VOCAB):
    return [count_lines(lines, vocab, order) for lines in parts]


@pytest.fixture(scope="module")
def names():
    """Lines like names, made by chance from a chain of syllables: train and dev."""
    generator = random.Random(0)
    syllables = ["an", "el", "mi", "ra", "so", "be", "o", "ka", "lin", "ah"]
    lines = [
        "".join(generator.choices(syllables, [9, 7, 6, 5, 4, 3, 2, 2, 1, 1], k=1 + i % 3))
        for i in range(600)
    ]
    return split_lines(lines)[:2], build_vocab(lines)


@pytest.fixture(scope="module")
def shipped():
    """Counts of order 6 of the names that ship: train and dev."""
    lines = read_lines("names").lines
    splits = split_lines(lines)
    return counts_of(6, splits.train, splits.dev, vocab=build_vocab(lines))


# Add k


@given(lines_of_abc, lines_of_abc, st.integers(1, 5))
def test_losses_are_those_of_a_plain_loop(train, data, order):
    found = add_k_losses(*counts_of(order, train, data), SMOOTHINGS)
    expected = [slow_loss(train, data, order, k, VOCAB) for k in SMOOTHINGS]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("train", "data", "expected"),
    [
        (["ab", "ba"], ["ab"], 3 * math.log(2)),  # each symbol leads to two
        (["ab", "ba"], ["aa"], math.inf),  # after a came b and the end
        (["ab", "ba"], ["c"], math.inf),  # at the beginning came a and b
        (["ab", "ba"], ["ab"] * 99 + ["aa"], math.inf),
        (["ab", "b"], ["abcc"], math.inf),  # b never leads to c, but what c leads to is open
    ],
)
def test_without_k_what_never_followed_a_known_context_is_impossible(train, data, expected):
    loss = add_k_losses(*counts_of(2, train, data), np.array([0.0]))
    assert loss.tolist() == pytest.approx([expected / 3])


def test_without_k_a_context_that_never_came_leads_to_all_symbols_alike():
    train = Counts(4, 2, np.array([3]), np.array([5]))  # ".c" five times, and nothing else
    loss = add_k_losses(train, count_lines(["cc"], VOCAB, 2), np.array([0.0]))
    assert loss.tolist() == pytest.approx([(0 + math.log(4) + math.log(4)) / 3])


@pytest.mark.parametrize(("order", "smoothing"), [(1, 3.0), (2, 0.0), (3, 0.0), (3, 0.5)])
def test_losses_are_those_of_the_model(names, order, smoothing):
    (train, dev), vocab = names
    model, params = ngram(len(vocab), order, smoothing), fit_ngram(train, vocab, order)
    losses = add_k_losses(*counts_of(order, train, dev, vocab=vocab), np.array([smoothing]))
    value = quick_evaluate(model, params, windows(dev, vocab, model.context))
    assert losses[0] == pytest.approx(float(value), rel=1e-6)


def test_the_lectures_losses():
    table = np.loadtxt(Path(__file__).with_name("lecture_bigrams.txt"), np.int64).reshape(-1)
    keys = np.flatnonzero(table)
    counts = Counts(27, 2, keys, table[keys])
    losses = add_k_losses(counts, counts, np.array([0.0, 1.0, 5.0]))
    assert losses.tolist() == pytest.approx([2.4540145, 2.4545768, 2.4576827], abs=1e-7)


def loss_on_grid(train, dev):
    return add_k_losses(train, dev, 10.0 ** np.linspace(-6, 6, 1201)).min()


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_best_k_is_as_good_as_any_of_a_dense_grid(names, order):
    (train, dev), vocab = names
    counts = counts_of(order, train, dev, vocab=vocab)
    k = best_smoothing(*counts)
    assert k == float(f"{k:.3g}")
    loss, lowest = add_k_losses(*counts, np.array([k]))[0], loss_on_grid(*counts)
    # Within 1% of what there is to be gained, which says more than within 1% of the loss.
    worst = add_k_losses(*counts, np.array([1e-6, 1e6])).min()
    assert loss < lowest + 0.01 * (worst - lowest) + 1e-6
    if order < 3:  # all that comes in dev has come in train
        assert k == baselines.MIN_SMOOTHING
    else:
        assert add_k_losses(*counts, k * np.array([0.97, 1, 1.03])).argmin() == 1


@given(lines_of_abc, lines_of_abc, st.integers(1, 3))
@settings(max_examples=25)
def test_the_best_k_of_any_lines_is_near_the_best_of_a_dense_grid(train, dev, order):
    counts = counts_of(order, train, dev)
    k = best_smoothing(*counts)
    assert 1e-6 <= k <= 1e6
    assert add_k_losses(*counts, np.array([k]))[0] <= loss_on_grid(*counts) * 1.01


def test_the_best_k_may_be_the_smallest_or_the_largest():
    assert best_smoothing(*counts_of(2, ["ab"], ["ab"])) == baselines.MIN_SMOOTHING == 1e-6
    # Dev is as train never is; the more k, the nearer to uniform.
    assert best_smoothing(*counts_of(2, ["ab"] * 9, ["cc"])) == baselines.MAX_SMOOTHING == 1e6


def test_the_baseline_of_added_counts_has_its_losses():
    train, dev = counts_of(2, ["ab", "ba"], ["aa"])
    baseline = add_k(train, dev, 0.5)
    assert baseline[:3] == ("add-k", 2, 0.5)
    assert baseline.train_loss == pytest.approx(
        slow_loss(["ab", "ba"], ["ab", "ba"], 2, 0.5, VOCAB)
    )
    assert baseline.dev_loss == pytest.approx(slow_loss(["ab", "ba"], ["aa"], 2, 0.5, VOCAB))
    assert baseline.fell_back == ()
    assert type(baseline.train_loss) is type(baseline.dev_loss) is float
    assert add_k(train, dev, 0.0).dev_loss == math.inf
    assert add_k(train, None, 0.5) == baseline._replace(dev_loss=None)


# Kneser-Ney


@pytest.mark.parametrize("order", ORDERS)
def test_the_baseline_of_kneser_ney_has_the_losses_of_the_model(names, order):
    (train, dev), vocab = names
    baseline = baselines.kneser_ney(*counts_of(order, train, dev, vocab=vocab))
    assert baseline[:3] == ("kneser-ney", order, None)
    model, params = kneser_ney(len(vocab), order), fit_kneser_ney(train, vocab, order)
    for loss, data in (baseline.train_loss, train), (baseline.dev_loss, dev):
        value = quick_evaluate(model, params, windows(data, vocab, model.context))
        assert loss == pytest.approx(float(value), rel=1e-5)
    assert baselines.kneser_ney(count_lines(train, vocab, order), None) == baseline._replace(
        dev_loss=None
    )


def test_the_baseline_says_for_which_orders_there_are_no_discounts(shipped):
    counts, _ = shipped
    assert baselines.kneser_ney(counts.lower(3), None).fell_back == (1,)
    few = count_lines(["abca"] * 2, VOCAB, 3)
    assert baselines.kneser_ney(few, None).fell_back == (1, 2, 3)


# All baselines


@pytest.mark.parametrize("order", [1, 2, 4, 6, 8])
def test_baselines_go_up_to_the_order_of_the_counts_or_to_the_sixth(order):
    train, dev = counts_of(order, ["abcabc", "cab", "bcba"], ["abc", "bb"])
    found = list(count_baselines(train, dev))
    most = min(order, 6)
    expected = [("uniform", 0)]
    expected += [("add-k", n) for n in range(1, most + 1)]
    expected += [("kneser-ney", n) for n in range(2, most + 1)]
    assert [(baseline.kind, baseline.order) for baseline in found] == expected
    for baseline in found:
        counts = [part.lower(baseline.order) for part in (train, dev)] if baseline.order else []
        if baseline.kind == "uniform":
            assert baseline[2:] == (None, math.log(4), math.log(4), ())
        elif baseline.kind == "add-k":
            assert baseline == add_k(*counts, best_smoothing(*counts))
            lines = ["abcabc", "cab", "bcba"], ["abc", "bb"]
            loss = slow_loss(*lines, baseline.order, baseline.smoothing, VOCAB)
            assert baseline.dev_loss == pytest.approx(loss)
        else:
            assert baseline == baselines.kneser_ney(*counts)


def test_without_dev_the_baselines_take_the_k_that_is_given():
    lines = ["abcabc", "cab", "bcba"]
    (train,) = counts_of(3, lines)
    for given_k in (None, 0.5):
        options = {} if given_k is None else {"smoothing": given_k}
        found = list(count_baselines(train, None, **options))
        assert [baseline.dev_loss for baseline in found] == [None] * 6
        for baseline in found[1:4]:
            assert baseline.smoothing == (given_k or 0.0)
            loss = slow_loss(lines, lines, baseline.order, baseline.smoothing, VOCAB)
            assert baseline.train_loss == pytest.approx(loss)
        assert found[0].train_loss == math.log(4)


def test_losses_on_train_are_not_computed_where_they_are_not_asked_for():
    train, dev = counts_of(4, ["abcabc", "cab", "bcba"], ["abc", "bb"])
    every = list(count_baselines(train, dev))
    found = list(count_baselines(train, dev, of_train=False))
    assert [each._replace(train_loss=0.0) for each in found] == [
        each._replace(train_loss=0.0) for each in every
    ]
    assert [math.isnan(each.train_loss) for each in found] == [False] + 7 * [True]


def test_a_context_more_is_a_lower_train_loss_without_smoothing(names):
    (train, _), vocab = names
    found = list(count_baselines(count_lines(train, vocab, 6), None))
    assert (np.diff([baseline.train_loss for baseline in found[:7]]) < 0).all()
    assert (np.diff([baseline.train_loss for baseline in found[7:]]) < 0).all()


def test_the_best_baseline_has_the_lowest_loss_on_dev():
    found = [
        Baseline("uniform", 0, None, 3.0, 3.0),
        Baseline("add-k", 1, 0.5, 2.5, 2.6),
        Baseline("add-k", 2, 0.5, 0.5, 2.2),
        Baseline("add-k", 3, 0.5, 0.1, 2.4),
        Baseline("kneser-ney", 2, None, 1.0, 2.1),
        Baseline("kneser-ney", 3, None, 0.0, None),
    ]
    assert best(found) == found[4]
    assert best(found, "add-k") == found[2]
    assert best(found, "kneser-ney") == found[4]
    assert best(found, "uniform") == found[0]
    assert best(iter(found[:4])) == found[2]
    assert best(found[5:]) == found[5]


def test_the_baseline_of_interpolated_counts_has_the_losses_of_the_model(names):
    (train, dev), vocab = names
    rest, held_out = hold_out(encode_corpus(train, vocab))
    weights = fit_weights(count_corpus(rest, 3), count_corpus(held_out, 3))
    baseline = baselines.interpolated(*counts_of(3, train, dev, vocab=vocab), weights)
    assert baseline[:3] == ("interpolated", 3, None)
    model, params = interpolated(len(vocab), 3), fit_interpolated(train, vocab, 3)
    for loss, data in (baseline.train_loss, train), (baseline.dev_loss, dev):
        value = quick_evaluate(model, params, windows(data, vocab, 2))
        assert loss == pytest.approx(float(value), rel=1e-5)
    assert baselines.interpolated(count_lines(train, vocab, 3), None, weights).dev_loss is None


def test_kneser_ney_is_the_best_way_to_count_names(shipped):
    found = list(count_baselines(*shipped))
    assert best(found)[:2] == ("kneser-ney", 6)
    by_kind = {
        kind: [r.dev_loss for r in found if r.kind == kind] for kind in ("add-k", "kneser-ney")
    }
    assert (np.diff(by_kind["kneser-ney"]) < 0).all()
    assert min(by_kind["kneser-ney"]) < min(by_kind["add-k"]) < math.log(27)
    assert best(found, "add-k").dev_loss == min(by_kind["add-k"])
