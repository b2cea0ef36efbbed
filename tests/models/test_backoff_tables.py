"""Tables by hand. Whole models of them: test_kneser_ney.py and test_interpolated.py."""

import jax
import numpy as np
import pytest

from mm_jax.data.ngram_counts import count_lines
from mm_jax.data.ngram_numbers import Numbering
from mm_jax.data.vocab import build_vocab
from mm_jax.models import backoff_tables
from mm_jax.models.backoff import backoff
from mm_jax.models.backoff_tables import (
    Level,
    Tables,
    from_tables,
    group,
    ngram_log_probs,
    within_an_item,
)
from tests.helpers import quick_jit

# Symbols 0 (the boundary), 1 and 2; after nothing all but 2 came, after 1 only 1 came.
TABLES = Tables(
    3,
    [
        Level(np.array([0, 1]), np.array([0.3, 0.4]), np.array([0]), np.array([0.3])),
        Level(np.array([4]), np.array([0.8]), np.array([1]), np.array([0.2])),
    ],
)
UNIGRAM = np.array([0.3 + 0.1, 0.4 + 0.1, 0.1])
BIGRAM = 0.2 * UNIGRAM + [0, 0.8, 0]


def test_the_probabilities_of_all_bigrams_by_hand():
    found = np.exp(ngram_log_probs(TABLES, np.arange(9))).reshape(3, 3)
    np.testing.assert_allclose(found, [UNIGRAM, BIGRAM, UNIGRAM], rtol=1e-12)


@pytest.mark.parametrize("most", [2**21, 0], ids=["all computed beforehand", "sparse"])
def test_the_parameters_say_the_same(monkeypatch, most):
    monkeypatch.setattr(backoff_tables, "MAX_CELLS", most)
    params = from_tables(TABLES)
    assert ("parents" in params) == (most == 0)
    model = backoff(3, 2)
    assert model.unusable(jax.device_get(params)) is None
    found = np.exp(quick_jit(model.apply)(params, np.arange(3)[:, None]))[:, 0]
    np.testing.assert_allclose(found, [UNIGRAM, BIGRAM, UNIGRAM], rtol=1e-6)


def test_ngrams_are_grouped_by_their_contexts():
    ngrams, counts = np.array([0, 2, 12, 13, 19, 70]), np.array([5, 1, 2, 3, 4, 9])
    found = group(ngrams, counts, Numbering(10, 2))
    assert [each.tolist() for each in found] == [[0, 1, 7], [6, 9, 9], [0, 0, 1, 1, 1, 2]]
    nothing = group(ngrams[:0], counts[:0], Numbering(10, 2))
    assert [each.tolist() for each in nothing] == [[], [], []]


def test_within_an_item_a_boundary_is_first_or_predicted():
    counts = count_lines(["ab", "a"], build_vocab(["ab"]), 3)
    vocab = build_vocab(["ab"])
    within = within_an_item(counts)
    spelled = [counts.spell(key, vocab) for key in counts.keys]
    assert dict(zip(spelled, within.tolist(), strict=True)) == {
        "..a": False,
        ".a.": True,
        ".ab": True,
        "ab.": True,
    }
