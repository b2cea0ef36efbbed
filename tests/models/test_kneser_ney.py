import functools
import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_jax
from mm_jax.config.base import InputError
from mm_jax.data import ngram_counts, ngram_numbers
from mm_jax.data.batches import rows, windows
from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.splits import split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.models import backoff_tables
from mm_jax.models.backoff_tables import ngram_log_probs
from mm_jax.models.baselines import ORDERS
from mm_jax.models.kneser_ney import (
    FALLBACK_DISCOUNTS,
    estimate,
    estimate_discounts,
    fit_kneser_ney,
    kneser_ney,
)
from mm_jax.training.evaluate import evaluate
from tests.helpers import (
    FIVE_NAMES,
    assert_frequencies,
    first_params,
    quick_jit,
)

START, END = "<", ">"  # the two ends of a line, which are one symbol for the model
# By chance, but so that the lower orders' discounts can be estimated, but for the first.
MANY = """a aaaa aaa aabbaaa b b aaaaab baaa aaa aaaaa
    aaa ab a b aaaaa ababab aaaaa aab baa aaaaab"""
TEXTS = {
    "one line": ["abcab"],
    "short lines": ["a", "ab", "b", "c", "ca"],
    "one line again and again": ["abacab"] * 7,
    "five names": FIVE_NAMES,
    "all discounts": MANY.split(),
}


def slow_discounts(adjusted):
    """D(1), D(2), D(3 or more) by the formulas of Chen and Goodman, or those to fall back to."""
    n = Counter(adjusted)
    try:
        y = Fraction(n[1], n[1] + 2 * n[2])
        found = [r - (r + 1) * y * Fraction(n[r + 1], n[r]) for r in (1, 2, 3)]
    except ZeroDivisionError:
        found = []
    if found and all(0 < discount <= r for r, discount in enumerate(found, 1)):
        return found, False
    return [Fraction(discount) for discount in FALLBACK_DISCOUNTS], True


class Slow:
    """Interpolated modified Kneser-Ney from its definition, with strings and exact fractions."""

    def __init__(self, lines, order, lower="continuations", cut=True):
        self.order, self.symbols, self.cut = order, [".", *sorted(set("".join(lines)))], cut
        starts = START if cut else START * (order - 1)
        bounded = Counter(starts + line + END for line in lines)
        self.levels = {}
        above = None
        for m in range(order, 0, -1):
            raw = Counter()
            for line, times in bounded.items():
                for i in range(len(line) - m + 1):
                    if line[i + m - 1] != START:  # which is never predicted
                        raw[line[i : i + m]] += times
            adjusted = dict(raw)
            if m < order and lower == "continuations":
                before = defaultdict(set)
                for ngram in above:
                    before[ngram[1:]].add(ngram[0])
                adjusted = {
                    ngram: count if ngram[0] == START and m > 1 else len(before[ngram])
                    for ngram, count in raw.items()
                }
            discounts, fell_back = slow_discounts(adjusted.values())
            of = defaultdict(dict)
            for ngram, count in adjusted.items():
                of[ngram[:-1]][ngram[-1]] = count
            self.levels[m] = of, discounts, fell_back
            above = raw
        self.probs = functools.cache(self.probs)

    def probs(self, context):
        """p(symbol | context) of each symbol, the boundary first; context is that of one order."""
        uniform = [Fraction(1, len(self.symbols))] * len(self.symbols)
        lower = self.probs(context[1:]) if context else uniform
        of, discounts, _ = self.levels[len(context) + 1]
        if context not in of:
            return lower
        counts = [of[context].get(END if s == "." else s, 0) for s in self.symbols]
        total = sum(counts)
        off = [discounts[min(count, 3) - 1] if count else Fraction(0) for count in counts]
        left = sum(off) / total
        return [
            (count - less) / total + left * p
            for count, less, p in zip(counts, off, lower, strict=True)
        ]

    def log_probs(self, context):
        """ln p(symbol | context), where the context is as the model reads it, with boundaries."""
        line_begins = context.rfind(".")
        if line_begins >= 0 and self.cut:
            context = START + context[line_begins + 1 :]
        return [math.log(p) for p in self.probs(context.replace(".", START))]


def all_contexts(symbols, length):
    return ["".join(context) for context in itertools.product(symbols, repeat=length)]


def key_of(places, vocab_size):
    """The numbers of n-grams, each a row of symbols."""
    order = places.shape[1]
    columns = (places * vocab_size ** np.arange(order)[::-1]).T
    if not ngram_numbers.is_wide(vocab_size, order):
        return sum(columns)
    num_newer = ngram_numbers.num_newest(vocab_size)
    older, newer = sum(columns[:-num_newer]) // vocab_size**num_newer, sum(columns[-num_newer:])
    return older + 1j * newer


def table_of(lines, order):
    """Our log p: (contexts, symbols), the contexts in their order."""
    vocab = build_vocab(lines)
    places = np.array(list(itertools.product(range(len(vocab)), repeat=order)))
    keys = key_of(places, len(vocab))
    logs = ngram_log_probs(estimate(count_lines(lines, vocab, order)).tables, keys)
    assert logs.dtype == np.float64
    return logs.reshape(-1, len(vocab))


def assert_defined(lines, order, slow=None):
    """Every context, seen or not, has the probabilities of the definition."""
    slow = slow or Slow(lines, order)
    expected = [slow.log_probs(context) for context in all_contexts(slow.symbols, order - 1)]
    ours = table_of(lines, order)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.exp(ours).sum(1), 1, rtol=1e-12)


def walk(params, contexts):
    """The automaton by hand: start knowing nothing, follow each symbol, read the logits."""
    logits, following = np.asarray(params["logits"]), np.asarray(params["next"])
    state = np.zeros(len(contexts), int)
    for place in range(contexts.shape[1]):
        state = following[state, contexts[:, place]]
    return logits[state]


@pytest.fixture(params=["all computed beforehand", "sparse"])
def form(request, monkeypatch):
    """Both forms of the parameters."""
    if request.param == "sparse":
        monkeypatch.setattr(backoff_tables, "MAX_CELLS", 0)
    return request.param


@pytest.fixture(params=["in one number", "in two"])
def _numbers(request, monkeypatch):
    """Both forms of the numbers of n-grams, the second as of large alphabets."""
    if request.param == "in two":
        monkeypatch.setattr(ngram_numbers, "is_wide", lambda _, order: order > 3)
        monkeypatch.setattr(ngram_numbers, "num_newest", lambda _: 3)
        monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)


# Against the definition


@pytest.mark.usefixtures("_numbers")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("text", TEXTS)
def test_every_context_has_the_probabilities_of_the_definition(text, order):
    lines = TEXTS[text]
    if text == "five names":
        lines = [line.translate(str.maketrans("ilohps", "vvvvmm")) for line in lines]
    assert_defined(lines, order)


lines_of_chance = st.sampled_from(["ab", "abc", "éa"]).flatmap(
    lambda letters: st.builds(
        lambda lines, times: lines * times,
        st.lists(st.text(letters, min_size=1, max_size=7), min_size=1, max_size=8),
        st.integers(1, 4),
    )
)


@given(lines_of_chance, st.sampled_from(ORDERS))
@settings(max_examples=40)
def test_lines_of_chance_have_the_probabilities_of_the_definition(lines, order):
    slow = Slow(lines, order)
    assert_defined(lines, order, slow)
    V = len(slow.symbols)
    params = fit_kneser_ney(lines, build_vocab(lines), order)
    contexts = np.array(list(itertools.product(range(V), repeat=order - 1)))
    expected = [slow.log_probs(context) for context in all_contexts(slow.symbols, order - 1)]
    np.testing.assert_allclose(walk(params, contexts), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_was_computed_by_hand(times):
    # "ab", order 2: .a, ab and b. come once, twice or three times; a, b and . follow one symbol
    # each. Discounts cannot be estimated, and those to fall back to take half of each count.
    # Order 1: (1 - 0.5) / 3, and 1.5 / 3 of 1/V, make 1/3. Order 2: 1/2, and 1/2 of that third.
    expected = [[1 / 6, 4 / 6, 1 / 6], [1 / 6, 1 / 6, 4 / 6], [4 / 6, 1 / 6, 1 / 6]]
    np.testing.assert_allclose(np.exp(table_of(["ab"] * times, 2)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "broken",
    [
        {"lower": "raw"},  # absolute discounting, without what Kneser and Ney found
        {"cut": False},  # boundaries before the line's beginning are symbols like others
    ],
)
def test_another_definition_is_told_apart(broken):
    lines = TEXTS["all discounts"]
    assert_defined(lines, 4)
    with pytest.raises(AssertionError):
        assert_defined(lines, 4, Slow(lines, 4, **broken))


def test_other_discounts_are_told_apart():
    lines = TEXTS["all discounts"]
    for order in range(3, 7):
        levels = Slow(lines, order).levels
        assert not any(levels[m][2] for m in range(2, order))
    slow = Slow(lines, 3)
    for discounts in ([0.5, 1.0, 1.5], [0.75, 0.75, 0.75]):
        of, _, _ = slow.levels[3]
        slow.levels[3] = of, [Fraction(discount) for discount in discounts], False
        with pytest.raises(AssertionError):
            assert_defined(lines, 3, slow)


# Discounts


def counts_of(*numbers):
    """Adjusted counts of which so many are 1, 2, 3, 4, and some larger ones."""
    return np.array([r for r, n in enumerate(numbers, 1) for _ in range(n)] + [7, 90], np.int64)


@given(st.tuples(*[st.integers(0, 30)] * 4))
@settings(max_examples=200)
def test_discounts_are_those_of_chen_and_goodman(numbers):
    expected, fell_back = slow_discounts(counts_of(*numbers).tolist())
    found = estimate_discounts(counts_of(*numbers))
    assert (found is None) == fell_back
    if not fell_back:
        assert found == pytest.approx([float(discount) for discount in expected], rel=1e-12)


def test_discounts_by_hand_and_where_there_are_none():
    # n = 10, 5, 3, 2: Y = 1/2, D = 1 - 2 (1/2) 5/10, 2 - 3 (1/2) 3/5, 3 - 4 (1/2) 2/3.
    assert estimate_discounts(counts_of(10, 5, 3, 2)) == pytest.approx((1 / 2, 11 / 10, 5 / 3))
    for undefined in (0, 5, 3, 2), (10, 0, 3, 2), (10, 5, 0, 2), (3, 1, 9, 1), (9, 5, 1, 9):
        assert estimate_discounts(counts_of(*undefined)) is None
    assert estimate_discounts(counts_of(10, 5, 3, 0))[2] == 3


@pytest.fixture(scope="module")
def shipped():
    """The names that ship with the package, which is what everybody has."""
    return read_lines("names").lines


@pytest.fixture(scope="module")
def shipped_counts(shipped):
    """Counts of order 6 of train and of dev."""
    train, dev, _ = split_lines(shipped)
    vocab = build_vocab([*train, *dev])
    return [count_lines(part, vocab, 6) for part in (train, dev)]


def test_discounts_of_names_are_estimated_for_all_orders_but_the_first(shipped):
    lines = split_lines(shipped).train[:4000]
    slow = Slow(lines, 6)
    found = estimate(count_lines(lines, build_vocab(lines), 6)).discounts
    for order, each in enumerate(found, 1):
        _, discounts, fell_back = slow.levels[order]
        assert each.fell_back == fell_back == (order == 1)
        assert each.values == pytest.approx([float(discount) for discount in discounts])
    assert found[0].values == FALLBACK_DISCOUNTS
    assert all(each.values != FALLBACK_DISCOUNTS for each in found[1:])


@pytest.mark.parametrize("order", ORDERS)
def test_names_have_the_probabilities_of_the_definition(shipped, order):
    # Learned from some, asked about others, whose contexts are seen and unseen.
    lines, others = shipped[:400], shipped[20_000:20_060]
    slow, vocab = Slow(lines, order), build_vocab(shipped)
    assert slow.symbols == list(vocab.symbols)
    counts = count_lines(others, vocab, order)
    ours = ngram_log_probs(estimate(count_lines(lines, vocab, order)).tables, counts.keys)
    spelled = [counts.spell(key, vocab) for key in counts.keys.tolist()]
    expected = [slow.log_probs(s[:-1])[vocab.symbols.index(s[-1])] for s in spelled]
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_the_dev_loss_falls_with_the_order_and_is_below_that_of_added_counts(shipped_counts):
    train, dev = shipped_counts
    losses, added = [], []
    for order in ORDERS:
        asked, counts = dev.lower(order), train.lower(order)
        nats = -ngram_log_probs(estimate(counts).tables, asked.keys)
        losses.append(asked.counts @ nats / asked.total)
        totals = counts.contexts().find(asked.keys // 27)
        for k in 10.0 ** np.arange(-3, 2.01, 0.25):
            nats = np.log((totals + 27 * k) / (counts.find(asked.keys) + k))
            added.append(asked.counts @ nats / asked.total)
    assert (np.diff(losses) < 0).all()
    assert losses[-1] < min(added) - 0.01


# The model


def as_ids(contexts, symbols):
    return np.array([[symbols.index(s) for s in context] for context in contexts], np.int32)


def normalised(logits):
    """The logits, after a check that they are log-probabilities already."""
    logits = np.asarray(logits, np.float64)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, atol=1e-6)
    return logits


@pytest.mark.usefixtures("form", "_numbers")
@pytest.mark.parametrize("order", ORDERS)
def test_the_model_reads_every_window_as_the_definition_does(order):
    lines = TEXTS["all discounts"]
    slow, model = Slow(lines, order), kneser_ney(3, order)
    assert model.context == order - 1
    params = fit_kneser_ney(lines, build_vocab(lines), order)
    assert params["logits"].dtype == jnp.float32
    assert params["next"].dtype == jnp.int32
    contexts = all_contexts(slow.symbols, order - 1)
    logits = quick_jit(model.apply)(params, as_ids(contexts, slow.symbols))
    expected = [slow.log_probs(context) for context in contexts]
    assert logits.shape == (len(contexts), 1, 3)
    np.testing.assert_allclose(normalised(logits)[:, 0], expected, atol=1e-5)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("order", ORDERS)
def test_the_model_reads_a_line_by_steps_as_the_definition_does(order):
    lines, line = TEXTS["five names"], "aliviaosophxa".replace("x", "m")
    slow = Slow(lines, order)
    model = kneser_ney(len(slow.symbols), order)
    params = fit_kneser_ney(lines, build_vocab(lines), order)
    padded = "." * (order - 1) + line
    expected = [slow.log_probs(padded[i : i + order - 1]) for i in range(len(line) + 1)]
    carry, step, streamed = model.start(params), quick_jit(model.step), []
    for symbol in "." + line:
        carry, logits = step(params, carry, jnp.int32(slow.symbols.index(symbol)))
        streamed.append(logits)
    np.testing.assert_allclose(normalised(streamed), expected, atol=1e-5)
    at_once = quick_jit(model.apply)(params, as_ids([padded], slow.symbols))
    np.testing.assert_allclose(normalised(at_once)[0], expected, atol=1e-5)


def test_there_is_a_state_for_each_context_that_occurs():
    lines = ["ab", "b", "ba"]
    params = fit_kneser_ney(lines, build_vocab(lines), 3)
    # Nothing; one symbol: . a b; two: .a .b ab ba, but nothing after a line's end, and no "..".
    assert params["logits"].shape == params["next"].shape == (1 + 3 + 4, 3)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("layout", [windows, rows])
def test_the_loss_is_that_of_the_definition(layout):
    lines, asked = FIVE_NAMES, ["ava", "olive", "mmmmmmmm", "a"]
    vocab, slow, model = build_vocab(lines), Slow(lines, 4), kneser_ney(11, 4)
    params = fit_kneser_ney(lines, vocab, 4)
    nats = [
        -slow.log_probs(("..." + line)[i : i + 3])[slow.symbols.index((line + ".")[i])]
        for line in asked
        for i in range(len(line) + 1)
    ]
    value = quick_jit(evaluate, static_argnames="model")(model, params, layout(asked, vocab, 3))
    assert float(value) == pytest.approx(np.mean(nats), rel=1e-6)


@pytest.mark.usefixtures("form")
def test_samples_come_as_often_as_the_definition_says():
    lines = TEXTS["all discounts"]
    slow, params = Slow(lines, 3), fit_kneser_ney(lines, build_vocab(lines), 3)
    quick_sample = quick_jit(mm_jax.sample, static_argnames=("model", "num", "max_len"))
    key, model = jax.random.key(0), mm_jax.kneser_ney(3, 3)
    tokens, _ = quick_sample(model, params, key, num=20_000, max_len=3)
    first, second, third = np.asarray(tokens).T
    assert_frequencies(first, np.exp(slow.log_probs("..")))
    assert_frequencies(second[first == 1], np.exp(slow.log_probs(".a")))
    assert_frequencies(third[(first == 1) & (second == 2)], np.exp(slow.log_probs("ab")))


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_parameters_know_nothing(order):
    model = kneser_ney(5, order)
    params = first_params(model)
    tokens = np.random.default_rng(0).integers(0, 5, (2, order + 2), np.int32)
    logits = np.asarray(quick_jit(model.apply)(params, tokens))
    np.testing.assert_array_equal(logits, np.zeros((2, 4, 5)))


# What is refused


@pytest.mark.parametrize(("vocab_size", "order"), [(27, 1), (27, 0), (0, 3)])
def test_a_model_that_makes_no_sense_is_refused(vocab_size, order):
    with pytest.raises(InputError, match="orders from 2"):
        kneser_ney(vocab_size, order)


def test_no_lines_are_refused():
    with pytest.raises(InputError, match="no n-grams"):
        fit_kneser_ney([], build_vocab(["a"]), 3)
