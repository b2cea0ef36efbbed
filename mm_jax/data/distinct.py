"""Each distinct example of a corpus once, weighted: the same loss as all, with less work."""

import numpy as np

from mm_jax.data.batches import Batch, distinct, on_device, rows, windows
from mm_jax.data.corpus import Corpus
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngram_numbers import highest_order


def distinct_examples(corpus: Corpus, context: int | None) -> Batch:
    """Return each distinct example that a model of this context reads, with the sum of its weights.

    Windows are counted as n-grams of context + 1 symbols; they come sorted, as ``distinct`` has
    them.
    """
    if context is None:
        return distinct(rows(corpus))
    vocab_size, order, weights = len(corpus.vocab), context + 1, corpus.weights
    are_whole = weights is None or (weights == np.floor(weights)).all()
    if order > highest_order(vocab_size) or not are_whole:
        return distinct(windows(corpus, context=context))
    counts = count_corpus(corpus, order)
    columns = counts.numbering.symbols(counts.keys).astype(np.int32)
    return on_device(columns[:, :-1], columns[:, -1], counts.counts.astype(np.float32))
