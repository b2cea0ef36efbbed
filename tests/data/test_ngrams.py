import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data import ngrams
from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.ngrams import (
    Counts,
    check_fits,
    fits,
)
from mm_jax.data.vocab import build_vocab
from tests.data.by_hand import assert_counts, count_by_hand, number, some_lines

EMPTY = np.zeros(0, np.int64)
ORDERS = range(1, 7)


@given(some_lines, st.sampled_from(ORDERS))
def test_lower_orders_and_contexts_forget_the_oldest_and_the_newest_symbol(lines, order):
    vocab = build_vocab(lines)
    counts = count_lines(lines, vocab, order)
    for lower in range(1, order + 1):
        assert_counts(counts.lower(lower), vocab, lower, count_by_hand(lines, lower))
    before = Counter()
    for ngram, count in count_by_hand(lines, order).items():
        before[ngram[:-1]] += count
    assert_counts(counts.contexts(), vocab, order - 1, before)


@given(some_lines, st.integers(1, 4))
def test_what_never_came_is_found_no_times_and_the_rest_as_often_as_it_came(lines, order):
    vocab, expected = build_vocab(lines), count_by_hand(lines, order)
    counts = count_lines(lines, vocab, order)
    all_ngrams = ["".join(ngram) for ngram in itertools.product(vocab.symbols, repeat=order)]
    keys = np.array([number(ngram, vocab) for ngram in all_ngrams])
    assert counts.find(keys).tolist() == [expected[ngram] for ngram in all_ngrams]
    assert counts.find(keys[::-1]).tolist() == [expected[ngram] for ngram in all_ngrams[::-1]]
    nothing = Counts(len(vocab), order, EMPTY, EMPTY)
    assert nothing.find(keys).tolist() == [0] * len(keys)
    assert [counts.spell(key, vocab) for key in keys.tolist()] == all_ngrams


def test_nothing_counts_as_nothing():
    nothing = Counts(3, 2, EMPTY, EMPTY)
    assert nothing.total == 0
    assert nothing.dense().tolist() == [[0] * 3] * 3
    for less in nothing.lower(1), nothing.contexts():
        assert (less.order, less.keys.tolist(), less.counts.tolist()) == (1, [], [])


def test_counts_too_large_for_the_table_are_refused():
    def counts(most):
        return Counts(2, 1, np.array([0, 1]), np.array([1, most]))

    assert counts(2**31 - 1).dense().tolist() == [1, 2**31 - 1]
    with pytest.raises(InputError, match="2,147,483,648 times"):
        counts(2**31).dense()


# What fits


@pytest.mark.parametrize(("order", "fit"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_table_fits_four_times_in_memory(monkeypatch, order, fit):
    monkeypatch.setattr(ngrams, "memory_bytes", lambda: 4 * 4 * 27**3)
    assert fits(27, order) == fit
    monkeypatch.setattr(ngrams, "memory_bytes", lambda: 4 * 4 * 27**3 - 1)
    assert fits(27, order) == (fit and order < 3)


def test_a_table_has_as_many_cells_as_32_bits_can_number(monkeypatch):
    monkeypatch.setattr(ngrams, "memory_bytes", lambda: 2**60)
    assert fits(2, 30)
    assert not fits(2, 31)
    assert fits(46340, 2)
    assert not fits(46341, 2)


def test_a_size_that_no_float_holds_is_said():
    with pytest.raises(InputError, match=r"27\^300 = 2\.57e\+429 counts"):
        check_fits(27, 300)  # 429 = floor(300 log10 27)


def test_an_order_that_does_not_fit_is_refused_with_its_size_and_those_that_fit(monkeypatch):
    monkeypatch.setattr(ngrams, "memory_bytes", lambda: 4 * 4 * 27**3)
    check_fits(27, 3)
    with pytest.raises(InputError) as caught:
        check_fits(27, 7)
    assert "order 7 has 27^7 = 1.05e+10 counts, 41.8 GB" in str(caught.value)
    assert str(caught.value).endswith(" orders 1 to 3 fit")
    with pytest.raises(InputError, match=r"order 1 fits$"):
        check_fits(150, 3)
    with pytest.raises(InputError, match=r"none fits$"):
        check_fits(1_000_000, 2)
    with pytest.raises(InputError, match="orders 1 to 3 fit"):
        Counts(27, 4, EMPTY, EMPTY).dense()
