"""Text cut and n-grams counted with Python's strings and numbers, to compare with the arrays."""

from collections import Counter

from hypothesis import strategies as st

ALPHABETS = ["a", "ab", "abc", "aé語\U0001f600"]
some_lines = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=9), min_size=1, max_size=8)
)


def plain_lines(text):
    """The lines of a text, whatever ends each; nothing follows the last end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def text_of(data, in_bytes=False):
    """The text of a file without marks, how many of them were inside it, and what white space is.

    Where tokens are bytes, each is a symbol, and only white space of ASCII counts.
    """
    if in_bytes:
        return data.decode("latin-1"), 0, " \t\n\r\v\f"
    text = data.decode().removeprefix("\ufeff")
    return text.replace("\ufeff", ""), text.count("\ufeff"), None


def lines_by_hand(data, in_bytes=False):
    """The lines of a file that are not blank, the number of each from 1, and that of blank ones."""
    text, _, spaces = text_of(data, in_bytes)
    raw = [line.strip(spaces) for line in plain_lines(text)]
    numbers = [number for number, line in enumerate(raw, 1) if line]
    last_is_none = not plain_lines(text)[-1]
    lines = [line for line in raw if line]
    return lines, numbers, len(raw) - last_is_none - len(lines)


def paragraphs_by_hand(data, in_bytes=False):
    """Runs of lines that are not blank, each line without white space at its end."""
    text, _, spaces = text_of(data, in_bytes)
    runs, run = [], []
    for line in [*plain_lines(text), ""]:
        line = line.rstrip(spaces)
        if line:
            run.append(line)
        elif run:
            runs.append("\n".join(run))
            run = []
    return runs


def document_by_hand(data, in_bytes=False):
    """The text of a file without marks, lines ended by newlines; of bytes all as they are."""
    text = text_of(data, in_bytes)[0]
    return text if in_bytes else "\n".join(plain_lines(text))


def count_by_hand(lines, order, boundary="."):
    """The n-grams of lines: boundaries before each line, one behind it."""
    padded = [boundary * (order - 1) + line + boundary for line in lines]
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
