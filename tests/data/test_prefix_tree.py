"""The tree of prefixes: those of a loop over all items."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.data.corpus import encode_corpus
from mm_jax.data.prefix_tree import prefix_tree
from mm_jax.data.vocab import Vocab

ABC = Vocab((".", "a", "b", "c"))
LINES = st.lists(st.text("abc", min_size=1, max_size=5), max_size=12)


def prefixes_of(tree):
    """The prefix of each node, spelled from the edges."""
    prefixes = [""]
    for parent, symbol in zip(tree.parents.tolist(), tree.symbols.tolist(), strict=True):
        prefixes.append(prefixes[parent] + ABC.symbols[symbol])
    return prefixes


@given(LINES)
def test_it_has_every_prefix_once_and_how_many_items_end_there(lines):
    tree = prefix_tree(encode_corpus(lines, ABC))
    found = prefixes_of(tree)[1:]
    ended = [f"{line}." for line in lines]
    expected = {line[: i + 1] for line in ended for i in range(len(line))}
    assert len(found) == len(expected)
    assert {*found} == expected
    counts = Counter(ended)
    assert tree.items.tolist() == [counts[prefix] for prefix in found]


@given(LINES)
def test_each_edge_knows_a_prediction_that_reads_it(lines):
    corpus = encode_corpus(lines, ABC)
    tree, text = prefix_tree(corpus), "".join(ABC.symbols[i] for i in corpus.ids)
    for prefix, place in zip(prefixes_of(tree)[1:], tree.places.tolist(), strict=True):
        assert text[: place + 2].endswith(f".{prefix}")


@given(LINES)
def test_the_edges_of_a_node_stand_together_in_the_order_of_their_symbols(lines):
    tree = prefix_tree(encode_corpus(lines, ABC))
    keys = tree.parents * 4 + tree.symbols
    assert (np.diff(keys) > 0).all()
    for node, (first, end) in enumerate(zip(tree.first[:-1], tree.first[1:], strict=True)):
        assert (tree.parents[first:end] == node).all()
    assert tree.first[-1] == len(tree.parents)
    depths = [len(prefix) for prefix in prefixes_of(tree)[1:]]
    assert [depths.index(d) for d in sorted({*depths})] == list(tree.levels[:-1])
