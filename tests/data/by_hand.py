"""N-grams counted with Python's strings and numbers, to compare with the arrays."""

from collections import Counter

from hypothesis import strategies as st

ALPHABETS = ["a", "ab", "abc", "aé語\U0001f600"]
some_lines = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=9), min_size=1, max_size=8)
)


def count_by_hand(lines, order):
    """The n-grams of lines: boundaries before each line, one behind it."""
    padded = ["." * (order - 1) + line + "." for line in lines]
    return Counter(
        line[i : i + order] for line in padded for i in range(len(line) - order + 1) if order
    )


def number(ngram, vocab):
    """The symbols as digits, the oldest first, in Python's numbers, which have no limit."""
    value = 0
    for symbol in ngram:
        value = value * len(vocab) + vocab.symbols.index(symbol)
    return value


def assert_counts(counts, vocab, order, expected):
    """Counts are those of a Counter of strings, in the order of their numbers."""
    assert (counts.vocab_size, counts.order) == (len(vocab), order)
    pairs = sorted((number(ngram, vocab), count) for ngram, count in expected.items())
    assert list(zip(counts.keys.tolist(), counts.counts.tolist(), strict=True)) == pairs
    assert counts.total == expected.total()
    assert type(counts.total) is int
