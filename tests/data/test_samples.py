import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.data import DataConfig
from mm_jax.config.models import MAX_LEN
from mm_jax.config.training import NUM_SAMPLES
from mm_jax.data.samples import (
    DOCUMENT_LEN,
    LONGEST,
    NUM_OF_DOCUMENT,
    Samples,
    SampleShape,
    from_text,
    sample_shape,
    to_text,
)
from mm_jax.data.vocab import Vocab

symbols = st.sampled_from([*"ab \\nrN.", "\n", "\r", "\t", "\u2028", "\x85", "é"])
LINES, PARAGRAPHS = DataConfig(), DataConfig(items="paragraph")
BYTES = DataConfig(unit="byte")
VOCAB = Vocab((".", "a", "b"))


@given(
    st.lists(st.tuples(st.text(symbols, max_size=8), st.booleans()), min_size=1, max_size=5),
    st.sampled_from([PARAGRAPHS, BYTES]),
)
def test_samples_of_several_lines_come_back_from_their_text(pairs, data):
    texts, cut = map(list, zip(*pairs, strict=True))
    samples = Samples(texts, cut, 99)
    text = to_text(samples, data)
    assert text.count("\n") == len(pairs)
    assert from_text(text, data, 99)[:3] == samples[:3]


@given(st.lists(st.tuples(st.text(symbols.filter(lambda s: s != "\n")), st.booleans()), min_size=1))
def test_lines_come_back_as_they_were(pairs):
    texts, cut = map(list, zip(*pairs, strict=True))
    text = to_text(Samples(texts, cut, MAX_LEN), LINES)
    expected = [line + "\t(cut)" * was_cut for line, was_cut in pairs]
    assert text == "".join(line + "\n" for line in expected)
    assert from_text(text, LINES)[:3] == (texts, cut, MAX_LEN)


def test_what_was_cut_is_said_with_what_to_do():
    assert Samples(["a", "b"], [False, False], 100).note() is None
    note = Samples(["a", "b", "c"], [True, False, True], 100, "paragraphs").note()
    assert note == "2 of 3 paragraphs were cut at 100 symbols; for longer ones: --max-len 400"
    assert Samples(["a"], [True], 900_000).note().endswith("--max-len 1000000")


def test_ids_become_lines_and_the_last_symbol_says_whether_one_was_cut():
    tokens, ended = np.array([[1, 2, 0, 0], [2, 2, 2, 1]]), np.array([True, False])
    samples = SampleShape(4).samples(VOCAB, tokens, ended)
    assert samples == Samples(["ab", "bbba"], [False, True], 4)
    endless = SampleShape(4, endless=True).samples(VOCAB, tokens[1:], ended[1:])
    assert endless == Samples(["bbba"], [False], 4)


@pytest.mark.parametrize(
    ("items", "longest", "expected"),
    [
        ("line", None, MAX_LEN),
        ("line", 3, MAX_LEN),
        ("line", MAX_LEN, 2 * MAX_LEN),
        ("paragraph", 700, 1400),
        ("line", 10**6, LONGEST),
        ("document", 10**6, DOCUMENT_LEN),
        ("document", None, DOCUMENT_LEN),
    ],
)
def test_samples_may_be_twice_as_long_as_what_was_learned_within_limits(items, longest, expected):
    shape = sample_shape(items, longest)
    assert shape.options == {"max_len": expected, "endless": items == "document"}
    assert shape.num == (NUM_OF_DOCUMENT if items == "document" else NUM_SAMPLES)
    assert shape.what == {"line": "lines", "paragraph": "paragraphs"}.get(items, "samples")
