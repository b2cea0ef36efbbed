"""How often the last two tokens occurred in train, the context of a trigram: a bin for each pair.

After a boundary only what follows it counts. The pairs that occurred stand in sorted rows
(sparse_rows.py), a row for each symbol that came first; all others are of the last bin, of what
never came (data/frequency_bins.py).

A table of N pairs over V symbols: ``first`` (V + 1,), where the pairs that begin with each symbol
begin in ``symbols`` (N,); ``bins`` (N,), the bin of each pair.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mm_jax.data.corpus import Corpus
from mm_jax.data.frequency_bins import frequency_bins, num_bins
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.models.base import Params
from mm_jax.models.sparse_rows import find_symbol, unusable_arrays

NUM_TOKENS = 2  # of a context
DTYPES = dict.fromkeys(("first", "symbols", "bins"), np.int32)


def frequency_table(corpus: Corpus) -> tuple[dict[str, np.ndarray], int]:
    """Return the table of the contexts of a corpus, and how many bins there are.

    Raises InputError where items have weights that are no whole numbers.
    """
    counts = count_corpus(corpus, NUM_TOKENS + 1)
    contexts, V = counts.contexts(), counts.vocab_size
    before, symbols = contexts.keys // V, contexts.keys % V
    bins = frequency_bins(contexts.counts, counts.total)
    table = {"first": np.searchsorted(before, np.arange(V + 1)), "symbols": symbols, "bins": bins}
    return as_table(table), num_bins(counts.total)


def empty_table(vocab_size: int) -> dict[str, np.ndarray]:
    """Return a table in which no pair occurs; its one number belongs to no row."""
    nothing = np.zeros(1, np.int32)
    return {"first": np.zeros(vocab_size + 1, np.int32), "symbols": nothing, "bins": nothing}


def as_table(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a table in their dtypes."""
    return {name: np.asarray(array, DTYPES[name]) for name, array in arrays.items()}


def bins_after(
    table: Params, before: Int[Array, "..."], last: Int[Array, "..."], unseen: int
) -> Int[Array, "..."]:
    """Return the bin of each pair of tokens; ``unseen`` of those that never came."""
    before = jnp.where(last == 0, 0, before)
    vocab_size = table["first"].shape[0] - 1
    place, occurs = find_symbol(table["first"], table["symbols"], before, last, vocab_size)
    return jnp.where(occurs, table["bins"][place], unseen)


def unusable_table(arrays: Mapping[str, Any], vocab_size: int, size: int) -> str | None:
    """Return why arrays of a file are no table with so many bins; None where they are."""
    for name in sorted(DTYPES.keys() ^ arrays.keys()):
        return f"{name} is {'missing' if name in DTYPES else 'unknown'}"
    num_pairs = len(np.atleast_1d(arrays["symbols"]))
    shapes = {"first": (vocab_size + 1,), "symbols": (num_pairs,), "bins": (num_pairs,)}
    ends = {"first": num_pairs + 1, "symbols": vocab_size, "bins": size}
    if problem := unusable_arrays(arrays, DTYPES, shapes, ends):
        return problem
    return None if num_pairs else "symbols is empty"
