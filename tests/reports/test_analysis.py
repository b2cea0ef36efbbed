"""The numbers behind figures: projections, neighbours, lines, baselines, each in a plain way."""

import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.dataset import Dataset
from mm_jax.data.encoding import FileInfo
from mm_jax.data.samples import Samples
from mm_jax.data.splits import Splits, split_lines
from mm_jax.data.vocab import Vocab, build_vocab, byte_vocab
from mm_jax.models.bow import bow
from mm_jax.reports.analysis import (
    MAX_READ,
    AnnotatedLine,
    annotate_lines,
    array_stats,
    baseline_losses,
    line_to_read,
    named_baselines,
    readable,
    shown_symbols,
)
from tests.helpers import V, bigram, first_params, nats64

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
LINES = Splits(["emma", "ava", "olivia", "emma"], ["ava", "mia"], ["liam"])


def corpora(splits, vocab):
    return Splits(*(encode_corpus(lines, vocab) for lines in splits))


def dataset_of(splits, vocab, config=None):
    """A dataset with these lines, as if they had been read and split."""
    info = FileInfo(Path("names.txt"), "0" * 64, vocab, 7, 0, None, ())
    return Dataset(config or DataConfig(), info, corpora(splits, vocab), 0.5)


def samples_of(texts, cut=()):
    return Samples(list(texts), [i in cut for i in range(len(texts))], 64)


def test_of_a_large_alphabet_the_most_frequent_symbols_are_shown_and_which_these_are_is_said():
    counts = np.array([5, 9, 1, 9, 7])
    assert shown_symbols(5, counts).ids.tolist() == [0, 1, 2, 3, 4]
    assert shown_symbols(5, counts).which == "5 symbols"
    ids, which = shown_symbols(5, counts, 3)
    assert ids.tolist() == [1, 3, 4]
    assert which == "the most frequent 3 of 5 symbols"
    ids, which = shown_symbols(5_000, None, 3)  # without the data
    assert ids.tolist() == [0, 1, 2]
    assert which == "the first 3 of 5,000 symbols"


def edits(a, b):
    """Levenshtein's distance, by its recurrence."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_lines_know_their_surprise_where_they_were_seen_and_what_is_nearest():
    model = bigram()
    params = first_params(model)
    texts = ["emma", "ava", "", "liamx", "mia"]
    dataset = dataset_of(LINES, LETTERS)
    lines = annotate_lines(samples_of(texts), model, params, LETTERS, dataset)
    assert [line.text for line in lines] == ["emma", "ava", "liamx", "mia"]
    assert [line.seen for line in lines] == [["train"], ["train", "dev"], [], ["dev"]]
    logits = np.asarray(params["W"])
    for line in lines:
        assert [symbol for symbol, _ in line.symbols] == [*line.text, "."]
        ids = [0, *(LETTERS.symbols.index(c) for c in line.text), 0]
        expected = nats64(logits[ids[:-1]], ids[1:])
        np.testing.assert_allclose([nats for _, nats in line.symbols], expected, rtol=1e-5)
        assert line.distance == min(edits(line.text, other) for other in LINES.train)
        assert edits(line.text, line.nearest) == line.distance
    alone = annotate_lines(samples_of(["emma"]), model, params, LETTERS, None)[0]
    assert (alone.seen, alone.nearest, alone.distance) == ([], None, None)
    assert annotate_lines(samples_of([""]), model, params, LETTERS, dataset) == []


def test_a_line_that_was_cut_has_no_end():
    model = bigram()
    params = first_params(model)
    whole, cut = annotate_lines(
        samples_of(["emma", "ava"], cut=[1]), model, params, LETTERS, dataset_of(LINES, LETTERS)
    )
    assert (whole.is_cut, cut.is_cut) == (False, True)
    assert [symbol for symbol, _ in whole.symbols] == [*"emma", "."]
    assert [symbol for symbol, _ in cut.symbols] == [*"ava"]
    logits, ids = np.asarray(params["W"]), [0, 1, 22, 1]
    expected = nats64(logits[ids[:-1]], ids[1:])
    np.testing.assert_allclose([nats for _, nats in cut.symbols], expected, rtol=1e-5)


def test_a_line_as_long_as_the_model_reads_has_the_surprise_of_each_symbol():
    model = bow(V, 6, 4, 4)
    params = first_params(model)
    texts = ["abcdef", "ava", "fedcba", "abcde"]
    lines = annotate_lines(samples_of(texts, {0, 2}), model, params, LETTERS, None)
    assert ["".join(symbol for symbol, _ in line.symbols) for line in lines] == [
        *("abcdef", "ava.", "fedcba", "abcde.")
    ]
    for line in lines:
        ids = [LETTERS.ids.get(symbol, 0) for symbol, _ in line.symbols]
        logits = model.apply(params, jnp.array([0, *ids[:-1]]))
        np.testing.assert_allclose(
            [nats for _, nats in line.symbols], nats64(logits, ids), rtol=1e-4
        )


def line_of(text, *, is_cut=False):
    return AnnotatedLine(text, [], [], None, None, is_cut)


@pytest.mark.parametrize(
    ("lines", "max_len", "expected"),
    [
        ([line_of("emma"), line_of("ava")], None, "emma"),
        ([line_of("emma", is_cut=True), line_of("ava")], None, "ava"),
        ([line_of(30 * "a"), line_of(MAX_READ * "b")], None, MAX_READ * "b"),
        ([line_of(30 * "a"), line_of("b", is_cut=True)], None, MAX_READ * "a"),
        ([line_of("emma"), line_of("ava")], 4, "ava"),
        ([line_of("emma", is_cut=True)], 4, "emm"),
        ([line_of("emma")], 1, ""),
        ([], None, ""),
    ],
    ids=["first", "whole", "short", "beginning", "fits", "cut", "boundary", "none"],
)
def test_the_line_that_is_read_is_a_whole_short_one_or_the_beginning_of_one(
    lines, max_len, expected
):
    line = line_to_read(lines, LETTERS, max_len)
    assert line.tolist() == [0, *(LETTERS.ids[symbol] for symbol in expected)]


def test_what_is_drawn_of_a_document_has_no_end_and_occurs_nowhere():
    model = bigram()
    [line] = annotate_lines(
        samples_of(["ava"]),
        model,
        first_params(model),
        LETTERS,
        dataset_of(LINES, LETTERS, DataConfig(items="document")),
        is_document=True,
    )
    assert [symbol for symbol, _ in line.symbols] == [*"ava"]
    assert (line.seen, line.nearest, line.distance, line.is_cut) == ([], None, None, False)


def test_tokens_of_lines_are_those_of_the_vocabulary():
    for vocab, texts, tokens in (
        (build_vocab(["st. clair", "ava"]), ["st. ava"], [[*"st. ava", "↵"]]),
        (build_vocab(["the cat sat", "the dog"], "word"), ["the dog"], [["the", "dog", "."]]),
        (byte_vocab(), ["é "], [["\\xc3", "\\xa9", " ", "↵"]]),
    ):
        model = bigram(len(vocab))
        dataset = dataset_of(Splits(texts, texts, texts), vocab)
        lines = annotate_lines(samples_of(texts), model, first_params(model), vocab, dataset)
        assert [[symbol for symbol, _ in line.symbols] for line in lines] == tokens
        assert [line.seen for line in lines] == [["train", "dev", "test"]]
        assert [line.distance for line in lines] == [0]


def test_baselines_are_the_losses_of_counting():
    generator = random.Random(0)
    lines = [
        "".join(generator.choices(["an", "el", "mi", "ra", "so", "o"], k=3)) for _ in range(300)
    ]
    splits, vocab = split_lines(lines), build_vocab(lines)
    named = dict(named_baselines(baseline_losses(corpora(splits, vocab))))
    assert list(named)[:3] == ["uniform", "unigram", "bigram"]
    assert list(named.values()) == sorted(named.values(), reverse=True)
    assert named["uniform"] == pytest.approx(math.log(len(vocab)))
    pairs = Counter(pair for line in splits.train for pair in pairwise(f".{line}."))
    before = Counter(first for first, _ in pairs.elements())
    dev = [pair for line in splits.dev for pair in pairwise(f".{line}.")]
    by_k = [
        sum(-math.log((pairs[p] + k) / (before[p[0]] + k * len(vocab))) for p in dev) / len(dev)
        for k in np.geomspace(1e-6, 1e6, 200)
    ]
    assert named["bigram"] == pytest.approx(min(by_k), rel=1e-3)  # with the best k
    (best,) = set(named) - {"uniform", "unigram", "bigram"}
    assert best.startswith("order ")


@pytest.mark.parametrize(
    ("add_k", "kneser_ney", "name"),
    [(2.2, 1.9, "order 5, Kneser-Ney"), (1.8, 1.9, "order 3, best with k added")],
)
def test_the_best_way_to_count_is_named(add_k, kneser_ney, name):
    losses = {
        "uniform": 3.3,
        "bigram": 2.4,
        "add_k": {"kind": "add-k", "order": 3, "dev_loss": add_k},
        "kneser_ney": {"kind": "kneser-ney", "order": 5, "dev_loss": kneser_ney},
    }
    assert list(named_baselines(losses)) == [
        *(("uniform", 3.3), ("bigram", 2.4), (name, min(add_k, kneser_ney)))
    ]
    losses["add_k"] |= {"order": 2, "dev_loss": 1.0}  # has the name bigram already
    assert [name for name, _ in named_baselines(losses)] == ["uniform", "bigram"]


def test_without_dev_the_baselines_are_of_train_and_no_best_is_named():
    splits = corpora(Splits(LINES.train, [], []), build_vocab(LINES.train))
    named = dict(named_baselines(baseline_losses(splits)))
    assert list(named) == ["uniform", "unigram", "bigram"]


def test_arrays_are_described():
    shape = array_stats([("W", np.array([[1.0, 2], [3, 6]], np.float32))])[0]
    assert (shape.name, shape.shape, shape.size) == ("W", (2, 2), 4)
    assert (shape.mean, shape.low, shape.high) == (3.0, 1.0, 6.0)
    assert shape.std == pytest.approx(np.std([1, 2, 3, 6]))


@given(st.text())
def test_readable_text_has_nothing_that_steers(text):
    shown = readable(text)
    assert shown.isprintable()
    assert " " not in shown
    assert readable(shown) == shown
