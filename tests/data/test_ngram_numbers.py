from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data import ngram_counts, ngram_numbers
from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.ngram_numbers import Numbering, find, highest_order, is_wide, num_newest, sum_by
from mm_jax.data.vocab import build_vocab
from tests.data.by_hand import number, some_lines

SIZES = [1, 2, 3, 27, 257, 5000, 70_000, 10**6]


def digits_of(value, vocab_size, order):
    """The digits of one of Python's numbers, the oldest first."""
    return [value // vocab_size**age % vocab_size for age in reversed(range(order))]


def value_of(digits, vocab_size):
    value = 0
    for digit in digits:
        value = value * vocab_size + digit
    return value


def integers(keys, numbering):
    """Numbers of n-grams as those of Python, which have no limit."""
    if not is_wide(*numbering):
        assert keys.dtype == np.int64
        return keys.tolist()
    assert keys.dtype == np.complex128
    unit = numbering.vocab_size ** num_newest(numbering.vocab_size)
    return [int(key.real) * unit + int(key.imag) for key in keys.tolist()]


def keys_of(digits, numbering):
    """The numbers of n-grams by digits; each row is read as the end of a line without an end."""
    keys = [numbering.at_ends(np.array(row, np.int64))[-1] for row in digits]
    return np.array(keys, numbering.dtype)


some_ngrams = (
    st.sampled_from(SIZES)
    .flatmap(lambda size: st.tuples(st.just(size), st.integers(1, highest_order(size))))
    .flatmap(
        lambda each: st.tuples(
            st.just(Numbering(*each)),
            st.lists(
                st.lists(
                    st.integers(min(1, each[0] - 1), each[0] - 1),
                    min_size=each[1],
                    max_size=each[1],
                ),
                min_size=1,
                max_size=8,
            ),
        )
    )
)


@given(some_ngrams)
def test_numbers_are_cut_and_read_as_those_of_python(numbering_and_digits):
    numbering, digits = numbering_and_digits
    V, order = numbering
    keys = keys_of(digits, numbering)
    values = [value_of(row, V) for row in digits]
    assert integers(keys, numbering) == values
    assert numbering.symbols(keys).tolist() == digits
    assert integers(keys[np.argsort(keys)], numbering) == sorted(values)
    for lower in range(order + 1):
        suffixes = numbering.suffix(keys, lower)
        assert integers(suffixes, Numbering(V, lower)) == [value % V**lower for value in values]
    contexts = numbering.context(keys)
    assert integers(contexts, Numbering(V, order - 1)) == [value // V for value in values]


@given(some_ngrams)
def test_those_of_the_second_split_come_after_all_of_the_first(numbering_and_digits):
    numbering, digits = numbering_and_digits
    V, order = numbering
    keys = keys_of([*digits, [V - 1] * order], numbering)
    both = numbering.of_split(np.concatenate([keys, keys]), np.repeat([0, 1], len(keys)))
    assert numbering.split(both).tolist() == np.repeat([0, 1], len(keys)).tolist()
    for lower in range(1, order + 1):
        expected = numbering.suffix(np.concatenate([keys, keys]), lower)
        assert (numbering.suffix(both, lower) == expected).all()
    first, second = both[: len(keys)], both[len(keys) :]
    assert np.sort(both).tolist() == [*np.sort(first).tolist(), *np.sort(second).tolist()]
    lowest_of_second = numbering.of_split(np.zeros(1, numbering.dtype), 1)
    assert np.searchsorted(np.sort(both), lowest_of_second).tolist() == [len(keys)]


@given(some_lines, st.sampled_from(range(1, 7)), st.booleans())
def test_each_place_of_a_line_has_the_number_of_its_ngram(lines, order, wide):
    vocab = build_vocab(lines)
    ids = [vocab.symbols.index(symbol) for line in lines for symbol in [*line, "."]]
    padded = ["." * (order - 1) + line + "." for line in lines]
    expected = [
        number(line[i : i + order], vocab) for line in padded for i in range(len(line) - order + 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        if wide:
            patch_to_be_wide(patch)
        for dtype in np.uint8, np.int32, np.int64:
            numbering = Numbering(len(vocab), order)
            assert integers_of(numbering.at_ends(np.array(ids, dtype)), 4, len(vocab)) == expected


def patch_to_be_wide(patch):
    """Make complex numbers of all n-grams of five symbols and more."""
    patch.setattr(ngram_numbers, "is_wide", lambda _, order: order > 4)
    patch.setattr(ngram_numbers, "num_newest", lambda _: 4)
    patch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)


def integers_of(keys, num_newer, vocab_size):
    if keys.dtype == np.int64:
        return keys.tolist()
    return [int(key.real) * vocab_size**num_newer + int(key.imag) for key in keys.tolist()]


@given(some_lines, st.sampled_from([5, 6]))
def test_counts_with_wide_numbers_are_those_without(lines, order):
    vocab = build_vocab(lines)
    narrow = count_lines(lines, vocab, order)
    lower = [narrow.lower(n) for n in range(1, order + 1)]
    contexts, spelled = narrow.contexts(), [narrow.spell(key, vocab) for key in narrow.keys]
    with pytest.MonkeyPatch.context() as patch:
        patch_to_be_wide(patch)
        wide = count_lines(lines, vocab, order)
        assert wide.keys.dtype == np.complex128
        for expected in lower:
            found = wide.lower(expected.order)
            assert integers_of(found.keys, 4, len(vocab)) == expected.keys.tolist()
            assert found.counts.tolist() == expected.counts.tolist()
        assert wide.contexts().counts.tolist() == contexts.counts.tolist()
        assert wide.find(wide.keys[::-1]).tolist() == wide.counts[::-1].tolist()
        assert wide.find(wide.keys + len(vocab) ** 5).tolist() == [0] * len(wide.keys)
        assert [wide.spell(key, vocab) for key in wide.keys] == spelled


@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 10**12)), max_size=20))
def test_values_are_summed_by_key_and_keys_found(pairs):
    expected = Counter()
    for key, value in pairs:
        expected[key] += value
    given_keys, values = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    keys, sums = sum_by(given_keys, values)
    assert keys.tolist() == sorted(expected)
    assert sums.tolist() == [expected[key] for key in sorted(expected)]
    queries = np.arange(-4, 11)
    place, found = find(keys, queries)
    assert found.tolist() == [key in expected for key in queries.tolist()]
    assert keys[place[found]].tolist() == queries[found].tolist()


@pytest.mark.parametrize(
    ("vocab_size", "highest"), [(1, 30), (2, 30), (27, 20), (5000, 8), (70_000, 6), (10**6, 4)]
)
def test_the_highest_order_is_the_last_that_has_numbers(vocab_size, highest):
    assert highest_order(vocab_size) == highest
    digits = [vocab_size - 1] * highest
    numbering = Numbering(vocab_size, highest)
    expected = value_of(digits, vocab_size)
    key = keys_of([digits], numbering)
    assert integers(key, numbering) == [expected]
    in_second = numbering.of_split(key, 1)  # no digit is lost to rounding
    assert numbering.symbols(numbering.suffix(in_second, highest)).tolist() == [digits]
    assert numbering.split(in_second).tolist() == [1]
