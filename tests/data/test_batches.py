import random
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data.batches import distinct, pad_batch, rows, windows
from mm_jax.data.splits import split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import SymbolError, build_vocab
from mm_jax.models.mlp import mlp
from mm_jax.training.loss import loss, nats
from tests.helpers import FIVE_NAMES, assert_trees_close, first_params, quick_jit

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
LETTERS = build_vocab([ALPHABET])
few_lines = st.lists(st.text("abcz", max_size=9), min_size=1, max_size=6)


def slow_windows(lines, context):
    """The lecture's loop, in Python."""
    tokens, targets = [], []
    for line in lines:
        window = [0] * context
        for symbol in [*line, "."]:
            target = "." + ALPHABET
            tokens.append(window)
            targets.append(target.index(symbol))
            window = [*window[1:], targets[-1]]
    return tokens, targets


@given(few_lines, st.integers(1, 6))
def test_windows_are_those_of_the_lectures_loop(lines, context):
    batch = windows(lines, LETTERS, context)
    tokens, targets = slow_windows(lines, context)
    assert batch.tokens.tolist() == tokens
    assert batch.targets.tolist() == targets
    assert batch.weights.tolist() == [1.0] * len(targets)
    assert batch.tokens.dtype == batch.targets.dtype == jnp.int32
    assert batch.weights.dtype == jnp.float32


@given(few_lines, st.integers(1, 6), st.integers(0, 3))
def test_rows_hold_the_windows_of_each_line_and_weights_say_where(lines, context, more):
    length = max(map(len, lines)) + more
    batch = rows(lines, LETTERS, context, length if more else None)
    assert batch.tokens.shape == (len(lines), context + length)
    assert batch.targets.shape == batch.weights.shape == (len(lines), length + 1)
    assert batch.tokens.dtype == batch.targets.dtype == jnp.int32
    tokens, targets, weights = map(np.asarray, (batch.tokens, batch.targets, batch.weights))
    for line, row, row_targets, row_weights in zip(lines, tokens, targets, weights, strict=True):
        cut = [row[i : i + context].tolist() for i in range(len(line) + 1)]
        assert (cut, row_targets[: len(line) + 1].tolist()) == slow_windows([line], context)
        assert row_weights.tolist() == [1.0] * (len(line) + 1) + [0.0] * (length - len(line))
        assert not row[context + len(line) :].any()
        assert not row_targets[len(line) + 1 :].any()


def test_emma_is_the_lectures_five_examples():
    batch = windows(["emma"], LETTERS, 3)
    printed = [
        "".join(LETTERS.symbols[i] for i in window) + "->" + LETTERS.symbols[target]
        for window, target in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True)
    ]
    assert printed == ["...->e", "..e->m", ".em->m", "emm->a", "mma->."]


def test_the_first_five_names_give_the_lectures_32_targets():
    batch = windows(FIVE_NAMES, LETTERS, 3)
    expected = "5 13 13 1 0 15 12 9 22 9 1 0 1 22 1 0 9 19 1 2 5 12 12 1 0 19 15 16 8 9 1 0"
    assert batch.targets.tolist() == [int(i) for i in expected.split()]
    assert batch.tokens.shape == (32, 3)


def test_the_names_have_the_lectures_alphabet_and_one_window_per_prediction():
    lines = read_lines("names").lines
    assert build_vocab(lines) == LETTERS
    part = split_lines(lines).dev
    batch = windows(part, LETTERS, 3)
    assert batch.tokens.shape == (len("".join(part)) + len(part), 3)


@pytest.mark.parametrize("context", [1, 3, 5])
def test_windows_and_rows_give_the_same_nats_and_loss(context):
    model = mlp(27, context=context, embed_dim=4, hidden_dim=16)
    params = first_params(model)
    flat, padded = windows(FIVE_NAMES, LETTERS, context), rows(FIVE_NAMES, LETTERS, context)

    def both(params, batch):
        return nats(model, params, batch), loss(model, params, batch)

    one, other = (jax.device_get(quick_jit(both)(params, batch)) for batch in (flat, padded))
    assert_trees_close(other[0][np.asarray(padded.weights) > 0], one[0])
    assert_trees_close(other[1], one[1])


def test_many_lines_become_examples_without_a_loop_over_symbols():
    generator = random.Random(0)
    lines = ["".join(generator.choices("abc", k=generator.randint(1, 9))) for _ in range(100_000)]
    num = sum(map(len, lines)) + len(lines)
    batch = windows(lines, LETTERS, 3)
    assert batch.tokens.shape == (num, 3)
    assert batch.targets.shape == (num,)
    assert int((batch.targets == 0).sum()) == len(lines)
    assert rows(lines, LETTERS, 3).tokens.shape == (len(lines), 3 + 9)


def test_a_row_length_too_short_for_the_longest_line_is_refused():
    with pytest.raises(InputError, match="8 symbols, more than the row's 7"):
        rows(FIVE_NAMES, LETTERS, 3, 7)
    assert rows(FIVE_NAMES, LETTERS, 3, 8).tokens.shape == (5, 11)


@pytest.mark.parametrize("layout", [windows, rows])
def test_wrong_input_is_refused(layout):
    with pytest.raises(InputError, match="context must be at least 1, not 0"):
        layout(["emma"], LETTERS, 0)
    with pytest.raises(InputError, match="no lines"):
        layout([], LETTERS, 3)
    with pytest.raises(SymbolError, match="'1'"):
        layout(["emma", "emm1"], LETTERS, 3)


@given(few_lines, st.integers(1, 3))
def test_distinct_examples_are_counted_by_hand(lines, context):
    batch = distinct(windows(lines, LETTERS, context))
    tokens, targets = slow_windows(lines, context)
    expected = Counter((*window, target) for window, target in zip(tokens, targets, strict=True))
    rows_of = np.column_stack([batch.tokens, batch.targets]).tolist()
    assert [tuple(row) for row in rows_of] == sorted(expected)
    assert batch.weights.tolist() == [expected[tuple(row)] for row in rows_of]


def test_distinct_rows_keep_the_weights_of_each_prediction():
    batch = distinct(rows(["ab", "a", "ab", "ab"], LETTERS, 1))
    assert batch.tokens.tolist() == [[0, 1, 0], [0, 1, 2]]
    assert batch.targets.tolist() == [[1, 0, 0], [1, 2, 0]]
    assert batch.weights.tolist() == [[1, 1, 0], [3, 3, 3]]


@pytest.mark.parametrize("layout", [windows, rows])
def test_padding_adds_examples_of_weight_zero(layout):
    batch = layout(FIVE_NAMES, LETTERS, 3)
    count = len(batch.targets)
    for multiple in (1, count, 7):
        padded = pad_batch(batch, multiple)
        assert len(padded.targets) == -(-count // multiple) * multiple
        for before, after in zip(jax.tree.leaves(batch), jax.tree.leaves(padded), strict=True):
            assert np.array_equal(after[:count], before)
            assert not np.asarray(after[count:]).any()
