"""Tables of text: each number is in its row, and what is best is marked."""

import math

import pytest

from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.experiments.statistics import Spread
from mm_jax.models.baselines import Baseline
from mm_jax.reports.text_tables import (
    NUM_EXTREMES,
    extremes,
    loss_table,
    ngram_table,
    quoted,
    spread_text,
)

BASELINES = [
    Baseline("uniform", 0, None, 3.0, 3.0),
    Baseline("add-k", 1, 0.5, 2.5, 2.6),
    Baseline("add-k", 2, 0.25, 2.0, 2.2),
    Baseline("kneser-ney", 2, None, 1.9, 2.1, (1,)),
    Baseline("kneser-ney", 3, None, 1.8, 2.15),
]
INTERPOLATED = Baseline("interpolated", 3, None, 1.85, 2.12)


def test_losses_stand_in_their_columns_and_the_lowest_are_marked():
    head, *rows = loss_table(BASELINES, BASELINES[1])
    assert head.split()[-2:] == ["train", "dev"]
    assert [row.split("  ")[1] for row in rows[:6]] == [
        *("uniform, ln V", "unigram, k = 0.5", "bigram, k = 0.25"),
        *("order 2, Kneser-Ney", "order 3, Kneser-Ney", "unigram, k = 0.5"),
    ]
    for row, baseline in zip(rows[:5], BASELINES, strict=True):
        assert f"{baseline.train_loss:.4f}    {baseline.dev_loss:.4f}" in row
    marks = [row[48:].strip() for row in rows[:6]]
    assert marks == ["", "", "lowest add-k", "lowest of all", "", "this model"]
    assert rows[6] == "  (Kneser-Ney discounts 0.5, 1, 1.5 where none can be estimated: order 1)"


def test_interpolated_counts_have_their_name_and_order():
    *_, last, _ = loss_table(BASELINES, INTERPOLATED)
    assert last == "  order 3, interpolated         1.8500    2.1200  this model"


def test_without_dev_nothing_is_the_lowest():
    alone = [baseline._replace(dev_loss=None) for baseline in BASELINES]
    text = "\n".join(loss_table(alone, alone[1]))
    assert "lowest" not in text
    assert "dev" not in text


def test_the_most_and_the_least_frequent_ngrams_side_by_side():
    lines = ["ab"] * 3 + ["b"]
    vocab = build_vocab(lines)
    counts = count_lines(lines, vocab, 2)
    most, least = extremes(counts, vocab)
    assert most == [("b.", 4), (".a", 3), ("ab", 3), (".b", 1)]  # .a before ab, as their ids
    assert least == [(".b", 1), (".a", 3), ("ab", 3), ("b.", 4)]
    head, _, first, *_ = ngram_table(counts, most, least)
    assert head == "n-grams    11 of order 2; 4 of 9 occur, 1 once"
    assert first.split() == ["b.", "4", ".b", "1"]
    many = [chr(i) + "z" for i in range(97, 117)]
    assert len(extremes(count_lines(many, build_vocab(many), 2), build_vocab(many))[0]) == (
        NUM_EXTREMES
    )


@pytest.mark.parametrize(("ngram", "text"), [("ab", "ab"), ("a b", "'a b'"), ("\t", "'\\t'")])
def test_white_space_of_an_ngram_can_be_seen(ngram, text):
    assert quoted(ngram) == text


def test_a_mean_has_its_interval_where_there_is_one():
    assert spread_text(Spread(2.0, None)) == "2.0000"
    assert spread_text(Spread(2.0, 0.5)) == "2.0000 ± 0.5000"
    assert spread_text(Spread(math.inf, None)) == "diverged"
