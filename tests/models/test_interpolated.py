"""The interpolated n-gram against its definition, one prediction after another."""

import dataclasses
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.ngram_counts import count_corpus, count_lines
from mm_jax.data.splits import hold_out
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import Vocab, build_vocab
from mm_jax.models import backoff_tables
from mm_jax.models import interpolated as module
from mm_jax.models.backoff_tables import ngram_log_probs
from mm_jax.models.interpolated import (
    NUM_BINS,
    estimate,
    fit_interpolated,
    fit_weights,
    interpolated,
)
from mm_jax.training.evaluate import evaluate
from tests.helpers import FIVE_NAMES, first_params, quick_jit, softmax64

LINES = [a + b for a in ("ab", "ba", "ca", "", "bc") for b in ("a", "b", "cc", "abc", "ca")]
VOCAB = build_vocab(LINES)
ORDERS = (2, 3, 5)


def predictions(corpus, order):
    """Each context, of fewer symbols after a boundary, and what came."""
    ids = corpus.ids.tolist()
    for place in range(1, len(ids)):
        begin = max(i for i in range(place) if ids[i] == 0 or i == 0)
        yield tuple(ids[max(begin, place - order + 1) : place]), ids[place]


class Slow:
    """The definition: the counts of a corpus, and the lambdas by order and bin."""

    def __init__(self, corpus, order):
        self.order, self.vocab_size = order, len(corpus.vocab)
        self.counts, self.totals = Counter(), Counter()
        for context, symbol in predictions(corpus, order):
            for start in range(len(context) + 1):
                self.counts[context[start:], symbol] += 1
                self.totals[context[start:]] += 1
        self.total = corpus.num_predictions
        self.weights = {}

    def bin(self, context):
        return math.ceil(-math.log((1 + self.totals[context]) / self.total))

    def chain(self, context, symbol):
        """Of each order from 1: its bin (None: never came), its estimate, and p up to it."""
        p, found = 1 / self.vocab_size, []
        for length in range(len(context) + 1):
            part = context[len(context) - length :]
            if self.totals[part]:
                key, likely = (length, self.bin(part)), self.counts[part, symbol]
                likely /= self.totals[part]
                lam = self.weights.get(key, 0.5)
                found.append((key, likely, lam, p))
                p = (1 - lam) * likely + lam * p
        return found, p

    def prob(self, context, symbol):
        return self.chain(context, symbol)[1]

    def fit(self, held_out, steps):
        """Expectation maximisation: how often a prediction is passed on to the order below."""
        for _ in range(steps):
            inside, below = Counter(), Counter()
            for context, symbol in predictions(held_out, self.order):
                reached = 1.0
                for key, likely, lam, lower in reversed(self.chain(context, symbol)[0]):
                    inside[key] += reached
                    reached *= lam * lower / ((1 - lam) * likely + lam * lower)
                    below[key] += reached
            self.weights = {key: below[key] / inside[key] for key in inside}
        return self


def with_bins_without_evidence(weights, order):
    """The lambdas as a table; a bin of which nothing is known has those of the nearest."""
    table = np.full((order, NUM_BINS), 0.5)
    for level in range(order):
        known = sorted(number for at, number in weights if at == level)
        for number in range(NUM_BINS if known else 0):
            nearest = min(known, key=lambda each: (abs(each - number), each))
            table[level, number] = weights[level, nearest]
    return table


def counted(corpus, order):
    rest, held_out = hold_out(corpus)
    return count_corpus(rest, order), count_corpus(held_out, order)


def slow_model(corpus, order):
    """The definition with the weights that a tenth of the corpus gave."""
    rest, held_out = hold_out(corpus)
    fitted = Slow(rest, order).fit(held_out, 5)
    slow = Slow(corpus, order)
    table = with_bins_without_evidence(fitted.weights, order)
    slow.weights = dict(np.ndenumerate(table))
    return slow, table


def document(lines):
    """The lines one after another, without a boundary between them."""
    ids = encode_corpus(["".join(lines)], build_vocab(lines)).ids[:-1]
    return Corpus(ids, build_vocab(lines), is_document=True)


CORPORA = {
    "lines": encode_corpus(LINES, VOCAB),
    "names": encode_corpus(FIVE_NAMES * 3, build_vocab(FIVE_NAMES)),
    "a document": document(LINES),
    "lines that count twice": encode_corpus(LINES, VOCAB, np.full(len(LINES), 2.0)),
}


@pytest.fixture(params=[2**21, 0], ids=["all computed beforehand", "sparse"])
def form(request, monkeypatch):
    """Both forms of the parameters."""
    monkeypatch.setattr(backoff_tables, "MAX_CELLS", request.param)


# Against the definition


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["lines", "names", "a document"])
def test_the_weights_are_those_of_expectation_maximisation(name, order):
    _, table = slow_model(CORPORA[name], order)
    found = fit_weights(*counted(CORPORA[name], order))
    np.testing.assert_allclose(found, table, rtol=1e-9)
    assert ((found > 0) & (found <= 1)).all()
    assert len(np.unique(found)) >= order  # not all alike


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["lines", "names", "a document"])
def test_every_context_has_the_probabilities_of_the_definition(name, order):
    corpus = CORPORA[name]
    (slow, _), V = slow_model(corpus, order), len(corpus.vocab)
    model, params = interpolated(V, order), fit_interpolated(corpus, order=order)
    lowest = int(corpus.is_document)  # in it no boundary is predicted, and none is read later
    contexts = np.random.default_rng(0).integers(lowest, V, (60, order - 1), np.int32)
    contexts *= np.cumprod((contexts != 0)[:, ::-1], 1)[:, ::-1]
    found = softmax64(quick_jit(model.apply)(params, contexts))[:, 0]
    for context, row in zip(contexts.tolist(), found, strict=True):
        begin = max([0, *(i for i, symbol in enumerate(context) if symbol == 0)])
        expected = [slow.prob(tuple(context[begin:]), symbol) for symbol in range(V)]
        assert sum(expected) == pytest.approx(1)
        np.testing.assert_allclose(row, expected, rtol=2e-5)


def test_what_was_computed_by_hand():
    # "ab" twice: T = 6, and order 2. After nothing ".", "a", "b" come twice of 6, the bin is 0;
    # after each of them what follows comes always: 3 of 6 with the one added, bin 1.
    counts = count_lines(["ab", "ab"], build_vocab(["ab"]), 2)
    weights = np.zeros((2, NUM_BINS))
    weights[0, 0], weights[1, 1] = 0.25, 0.5
    found = np.exp(ngram_log_probs(estimate(counts, weights), np.arange(9))).reshape(3, 3)
    low, high = 1 / 6, 1 / 6 + 1 / 2  # half of 1/3, which 3/4 of 2/6 and 1/4 of 1/3 make
    np.testing.assert_allclose(
        found, [[low, high, low], [low, low, high], [high, low, low]], rtol=1e-12
    )


def test_one_step_by_hand():
    # Train "a": after nothing "." and "a", each once of 2: bin ceil(-ln 3/2) = 0. Held out "b"
    # and ".": from lambda 1/2, "." has 1/4 + 1/6 and comes from below with 2/5, "b" always.
    vocab = Vocab((".", "a", "b"))
    rest, held_out = (count_lines([line], vocab, 1) for line in "ab")
    weights = np.full(2, np.nan)
    for steps in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "EM_STEPS", steps)
            weights[steps - 1] = fit_weights(rest, held_out)[0, 0]
    assert weights[0] == pytest.approx((2 / 5 + 1) / 2)
    below = 0.7 / 3
    assert weights[1] == pytest.approx((below / (below + 0.3 / 2) + 1) / 2)


def test_items_count_as_often_as_their_weights_say():
    corpus = CORPORA["lines that count twice"]
    twice = [encode_corpus(part.items() * 2, VOCAB) for part in hold_out(CORPORA["lines"])]
    weights = fit_weights(*(count_corpus(part, 3) for part in twice))
    both = encode_corpus(LINES * 2, VOCAB)
    expected = backoff_tables.from_tables(estimate(count_corpus(both, 3), weights))
    found = fit_interpolated(corpus, order=3)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6)


# What it is for


def test_five_steps_gain_most_of_what_there_is_and_no_step_loses(monkeypatch):
    lines = read_lines("names").lines
    counts = counted(encode_corpus(lines[::5], build_vocab(lines)), 4)
    asked = counts[1]
    losses = []
    for steps in (0, 1, 2, 3, 5, 40):
        monkeypatch.setattr(module, "EM_STEPS", steps)
        tables = estimate(counts[0], fit_weights(*counts))
        losses.append(-float(asked.counts @ ngram_log_probs(tables, asked.keys)) / asked.total)
    assert (np.diff(losses) < 0).all()
    assert losses[4] - losses[-1] < 0.2 * (losses[0] - losses[-1])


def test_rare_contexts_leave_more_to_the_order_below():
    lines = read_lines("names").lines
    weights = fit_weights(*counted(encode_corpus(lines[::5], build_vocab(lines)), 4))
    frequent, rare = weights[3, 7], weights[3, 10]
    assert frequent < 0.5 < rare


def test_of_many_words_it_holds_what_occurs_alone():
    rng = np.random.default_rng(0)
    vocab = Vocab(("\n", *(f"w{i}" for i in range(50_000))), "word")
    ids = np.append(0, 1 + (50_000 * rng.random(20_000) ** 6).astype(np.int32))
    corpus = Corpus(ids.astype(vocab.dtype), vocab, is_document=True)
    params = fit_interpolated(corpus, order=3)
    assert sum(leaf.size for leaf in params.values()) < 4 * 50_001 + 3 * 4 * 20_000
    model = interpolated(50_001, 3)
    tokens = jnp.asarray(ids[1:4], jnp.int32)
    np.testing.assert_allclose(softmax64(quick_jit(model.apply)(params, tokens)).sum(-1), 1)
    part = dataclasses.replace(corpus, ids=corpus.ids[:500])
    assert float(evaluate(model, params, part)) < math.log(50_001)


# The model


def test_it_reads_a_line_step_by_step_as_the_definition_does():
    corpus = CORPORA["lines"]
    slow, _ = slow_model(corpus, 3)
    model, params = interpolated(len(VOCAB), 3), fit_interpolated(corpus, order=3)
    row = jnp.asarray(encode_corpus(["cab", "b"], VOCAB).ids[:-1], jnp.int32)
    _, logits = jax.lax.scan(lambda *each: model.step(params, *each), model.start(params), row)
    contexts = [(0,), (0, 3), (3, 1), (1, 2), (0,), (0, 2)]
    expected = [[slow.prob(context, symbol) for symbol in range(4)] for context in contexts]
    np.testing.assert_allclose(softmax64(logits), expected, rtol=1e-5)


def test_the_first_parameters_know_nothing():
    model = interpolated(5, 3)
    logits = quick_jit(model.apply)(first_params(model), np.zeros((2, 4), np.int32))
    np.testing.assert_array_equal(logits, np.zeros((2, 3, 5)))


def test_lines_shorter_than_the_order():
    lines = [*"abcdefghij"]
    params = fit_interpolated(lines, build_vocab(lines), 6)
    model = interpolated(11, 6)
    found = softmax64(quick_jit(model.apply)(params, np.array([[0, 0, 0, 0, 1]], np.int32)))
    assert found[0, 0, 0] > 0.5  # after a letter its line ends


# What is refused


@pytest.mark.parametrize(("vocab_size", "order"), [(27, 1), (0, 3)])
def test_a_model_that_makes_no_sense_is_refused(vocab_size, order):
    with pytest.raises(InputError, match="orders from 2"):
        interpolated(vocab_size, order)


def test_too_few_lines_are_refused():
    with pytest.raises(InputError, match="9 lines are too few to hold a tenth of them out"):
        fit_interpolated(LINES[:9], VOCAB, 3)
    nothing = count_lines([], VOCAB, 2)
    with pytest.raises(InputError, match="no n-grams to interpolate"):
        estimate(nothing, np.zeros((2, NUM_BINS)))
