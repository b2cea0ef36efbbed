import hashlib
import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.encoding import summarize_file
from mm_jax.data.file_summary import hashes_of, summarize_splits
from mm_jax.data.items import Meter
from mm_jax.data.splits import DEV, DROPPED, TEST, TRAIN, overlap, split_lines
from mm_jax.data.streaming import PIECE_BYTES, Stream
from mm_jax.data.text import Text, read_lines
from mm_jax.data.vocab import build_vocab
from mm_jax.runtime.paths import find_data
from tests.data.by_hand import lines_by_hand

BOM = "\ufeff".encode()
SIZES = [1, 2, 3, 7, PIECE_BYTES]
SCHEMES = ["lecture", "unique", "none"]
ALPHABET = [*"abZ \t\v\f\x1c\u0085\u00a0\u2028\u3000", "\ufeff", "é", "語", "\U0001f600"]
words = st.text(st.sampled_from(ALPHABET), max_size=4)
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stream")


@st.composite
def files(draw, min_lines=0, max_lines=8):
    """The bytes of a file of lines, some of them blank, with or without a mark and a final end."""
    num = draw(st.integers(min_lines, max_lines))
    ends = draw(st.sampled_from([st.just("\r"), st.just("\r\n"), line_ends]))
    lines = [draw(words) + draw(ends) for _ in range(num)]
    marked = draw(st.sampled_from(["", "\ufeff"]))
    text = (marked + "".join(lines) + draw(words)).replace("\r\ufeff\n", "\r\n")
    return text.encode()  # a mark inside CR LF, which nobody writes, may make two ends of it


def write(folder, data):
    path = folder / "lines.txt"
    path.write_bytes(data)
    return path


def outcome(function, *arguments):
    """What a function returns, or what it complains about."""
    try:
        return function(*arguments)
    except InputError as error:
        return str(error)


def whole(config):
    """All that summarize_splits finds, from the whole file in memory, cut by hand."""
    path = find_data(config.data)
    data = path.read_bytes()
    lines, _, num_blank = lines_by_hand(data)
    if not lines:
        what = f"{num_blank} blank lines and nothing else" if num_blank else "nothing in it"
        raise InputError(f"{path} has {what}; there is nothing to learn from")
    text = Text(path, lines, num_blank, hashlib.sha256(data).hexdigest())
    try:
        splits = split_lines(lines, config.split, config.split_seed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    first: dict[str, int] = {}
    for place, line in enumerate(text.lines):
        first.setdefault(line, place)
    order = first.values() if config.split == "unique" else range(len(text.lines))
    # The shuffle does not look at what it shuffles, so that places go where their lines go.
    places = split_lines([str(place) for place in order], config.split, config.split_seed)
    split_of = np.full(len(text.lines), DROPPED)
    for part, of_part in zip((TRAIN, DEV, TEST), places, strict=True):
        split_of[[int(place) for place in of_part]] = part
    shared = overlap(splits.dev, splits.train) if splits.dev else 0.0
    return text, splits, split_of, shared


def assert_same(path, size, scheme="none", seed=42):
    """A stream of pieces of ``size`` tells the same as the whole file, or complains the same."""
    config = DataConfig(data=str(path), split=scheme, split_seed=seed)
    stream = Stream(config, size)
    expected, seen = outcome(whole, config), outcome(summarize_splits, stream)
    if isinstance(expected, str):
        assert seen == expected
        return
    text, splits, split_of, shared = expected
    assert not isinstance(seen, str), seen
    assert seen.info.path == path
    assert seen.vocab == build_vocab(text.lines)
    assert seen.info.num_items == len(text.lines)
    assert seen.info.num_blank == text.num_blank
    assert seen.info.sha256 == text.sha256
    assert seen.split_lines == [len(part) for part in splits]
    seen.note_overlap(hashes_of(stream, seen.info))
    assert seen.dev_lines_in_train == shared
    pieces = list(Stream(path, size).pieces())
    assert all(piece.endswith("\n") for piece in pieces)
    assert "".join(pieces) == "".join(line + "\n" for line in text.lines)
    if scheme == "none":
        assert seen.split_of is None
        return
    assert seen.split_of.tolist() == split_of.tolist()
    for part, lines in zip((TRAIN, DEV, TEST), splits, strict=True):
        mine = [line for line, of in zip(text.lines, seen.split_of, strict=True) if of == part]
        assert Counter(mine) == Counter(lines)


def test_pieces_are_the_whole_of_every_short_file(folder):
    for num in range(5):
        for symbols in itertools.product([b"a", b" ", b"\r", b"\n", BOM], repeat=num):
            data = b"".join(symbols)
            if b"\r" + BOM in data:  # a mark inside CR LF, which nobody writes
                continue
            path = write(folder, data)
            for size in (1, 2):
                assert_same(path, size)
            assert_same(write(folder, data + b"\n"), PIECE_BYTES)


@given(files())
@settings(max_examples=80)
def test_pieces_are_the_whole_of_any_file(folder, data):
    path = write(folder, data)
    for size in SIZES:
        assert_same(path, size)


@given(files(6, 40), st.sampled_from(SCHEMES), st.integers(0, 2**32 - 1), st.sampled_from(SIZES))
@settings(max_examples=80)
def test_each_line_falls_into_the_split_of_split_lines(folder, data, scheme, seed, size):
    assert_same(write(folder, data), size, scheme, seed)


@pytest.mark.parametrize(
    ("scheme", "seed"), [*((scheme, 42) for scheme in SCHEMES), ("lecture", 0)]
)
def test_a_file_of_many_pieces_is_the_whole(folder, scheme, seed):
    generator = random.Random(seed)
    lines = [
        "".join(generator.choices("abcdé語", k=generator.randint(0, 5))) for _ in range(90_000)
    ]
    data = "".join(line + generator.choice(["\n", "\r\n", "\r", " \n"]) for line in lines).encode()
    path = write(folder, data)
    assert len(data) > 1.5 * PIECE_BYTES
    assert len(list(Stream(path).pieces())) > 1
    assert_same(path, PIECE_BYTES, scheme, seed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_names_are_summarized_as_they_are_read(scheme):
    assert_same(find_data("names"), 4096, scheme)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_piece_is_not_larger_than_it_has_to_be(folder, end):
    path = write(folder, (b"abc" + end) * 100)
    sizes = [len(piece) for piece in Stream(path, 16).pieces()]
    assert sum(sizes) == 400
    assert max(sizes) <= 16 + 4


def test_a_line_longer_than_many_pieces_is_one_line(folder):
    path = write(folder, b"a" * 1000 + b"\n" + "é".encode() * 1000)
    assert list(Stream(path, 7).pieces()) == ["a" * 1000 + "\n", "é" * 1000 + "\n"]


def test_a_meter_counts_and_hashes_what_goes_by(folder):
    path = write(folder, BOM + b"a\r\n\r\n b \n\n\nc")
    meter = Meter(hashes=True)
    assert "".join(Stream(path, 2).pieces(meter)) == "a\nb\nc\n"
    assert (meter.num_raw, meter.num_items, meter.num_blank) == (6, 3, 3)
    assert meter.hash.hexdigest() == read_lines(path).sha256


# What is wrong with a file is said as read_lines says it


def complaints(path):
    """What read_lines says of a file, after a check that a stream of any size says the same."""
    config = DataConfig(data=str(path), split="none")
    expected = outcome(read_lines, path)
    assert isinstance(expected, str)
    for size in SIZES:
        assert outcome(lambda size=size: summarize_splits(Stream(config, size))) == expected
    return expected


BROKEN = [
    b"\xff",
    b"\xe8\xaa",
    b"\xe8\xaa\n",
    b"\xc3\r",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc3(",
]


@given(files(), st.sampled_from(BROKEN), st.sampled_from([b"", b"a", b"\n", b"ab\r\nc"]))
def test_bytes_that_are_not_utf8_are_named_with_their_place(folder, before, broken, after):
    path = write(folder, before + broken + after)
    assert f"not UTF-8 at byte {len(before)} (0x{broken[0]:02x})" in complaints(path)


@given(files(), st.sampled_from([b"", b"a", b"\n", b"ab\r\nc"]))
def test_nul_is_refused_with_its_place(folder, before, after):
    path = write(folder, before + b"\0" + after)
    for size in SIZES:  # what it looks like depends on what is read at once
        said = outcome(summarize_file, Stream(path, size))
        assert f"{path} has NUL bytes, the first at byte {len(before)}: it looks like" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has nothing in it"),
        (BOM, "has nothing in it"),
        (b"\n", "has 1 blank lines and nothing else"),
        (b"\r\n \r\n\t\r\r\n\n \x1c", "has 6 blank lines and nothing else"),
        (BOM + b"\n", "has 1 blank lines and nothing else"),
        ("\u3000\n\u2028\u0085\n".encode(), "has 2 blank lines and nothing else"),
    ],
)
def test_a_file_without_lines_is_refused(folder, data, said):
    assert said in complaints(write(folder, data))


def test_what_is_not_there_and_what_is_a_directory_are_refused(folder, monkeypatch):
    assert "No such file" in complaints(folder / "nowhere.txt")
    assert "irectory" in complaints(folder)
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(folder / "nowhere.txt"))
    with pytest.raises(InputError, match="correct that path"):
        Stream("lecture-names")
    with pytest.raises(InputError, match="the data is empty"):
        Stream("")


def test_lecture_names_is_known_by_its_checksum(folder, monkeypatch):
    config = DataConfig(data="lecture-names")
    path = write(folder, b"emma\nolivia\n" * 5)
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(path))
    with pytest.raises(InputError, match="is not the lecture's"):
        summarize_file(Stream(config))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr("mm_jax.data.streaming.LECTURE_SHA256", sha256)
    assert summarize_file(Stream(config)).num_items == 10


@pytest.mark.parametrize("scheme", ["lecture", "unique"])
@pytest.mark.parametrize("num", [1, 2, 5])
def test_too_few_lines_to_split_are_refused(folder, scheme, num):
    path = write(folder, b"".join(b"w%d\n" % i for i in range(num)))
    config = DataConfig(data=str(path), split=scheme)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: {num} lines are too few"):
        summarize_splits(Stream(config))
    assert_same(path, 3, scheme)
    assert_same(write(folder, b"".join(b"w%d\n" % i for i in range(6))), 3, scheme)


def test_repetitions_do_not_make_enough_lines_for_a_unique_split(folder):
    path = write(folder, b"a\nb\nc\n" * 20)
    with pytest.raises(InputError, match=": 3 lines are too few"):
        summarize_splits(Stream(DataConfig(data=str(path), split="unique")))


# Files that cannot be read again, and files that change


DATA = BOM + "ab\r\nb é\n\nab\rc\n".encode() * 5


READ_TWICE = """
import json, sys
from mm_jax.config.data import DataConfig
from mm_jax.data.file_summary import summarize_splits
from mm_jax.data.streaming import Stream

for path in sys.argv[1:]:
    stream = Stream(DataConfig(data=path), 4)
    for _ in range(2):
        seen = summarize_splits(stream)
        info = seen.info
        record = [info.vocab.symbols, info.num_items, info.num_blank, info.sha256]
        print(json.dumps([*record, seen.split_of.tolist(), "".join(stream.pieces())]))
"""


def test_a_fifo_and_standard_input_are_read_once_and_kept(folder):
    # In a process of its own, which has a standard input.
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(DATA,), daemon=True).start()
    command = [sys.executable, "-c", READ_TWICE, str(fifo), "/dev/stdin"]
    done = subprocess.run(command, input=DATA, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    records = [json.loads(line) for line in done.stdout.splitlines()]
    expected = read_lines(write(folder, DATA))
    splits = split_lines(expected.lines)
    assert len(records) == 4
    for symbols, num_lines, num_blank, sha256, split_of, kept in records:
        assert tuple(symbols) == build_vocab(expected.lines).symbols
        assert (num_lines, num_blank, sha256) == (20, 5, expected.sha256)
        assert [split_of.count(part) for part in range(4)] == [*map(len, splits), 0]
        assert kept == "ab\nb é\nab\nc\n" * 5


def change_size(path):
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"zz\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_time(path):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


@pytest.mark.parametrize("change", [change_size, change_time])
def test_a_file_that_changes_between_two_readings_is_refused(folder, change):
    path = write(folder, DATA)
    stream = Stream(path, 4)
    for _ in range(2):
        summarize_file(stream)
    assert list(stream.pieces())
    change(path)
    with pytest.raises(InputError, match=f"{re.escape(str(path))} has changed while it was read"):
        list(stream.pieces())
    with pytest.raises(InputError, match="has changed while it was read"):
        summarize_file(stream)


@pytest.mark.parametrize("change", [change_size, change_time])
def test_a_file_that_changes_while_it_is_read_is_refused(folder, change):
    path = write(folder, DATA)
    pieces = Stream(path, 4).pieces()
    next(pieces)
    change(path)
    with pytest.raises(InputError, match="has changed while it was read"):
        list(pieces)


def test_a_file_that_goes_away_is_refused(folder):
    path = write(folder, DATA)
    stream = Stream(path)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        list(stream.pieces())
