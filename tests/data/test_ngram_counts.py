from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_jax
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import ngram_counts, ngrams
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.dataset import load_dataset
from mm_jax.data.file_summary import summarize_splits
from mm_jax.data.ngram_counts import (
    CHUNK_SYMBOLS,
    MAX_TABLE_CELLS,
    Tally,
    count_corpus,
    count_lines,
    count_ngrams,
    count_stream,
)
from mm_jax.data.ngram_numbers import Numbering, highest_order
from mm_jax.data.splits import split_lines
from mm_jax.data.streaming import Stream
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import SymbolError, Vocab, build_vocab
from tests.data.by_hand import ALPHABETS, assert_counts, count_by_hand, some_lines

ORDERS = range(1, 7)
TABLES = [0, MAX_TABLE_CELLS]  # by sorting, and, where there are few cells, in a table


@pytest.fixture(params=TABLES, ids=["sorted", "table"])
def _way(request, monkeypatch):
    """Run a test both ways: all n-grams are counted by sorting, and in a table."""
    monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", request.param)


@given(some_lines, st.sampled_from(ORDERS), st.sampled_from(TABLES))
def test_lines_are_counted_as_a_counter_does(lines, order, table):
    vocab = build_vocab(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram_counts, "MAX_TABLE_CELLS", table)
        counts = count_lines(lines, vocab, order)
    assert_counts(counts, vocab, order, count_by_hand(lines, order))


@given(some_lines, st.integers(1, 4))
def test_the_table_has_an_axis_for_each_symbol_the_oldest_first(lines, order):
    vocab, expected = build_vocab(lines), count_by_hand(lines, order)
    table = count_ngrams(lines, vocab, order)
    assert table.shape == (len(vocab),) * order
    assert table.dtype == np.int32
    for place in np.ndindex(table.shape):
        assert table[place] == expected["".join(vocab.symbols[i] for i in place)]


def test_a_symbol_that_is_not_known_is_refused():
    with pytest.raises(SymbolError, match="'x' at place 2 of 'ax'"):
        count_lines(["aa", "ax"], build_vocab(["a"]), 2)


def test_a_table_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(ngrams, "memory_bytes", lambda: 4 * 4 * 27**3)
    letters = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
    for refused in (count_ngrams, mm_jax.fit_ngram):
        with pytest.raises(InputError, match=r"27\^4 = 5.31e\+5 counts"):
            refused(["emma"], letters, 4)


@pytest.mark.parametrize(("vocab_size", "order"), [(1, 0), (1, -1), (1, 31), (27, 21), (1501, 10)])
def test_an_order_that_has_no_numbers_is_refused(vocab_size, order):
    vocab = Vocab((".", *map(chr, range(0x4E00, 0x4E00 + vocab_size - 1))))
    with pytest.raises(InputError, match="can have orders 1 to"):
        count_lines([vocab.symbols[-1] * 3] if vocab_size > 1 else [""], vocab, order)


def test_a_vocabulary_of_the_boundary_alone_is_counted():
    assert count_lines([""], Vocab((".",)), 2).counts.tolist() == [1]


def test_a_word_is_the_lectures_bigrams():
    vocab = build_vocab(["emma"])
    counts = count_lines(["emma"], vocab, 2)
    spelled = {counts.spell(key, vocab) for key in counts.keys.tolist()}
    assert spelled == {".e", "em", "mm", "ma", "a."}


@given(some_lines, st.data(), st.sampled_from(ORDERS), st.sampled_from(TABLES))
def test_a_weight_counts_the_ngrams_of_its_line_so_many_times(lines, data, order, table):
    vocab = build_vocab(lines)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(lines), max_size=len(lines)))
    repeated = [line for line, weight in zip(lines, weights, strict=True) for _ in range(weight)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram_counts, "MAX_TABLE_CELLS", table)
        patch.setattr(ngram_counts, "CHUNK_SYMBOLS", 5)
        counts = count_corpus(encode_corpus(lines, vocab, [*map(float, weights)]), order)
    assert_counts(counts, vocab, order, count_by_hand(repeated, order))


def test_weights_that_are_no_whole_numbers_cannot_be_counted():
    vocab = build_vocab(["ab"])
    with pytest.raises(InputError, match="weights that are whole numbers only"):
        count_corpus(encode_corpus(["ab"], vocab, [0.5]), 2)


def test_lines_need_their_vocabulary():
    with pytest.raises(InputError, match="give the vocabulary of the lines"):
        count_ngrams(["ab"])
    assert count_ngrams(encode_corpus(["a"], build_vocab(["a"]))).tolist() == [[0, 1], [1, 0]]


# Files in pieces, train and dev


def of_file(path, lines, config, order, piece_bytes):
    """Count a file of lines, and say what train and dev should be."""
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    stream = Stream(config, piece_bytes)
    summary = summarize_splits(stream)
    splits = split_lines(lines, config.split, config.split_seed)
    return summary.vocab, count_stream(stream, summary, order), (splits.train, splits.dev)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("counts") / "lines.txt"


many_lines = st.sampled_from(ALPHABETS[1:]).flatmap(
    lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=6), min_size=10, max_size=30)
)


@given(
    many_lines,
    st.sampled_from(ORDERS),
    st.sampled_from(["lecture", "unique", "none"]),
    st.integers(0, 9),
    st.sampled_from([1, 2, 3, 7, 2**18]),
    st.sampled_from(TABLES),
    st.sampled_from([1, 2, 5, CHUNK_SYMBOLS]),
)
@settings(max_examples=80)
def test_a_file_is_counted_as_its_train_and_dev_lines_are(
    path, lines, order, scheme, seed, piece_bytes, table, at_once
):
    if scheme == "unique":  # enough different lines, each twice
        lines = [line + end for line in dict.fromkeys(lines) for end in lines[0][:1] * 2]
        lines += [lines[0][:1] * num for num in range(1, 12)]
    config = DataConfig(data=str(path), split=scheme, split_seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram_counts, "MAX_TABLE_CELLS", table)
        patch.setattr(ngram_counts, "CHUNK_SYMBOLS", at_once)
        vocab, counted, expected = of_file(path, lines, config, order, piece_bytes)
    assert len(counted) == 2
    for counts, part in zip(counted, expected, strict=True):
        assert_counts(counts, vocab, order, count_by_hand(part, order))


def test_every_symbol_of_ascii_keeps_its_id(path):
    ascii_symbols = [chr(code) for code in range(1, 128) if chr(code) not in "\n\r"]
    lines = [f"x{symbol}y" for symbol in ascii_symbols] * 2
    config = DataConfig(data=str(path), split="none")
    vocab, (counts, _), _ = of_file(path, lines, config, 2, 64)
    assert vocab.symbols == ("↵", *ascii_symbols)
    assert_counts(counts, vocab, 2, count_by_hand(lines, 2, "↵"))


def test_lines_of_ascii_and_of_other_symbols_stand_in_one_file(path):
    lines = ["ab", "é", "ba", "語b", "b" * 40, "aé"] * 5
    for piece_bytes in (4, 2**18):
        config = DataConfig(data=str(path))
        vocab, counted, parts = of_file(path, lines, config, 3, piece_bytes)
        for counts, part in zip(counted, parts, strict=True):
            assert_counts(counts, vocab, 3, count_by_hand(part, 3))


@given(
    st.text(["a", "b", " ", "\n", "é"], min_size=40, max_size=120),
    st.sampled_from(["line", "paragraph", "document"]),
    st.sampled_from(["char", "byte", "word"]),
    st.sampled_from(["lecture", "none"]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 3, 8, 2**18]),
)
@settings(max_examples=80)
def test_each_kind_of_item_is_counted_as_its_corpora_are(
    path, text, items, unit, scheme, order, piece_bytes
):
    ends = {"line": "\n", "paragraph": "\n\n", "document": " "}[items]
    path.write_text(ends.join([text, *"aabbaabbaabba"]), "utf-8")
    config = DataConfig(data=str(path), items=items, unit=unit, split=scheme)
    stream = Stream(config, piece_bytes)
    summary = summarize_splits(stream)
    dataset = load_dataset(config)
    for counts, part in zip(count_stream(stream, summary, order), dataset.splits[:2], strict=True):
        expected = count_corpus(part, order)
        assert counts.keys.tolist() == expected.keys.tolist()
        assert counts.counts.tolist() == expected.counts.tolist()
    assert summary.record == dataset.record


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("scheme", ["lecture", "unique", "none"])
def test_the_names_are_counted_in_pieces_as_at_once(scheme):
    config = DataConfig(split=scheme)
    stream = Stream(config, 10_000)
    summary = summarize_splits(stream)
    splits = load_dataset(config).splits
    for counts, part in zip(count_stream(stream, summary, 3), splits[:2], strict=True):
        assert_counts(counts, summary.vocab, 3, count_by_hand(part.items(), 3))


def test_the_names_have_as_many_bigrams_as_predictions():
    """The pairs of the first lecture: as many begin with a symbol as end with it."""
    lines = read_lines("names").lines
    vocab = build_vocab(lines)
    table = count_ngrams(lines, vocab)
    assert table.shape == (27, 27)
    assert table.sum() == sum(map(len, lines)) + len(lines)
    assert (table.sum(0) == table.sum(1)).all()
    assert table[0, 0] == 0
    first, last = Counter(line[0] for line in lines), Counter(line[-1] for line in lines)
    for i, symbol in enumerate(vocab.symbols[1:], 1):
        assert (table[0, i], table[i, 0]) == (first[symbol], last[symbol])


@pytest.mark.parametrize("scheme", ["lecture", "none"])
@pytest.mark.parametrize("piece_bytes", [4, 2**18])
@pytest.mark.parametrize("more", ["ab\n" * 9, "z\n", "ab é\n", "\U0001f600\n", "b", "x" * 99])
def test_a_file_that_grows_before_it_is_counted_is_refused(path, scheme, piece_bytes, more):
    for lines in ["ab", "ba"] * 10, ["aé", "ba"] * 10:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        stream = Stream(DataConfig(data=str(path), split=scheme), piece_bytes)
        summary = summarize_splits(stream)
        path.write_text("\n".join(lines[1:]) + "\n" + more, "utf-8")
        with pytest.raises(InputError, match="has changed while it was read"):
            count_stream(stream, summary, 3)


# The tally


def ngrams_of_chance(order, vocab_size, num, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, vocab_size**order, num), generator.integers(0, 2, num)


def assert_tally(result, order, vocab_size, keys, parts):
    """The counts of both parts, of the newest symbols of each n-gram."""
    for part, counts in enumerate(result):
        expected = Counter((keys[parts == part] % vocab_size**order).tolist())
        assert (counts.vocab_size, counts.order) == (vocab_size, order)
        assert dict(zip(counts.keys.tolist(), counts.counts.tolist(), strict=True)) == expected
        assert (np.diff(counts.keys) > 0).all()


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("pieces", [1, 2, 10])
def test_pieces_add_up(pieces):
    keys, parts = ngrams_of_chance(4, 5, 2000)
    tally = Tally(4, 5)
    for piece in zip(np.array_split(keys, pieces), np.array_split(parts, pieces), strict=True):
        tally.add(*piece)
    assert_tally(tally.result(), 4, 5, keys, parts)


@pytest.mark.usefixtures("_way")
def test_a_part_may_be_the_same_for_all():
    keys, _ = ngrams_of_chance(3, 4, 500)
    tally = Tally(3, 4)
    for part in (0, 1):
        tally.add(keys, part)
    for part in tally.result():
        assert_tally([part], 3, 4, keys, np.zeros_like(keys))


@pytest.mark.usefixtures("_way")
def test_a_tally_of_nothing_is_empty():
    assert [(counts.order, counts.total) for counts in Tally(2, 3).result()] == [(2, 0), (2, 0)]


@pytest.mark.parametrize("vocab_size", [2, 27, 70_000])
def test_the_highest_order_is_counted_in_both_splits(vocab_size):
    order = highest_order(vocab_size)
    tally = Tally(order, vocab_size)
    numbering = Numbering(vocab_size, order)
    tally.add(numbering.at_ends(np.array([vocab_size - 1] * order + [0])), 1)
    train, dev = tally.result()
    assert train.total == 0
    assert dev.total == order + 1
    assert numbering.symbols(dev.keys[-1:]).tolist() == [[vocab_size - 1] * order]


@pytest.mark.parametrize("most", [6, 7, 18, 19, 30, 54, 55, 1000])
@pytest.mark.parametrize("num", [60, 2000])
def test_more_ngrams_than_can_be_held_are_counted_by_a_lower_order(monkeypatch, most, num):
    monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)
    keys, parts = ngrams_of_chance(4, 3, num)
    able = [
        order
        for order in (1, 2, 3, 4)
        if len(set(zip((keys % 3**order).tolist(), parts.tolist(), strict=True))) <= most
    ]
    tally = Tally(4, 3, most)
    for piece in zip(np.array_split(keys, 10), np.array_split(parts, 10), strict=True):
        tally.add(*piece)
    assert_tally(tally.result(), max(able), 3, keys, parts)


def test_pieces_are_merged_on_the_way_and_higher_orders_still_come_in():
    # With the second piece more than 2**20 n-grams wait, and are merged.
    tally, all_keys, all_parts = Tally(21, 2, max_ngrams=2**18), [], []
    for part, num in (0, 2**20), (1, 2**18), (0, 1000), (1, 2000):
        keys = np.arange(num) * 1_000_003 % 2**21  # an odd factor: no number comes twice
        all_keys.append(keys)
        all_parts.append(np.full(num, part))
        tally.add(keys, part)
        if len(all_keys) == 2:
            assert tally.num_pending == 0
            assert tally.order == 17
    keys, parts = np.concatenate(all_keys), np.concatenate(all_parts)
    # Of order 17 each part has all 2**17, which makes the 2**18 that may be held.
    for part, counts in enumerate(tally.result()):
        assert counts.order == 17
        expected = np.bincount(keys[parts == part] % 2**17, minlength=2**17)
        assert np.array_equal(counts.keys, np.arange(2**17))
        assert np.array_equal(counts.counts, expected)


def test_a_file_of_too_many_ngrams_is_that_of_the_lower_order(path, monkeypatch):
    monkeypatch.setattr(ngram_counts, "MAX_TABLE_CELLS", 0)
    lines = ["abc", "acb", "bca", "bac", "cab", "cba", "aab", "abb", "bbc", "cca"] * 2
    for most, order in (1000, 5), (30, 2), (8, 1):
        monkeypatch.setattr(ngram_counts, "MAX_NGRAMS", most)
        config = DataConfig(data=str(path))
        vocab, counted, parts = of_file(path, lines, config, 5, 8)
        distinct = [sum(len(count_by_hand(part, n)) for part in parts) for n in range(6)]
        assert distinct[order] <= most
        assert order == 5 or distinct[order + 1] > most
        for counts, part in zip(counted, parts, strict=True):
            assert_counts(counts, vocab, order, count_by_hand(part, order))
