"""All items of a corpus as a tree of their prefixes. Imports no jax.

Node 0 is the empty prefix, and edge e leads to node e + 1, the prefix that is one symbol longer.
Edges are sorted by the node they leave, then by symbol; that of a boundary is the end of an item.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from mm_jax.data.corpus import Corpus


class PrefixTree(NamedTuple):
    """The N edges of a tree of prefixes, level after level."""

    parents: Int64[np.ndarray, " N"]  # the node that each edge leaves
    symbols: Int64[np.ndarray, " N"]
    places: Int64[np.ndarray, " N"]  # a prediction of the corpus that reads each edge
    items: Int64[np.ndarray, " N"]  # how many items of the corpus end with each edge
    levels: tuple[int, ...]  # where the edges of each length of a prefix begin, and N

    @property
    def first(self) -> Int64[np.ndarray, " nodes_and_end"]:
        """Where the edges of each node begin, and N."""
        return np.searchsorted(self.parents, np.arange(len(self.parents) + 2))


def prefix_tree(corpus: Corpus) -> PrefixTree:
    """Return the tree of all prefixes of items, which is not for a document."""
    reading = corpus.offsets[:-1] + 1  # of each item, the place of the symbol that comes next
    nodes, size = np.zeros(len(reading), np.int64), np.int64(len(corpus.vocab))
    levels, parts = [0], []
    while len(reading):
        symbols = np.asarray(corpus.ids[reading], np.int64)
        keys, one, edges, counts = np.unique(
            nodes * size + symbols, return_index=True, return_inverse=True, return_counts=True
        )
        ends = keys % size == 0
        parts.append((keys // size, keys % size, reading[one] - 1, counts * ends))
        goes_on = symbols != 0
        nodes, reading = levels[-1] + 1 + edges[goes_on], reading[goes_on] + 1
        levels.append(levels[-1] + len(keys))
    none = (np.zeros(0, np.int64),) * 4
    arrays = (np.concatenate(each) for each in zip(none, *parts, strict=True))
    parents, symbols, places, items = arrays
    return PrefixTree(parents, symbols, places, items, tuple(levels))
