"""The bins of Bengio et al., by their formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data.frequency_bins import frequency_bins, num_bins


@given(st.integers(1, 10**12), st.data())
def test_a_bin_is_that_of_the_formula(total, data):
    counts = data.draw(st.lists(st.integers(0, total), max_size=5))
    found = frequency_bins(np.array(counts, np.int64), total).tolist()
    for count, number in zip(counts, found, strict=True):
        exact = -math.log((1 + count) / total)
        assert number == math.ceil(exact) or abs(exact - round(exact)) < 1e-9
        assert 0 <= number < num_bins(total)


@pytest.mark.parametrize("total", [1, 2, 3, 100, 10**6])
def test_the_last_bin_is_that_of_what_never_came_and_the_first_that_of_what_always_did(total):
    counts = np.array([total, 0])
    assert frequency_bins(counts, total).tolist() == [0, num_bins(total) - 1]


def test_a_bin_holds_counts_within_a_factor_of_e():
    total = 10**6
    counts = np.arange(total)
    bins = frequency_bins(counts, total)
    assert (np.diff(bins) <= 0).all()
    for number in range(1, 5):
        inside = counts[bins == number] + 1
        assert inside.max() / inside.min() <= math.e
        assert inside.max() / inside.min() > 2.6
