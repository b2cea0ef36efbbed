"""The automaton in both its forms. Its probabilities are tested in test_kneser_ney.py."""

import re

import jax
import numpy as np
import pytest

from mm_jax.data.vocab import build_vocab
from mm_jax.models import backoff_tables
from mm_jax.models.backoff import CHUNK, to_sparse
from mm_jax.models.baselines import ORDERS
from mm_jax.models.kneser_ney import fit_kneser_ney, kneser_ney
from tests.helpers import FIVE_NAMES, assert_trees_close, quick_jit
from tests.models.test_kneser_ney import MANY, TEXTS


@pytest.mark.parametrize("order", [*ORDERS, 9])
def test_both_forms_hold_the_same_model(order, monkeypatch):
    lines, vocab = TEXTS["all discounts"] + FIVE_NAMES, build_vocab(MANY.split() + FIVE_NAMES)
    dense, model = fit_kneser_ney(lines, vocab, order), kneser_ney(len(vocab), order)
    monkeypatch.setattr(backoff_tables, "MAX_CELLS", 0)
    sparse = fit_kneser_ney(lines, vocab, order)
    assert dense.keys() < sparse.keys()
    found_again = to_sparse(jax.device_get(dense))
    tokens = np.random.default_rng(0).integers(0, len(vocab), (50, order + 3), np.int32)
    for params in sparse, found_again:
        assert model.unusable(jax.device_get(params)) is None
        assert_trees_close(
            quick_jit(model.apply)(params, tokens), quick_jit(model.apply)(dense, tokens)
        )
    assert to_sparse(found_again) == found_again


def test_many_ngrams_of_one_state_are_read_in_chunks(monkeypatch):
    """After "a" more symbols came than a chunk has, and others after what is before it."""
    letters = [chr(0x4E00 + i) for i in range(3 * CHUNK // 2)]
    lines = ["a" + letter for letter in letters] + ["ba" + letter for letter in letters[::2]]
    vocab = build_vocab(lines)
    dense, model = fit_kneser_ney(lines, vocab, 3), kneser_ney(len(vocab), 3)
    monkeypatch.setattr(backoff_tables, "MAX_CELLS", 0)
    sparse = fit_kneser_ney(lines, vocab, 3)
    assert int(sparse["longest"]) > 2 * CHUNK
    tokens = np.asarray(
        [vocab.symbols.index(symbol) for symbol in ".ba" + letters[0] + ".a" + letters[1]]
    )
    assert_trees_close(
        quick_jit(model.apply)(sparse, tokens), quick_jit(model.apply)(dense, tokens)
    )


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("first", lambda array: array[:-1], r"first is int32\[\d+\], should be int32\[\d+\]"),
        ("shares", lambda array: array * np.nan, "shares is not finite"),
        ("symbols", lambda array: array + 99, "symbols has a number out of its range"),
        ("parents", lambda array: array - 1, "parents has a number out of its range"),
        ("gammas", lambda array: array.astype(np.float64), "gammas is float64.*float32"),
        ("other", lambda _: np.zeros(1), "other is unknown"),
        ("next", lambda _: None, "next is missing"),
    ],
)
def test_arrays_that_are_no_parameters_are_told(name, change, problem):
    lines = TEXTS["five names"]
    vocab = build_vocab(lines)
    model = kneser_ney(len(vocab), 3)
    params = to_sparse(jax.device_get(fit_kneser_ney(lines, vocab, 3)))
    assert model.unusable(params) is None
    params[name] = change(params.get(name))
    assert re.match(problem, model.unusable({k: v for k, v in params.items() if v is not None}))
