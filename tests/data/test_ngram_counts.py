import itertools
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mm_jax
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import ngram_counts as counts_room
from mm_jax.data.ngram_counts import (
    CHUNK_SYMBOLS,
    MAX_TABLE_CELLS,
    Counts,
    Tally,
    ascii_table,
    check_fits,
    count_lines,
    count_ngrams,
    count_stream,
    find,
    fits,
    highest_order,
    ngram_keys,
    sum_by,
)
from mm_jax.data.splits import load_splits, split_lines
from mm_jax.data.streaming import Stream, summarize_file
from mm_jax.data.vocab import SymbolError, Vocab, build_vocab
from mm_jax.runtime import hardware
from mm_jax.runtime.hardware import memory_bytes

ORDERS = range(1, 7)
TABLES = [0, MAX_TABLE_CELLS]  # by sorting, and, where there are few cells, in a table
EMPTY = np.zeros(0, np.int64)
ALPHABETS = ["a", "ab", "abc", "aé語\U0001f600"]
some_lines = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=9), min_size=1, max_size=8)
)


def slow(lines, order):
    """The n-grams of lines by hand: boundaries before each line, one behind it."""
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


@pytest.fixture(params=TABLES, ids=["sorted", "table"])
def _way(request, monkeypatch):
    """Run a test both ways: all n-grams are counted by sorting, and in a table."""
    monkeypatch.setattr(counts_room, "TABLE", request.param)


@given(some_lines, st.sampled_from(ORDERS))
def test_each_place_of_a_line_has_the_number_of_its_ngram(lines, order):
    vocab = build_vocab(lines)
    ids = [vocab.symbols.index(symbol) for line in lines for symbol in [*line, "."]]
    padded = ["." * (order - 1) + line + "." for line in lines]
    expected = [
        number(line[i : i + order], vocab) for line in padded for i in range(len(line) - order + 1)
    ]
    for dtype in np.uint8, np.int32, np.int64:
        keys = ngram_keys(np.array(ids, dtype), order, len(vocab))
        assert keys.dtype == np.int64
        assert keys.tolist() == expected


@given(some_lines, st.sampled_from(ORDERS), st.sampled_from(TABLES))
def test_lines_are_counted_as_a_counter_does(lines, order, table):
    vocab = build_vocab(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_room, "TABLE", table)
        counts = count_lines(lines, vocab, order)
    assert_counts(counts, vocab, order, slow(lines, order))


@given(some_lines, st.integers(1, 4))
def test_the_table_has_an_axis_for_each_symbol_the_oldest_first(lines, order):
    vocab, expected = build_vocab(lines), slow(lines, order)
    table = count_ngrams(lines, vocab, order)
    assert table.shape == (len(vocab),) * order
    assert table.dtype == np.int32
    for place in np.ndindex(table.shape):
        assert table[place] == expected["".join(vocab.symbols[i] for i in place)]


@given(some_lines, st.sampled_from(ORDERS))
def test_lower_orders_and_contexts_forget_the_oldest_and_the_newest_symbol(lines, order):
    vocab = build_vocab(lines)
    counts = count_lines(lines, vocab, order)
    for lower in range(1, order + 1):
        assert_counts(counts.lower(lower), vocab, lower, slow(lines, lower))
    before = Counter()
    for ngram, count in slow(lines, order).items():
        before[ngram[:-1]] += count
    assert_counts(counts.contexts(), vocab, order - 1, before)


@given(some_lines, st.integers(1, 4))
def test_what_never_came_is_found_no_times_and_the_rest_as_often_as_it_came(lines, order):
    vocab, expected = build_vocab(lines), slow(lines, order)
    counts = count_lines(lines, vocab, order)
    all_ngrams = ["".join(ngram) for ngram in itertools.product(vocab.symbols, repeat=order)]
    keys = np.array([number(ngram, vocab) for ngram in all_ngrams])
    assert counts.find(keys).tolist() == [expected[ngram] for ngram in all_ngrams]
    assert counts.find(keys[::-1]).tolist() == [expected[ngram] for ngram in all_ngrams[::-1]]
    nothing = Counts(len(vocab), order, EMPTY, EMPTY)
    assert nothing.find(keys).tolist() == [0] * len(keys)
    assert [counts.spell(key, vocab) for key in keys.tolist()] == all_ngrams


def test_nothing_counts_as_nothing():
    nothing = Counts(3, 2, EMPTY, EMPTY)
    assert nothing.total == 0
    assert nothing.dense().tolist() == [[0] * 3] * 3
    for less in nothing.lower(1), nothing.contexts():
        assert (less.order, less.keys.tolist(), less.counts.tolist()) == (1, [], [])
    for table in TABLES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(counts_room, "TABLE", table)
            parts = Tally(2, 3).result()
        assert [(part.order, part.total) for part in parts] == [(2, 0), (2, 0)]


@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 10**12)), max_size=20))
def test_values_are_summed_by_key_and_keys_found(pairs):
    expected = Counter()
    for key, value in pairs:
        expected[key] += value
    given_keys, values = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    keys, sums = sum_by(given_keys, values)
    assert keys.tolist() == sorted(expected)
    assert sums.tolist() == [expected[key] for key in sorted(expected)]
    queries = np.arange(-4, 11)
    place, found = find(keys, queries)
    assert found.tolist() == [key in expected for key in queries.tolist()]
    assert keys[place[found]].tolist() == queries[found].tolist()


def test_a_symbol_that_is_not_known_is_refused():
    with pytest.raises(SymbolError, match="'x' at place 2 of 'ax'"):
        count_lines(["aa", "ax"], build_vocab(["a"]), 2)


def test_counts_too_large_for_the_table_are_refused():
    def counts(most):
        return Counts(2, 1, np.array([0, 1]), np.array([1, most]))

    assert counts(2**31 - 1).dense().tolist() == [1, 2**31 - 1]
    with pytest.raises(InputError, match="2,147,483,648 times"):
        counts(2**31).dense()


# Files in pieces, train and dev


def of_file(path, lines, config, order, piece_bytes):
    """Count a file of lines, and say what train and dev should be."""
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    stream = Stream(path, piece_bytes)
    seen = summarize_file(stream, config)
    splits = split_lines(lines, config.split, config.split_seed)
    return seen.vocab, count_stream(stream, seen, order), (splits.train, splits.dev)


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
@settings(max_examples=200)
def test_a_file_is_counted_as_its_train_and_dev_lines_are(
    path, lines, order, scheme, seed, piece_bytes, table, at_once
):
    if scheme == "unique":  # enough different lines, each twice
        lines = [line + end for line in dict.fromkeys(lines) for end in lines[0][:1] * 2]
        lines += [lines[0][:1] * num for num in range(1, 12)]
    config = DataConfig(data=str(path), split=scheme, split_seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_room, "TABLE", table)
        patch.setattr(counts_room, "SLICE", at_once)
        vocab, counted, expected = of_file(path, lines, config, order, piece_bytes)
    assert len(counted) == 2
    for counts, part in zip(counted, expected, strict=True):
        assert_counts(counts, vocab, order, slow(part, order))


def test_every_symbol_of_ascii_keeps_its_id(path):
    ascii_symbols = [chr(code) for code in range(128) if chr(code) not in ".\n\r"]
    lines = [f"x{symbol}y" for symbol in ascii_symbols] * 2
    config = DataConfig(data=str(path), split="none")
    vocab, (counts, _), _ = of_file(path, lines, config, 2, 64)
    assert_counts(counts, vocab, 2, slow(lines, 2))
    table = ascii_table(vocab)
    assert [table[ord(symbol)] for symbol in vocab.symbols[1:]] == list(range(1, len(vocab)))
    assert table[ord("\n")] == 0


def test_lines_of_ascii_and_of_other_symbols_stand_in_one_file(path):
    lines = ["ab", "é", "ba", "語b", "b" * 40, "aé"] * 5
    for piece_bytes in (4, 2**18):
        config = DataConfig(data=str(path))
        vocab, counted, parts = of_file(path, lines, config, 3, piece_bytes)
        for counts, part in zip(counted, parts, strict=True):
            assert_counts(counts, vocab, 3, slow(part, 3))


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("scheme", ["lecture", "unique", "none"])
def test_the_lectures_file_is_counted_in_pieces_as_at_once(lecture_text, scheme):
    config = DataConfig(data=str(lecture_text.path), split=scheme)
    stream = Stream(lecture_text.path, 10_000)
    seen = summarize_file(stream, config)
    splits = load_splits(config)[1]
    for counts, part in zip(count_stream(stream, seen, 3), splits[:2], strict=True):
        assert_counts(counts, seen.vocab, 3, slow(part, 3))


@pytest.mark.parametrize("scheme", ["lecture", "none"])
@pytest.mark.parametrize("piece_bytes", [4, 2**18])
@pytest.mark.parametrize("more", ["ab\n" * 9, "z\n", "ab é\n", "\U0001f600\n", "b", "x" * 99])
def test_a_file_that_grows_before_it_is_counted_is_refused(path, scheme, piece_bytes, more):
    for lines in ["ab", "ba"] * 10, ["aé", "ba"] * 10:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        stream = Stream(path, piece_bytes)
        seen = summarize_file(stream, DataConfig(data=str(path), split=scheme))
        path.write_text("\n".join(lines[1:]) + "\n" + more, "utf-8")
        with pytest.raises(InputError, match="has changed while it was read"):
            count_stream(stream, seen, 3)


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


@pytest.mark.parametrize("most", [6, 7, 18, 19, 30, 54, 55, 1000])
@pytest.mark.parametrize("num", [60, 2000])
def test_more_ngrams_than_can_be_held_are_counted_by_a_lower_order(monkeypatch, most, num):
    monkeypatch.setattr(counts_room, "TABLE", 0)
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
    tally, all_keys, all_parts = Tally(21, 2, most=2**18), [], []
    for part, num in (0, 2**20), (1, 2**18), (0, 1000), (1, 2000):
        keys = np.arange(num) * 1_000_003 % 2**21  # an odd factor: no number comes twice
        all_keys.append(keys)
        all_parts.append(np.full(num, part))
        tally.add(keys, part)
        if len(all_keys) == 2:
            assert tally.waiting == 0
            assert tally.order == 17
    keys, parts = np.concatenate(all_keys), np.concatenate(all_parts)
    # Of order 17 each part has all 2**17, which makes the 2**18 that may be held.
    for part, counts in enumerate(tally.result()):
        assert counts.order == 17
        expected = np.bincount(keys[parts == part] % 2**17, minlength=2**17)
        assert np.array_equal(counts.keys, np.arange(2**17))
        assert np.array_equal(counts.counts, expected)


def test_a_file_of_too_many_ngrams_is_that_of_the_lower_order(path, monkeypatch):
    monkeypatch.setattr(counts_room, "TABLE", 0)
    lines = ["abc", "acb", "bca", "bac", "cab", "cba", "aab", "abb", "bbc", "cca"] * 2
    for most, order in (1000, 5), (30, 2), (8, 1):
        monkeypatch.setattr(counts_room, "Tally", partial(Tally, most=most))
        config = DataConfig(data=str(path))
        vocab, counted, parts = of_file(path, lines, config, 5, 8)
        distinct = [sum(len(slow(part, n)) for part in parts) for n in range(6)]
        assert distinct[order] <= most
        assert order == 5 or distinct[order + 1] > most
        for counts, part in zip(counted, parts, strict=True):
            assert_counts(counts, vocab, order, slow(part, order))


# What fits


@pytest.mark.parametrize(("vocab_size", "order"), [(1, 0), (1, -1), (1, 31), (27, 13), (1501, 6)])
def test_an_order_that_has_no_numbers_is_refused(vocab_size, order):
    vocab = Vocab((".", *map(chr, range(0x4E00, 0x4E00 + vocab_size - 1))))
    with pytest.raises(InputError, match="can have orders 1 to"):
        count_lines([vocab.symbols[-1] * 3] if vocab_size > 1 else [""], vocab, order)


def test_a_vocabulary_of_the_boundary_alone_is_counted():
    assert count_lines([""], Vocab((".",)), 2).counts.tolist() == [1]


@pytest.mark.parametrize("vocab_size", [2, 3, 27, 100, 5000, 70_000])
def test_the_highest_order_is_the_last_that_64_bits_can_number(vocab_size):
    order = highest_order(vocab_size)
    assert 2 * vocab_size**order < 2**62
    assert order == 30 or 2 * vocab_size ** (order + 1) >= 2**62
    ids = np.array([vocab_size - 1] * order + [0])
    digits = [vocab_size - 1] * order
    assert ngram_keys(ids, order, vocab_size)[-2] == sum(
        digit * vocab_size**place for place, digit in enumerate(digits)
    )
    tally = Tally(order, vocab_size)
    tally.add(ngram_keys(ids, order, vocab_size), 1)
    train, dev = tally.result()
    assert train.total == 0
    assert dev.total == order + 1
    assert int(dev.keys[-1]) == vocab_size**order - 1


@pytest.mark.parametrize(("order", "fit"), [(1, True), (2, True), (3, True), (4, False)])
def test_a_table_fits_four_times_in_memory(monkeypatch, order, fit):
    monkeypatch.setattr(counts_room, "memory_bytes", lambda: 4 * 4 * 27**3)
    assert fits(27, order) == fit
    monkeypatch.setattr(counts_room, "memory_bytes", lambda: 4 * 4 * 27**3 - 1)
    assert fits(27, order) == (fit and order < 3)


def test_a_table_has_as_many_cells_as_32_bits_can_number(monkeypatch):
    monkeypatch.setattr(counts_room, "memory_bytes", lambda: 2**60)
    assert fits(2, 30)
    assert not fits(2, 31)
    assert fits(46340, 2)
    assert not fits(46341, 2)


def test_a_size_that_no_float_holds_is_told():
    with pytest.raises(InputError, match=r"27\^300 = 2\.57e\+429 counts"):
        check_fits(27, 300)  # 429 = floor(300 log10 27)


def test_an_order_that_does_not_fit_is_refused_with_its_size_and_those_that_fit(monkeypatch):
    monkeypatch.setattr(counts_room, "memory_bytes", lambda: 4 * 4 * 27**3)
    check_fits(27, 3)
    with pytest.raises(InputError) as caught:
        check_fits(27, 7)
    assert "order 7 has 27^7 = 1.05e+10 counts, 41.8 GB" in str(caught.value)
    assert str(caught.value).endswith(" orders 1 to 3 fit")
    with pytest.raises(InputError, match=r"order 1 fits$"):
        check_fits(150, 3)
    with pytest.raises(InputError, match=r"none fits$"):
        check_fits(1_000_000, 2)
    letters = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
    for refused in (count_ngrams, mm_jax.fit_ngram):
        with pytest.raises(InputError, match=r"27\^4 = 5.31e\+5 counts"):
            refused(["emma"], letters, 4)
    with pytest.raises(InputError, match="orders 1 to 3 fit"):
        Counts(27, 4, EMPTY, EMPTY).dense()


def test_memory_is_that_of_the_machine_or_of_the_container_where_it_is_less(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "CGROUP", limit)
    total = Path("/proc/meminfo").read_text().split()
    machine = int(total[total.index("MemTotal:") + 1]) * 1024
    assert memory_bytes() == machine
    for written, expected in ("max\n", machine), ("1000000\n", 10**6), (f"{2**70}\n", machine):
        limit.write_text(written)
        assert memory_bytes() == expected


# The lecture's counts


def test_the_lectures_bigrams_are_the_lectures(lecture_text):
    lines = lecture_text.lines
    vocab = build_vocab(lines)
    counts = count_lines(lines, vocab, 2)
    assert counts.total == 228_146
    pairs = zip(counts.keys.tolist(), counts.counts.tolist(), strict=True)
    spelled = {counts.spell(key, vocab): count for key, count in pairs}
    assert list(Counter(spelled).most_common(6)) == [
        *[("n.", 6763), ("a.", 6640), ("an", 5438), (".a", 4410), ("e.", 3983), ("ar", 3264)]
    ]
    assert spelled["qr"] == spelled["dz"] == 1
    table = mm_jax.count_ngrams(lines, vocab)
    assert table.shape == (27, 27)
    assert table.sum() == 228_146
    assert (table.sum(0) == table.sum(1)).all()
    assert table[0, 0] == 0
    assert table[14, 0] == 6763
    assert table[0, 1] == 4410


def test_a_word_is_the_lectures_bigrams():
    vocab = build_vocab(["emma"])
    counts = count_lines(["emma"], vocab, 2)
    spelled = {counts.spell(key, vocab) for key in counts.keys.tolist()}
    assert spelled == {".e", "em", "mm", "ma", "a."}
