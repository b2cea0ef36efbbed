"""A loss in other units, by the definitions of these."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data.word_totals import TextTotals
from mm_jax.experiments.loss_units import loss_units

TOTALS = TextTotals(predictions=10, words=8, unknown=2, characters=40)


@given(st.floats(0, 30), st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 5000))
def test_bits_of_characters_are_the_bits_of_the_whole_text(loss, words, ends, characters):
    units = loss_units(loss, TextTotals(words + ends, words, 0, characters))
    assert units.perplexity == pytest.approx(math.exp(loss))
    assert 2**units.bits == pytest.approx(units.perplexity)
    whole_bits = loss * (words + ends) / math.log(2)
    assert units.bits_per_character * characters == pytest.approx(whole_bits)


def test_characters_and_bytes_have_no_words():
    units = loss_units(math.log(8))
    assert units.record == {
        "perplexity": pytest.approx(8),
        "bits_per_character": None,
        "unknown_rate": None,
    }
    assert units.text == "perplexity 8.00, 3.0000 bits per symbol"
    assert loss_units(1.0, TextTotals(0, 0, 0, 0)) == loss_units(1.0)  # an empty split


def test_words_are_said_per_word_and_per_character():
    units = loss_units(math.log(16), TOTALS)
    assert units.record["unknown_rate"] == 0.25
    assert units.text == "perplexity 16.00 per word, 1.0000 bits per character"


def test_a_huge_loss_is_huge_and_an_infinite_one_infinite():
    assert loss_units(30.0).text.startswith("perplexity huge, 43.2")
    for loss in (701.0, 1e30, math.inf):
        assert loss_units(loss, TOTALS).perplexity == math.inf
    assert loss_units(math.inf, TOTALS).bits_per_character == math.inf
    assert math.isnan(loss_units(math.nan).bits)
