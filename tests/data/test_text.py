import hashlib
import itertools
import random
import re
from pathlib import Path

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.splits import load_splits, overlap, split_lines
from mm_jax.data.text import read_lines
from mm_jax.runtime.paths import find_data

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def write(tmp_path):
    """A function that writes bytes to a file and returns its path."""

    def _write(data):
        path = tmp_path / "lines.txt"
        path.write_bytes(data)
        return path

    return _write


@pytest.mark.parametrize(
    "data",
    [
        b"emma\nava\n",
        b"emma\nava",
        b"emma\r\nava\r\n",
        b"emma\r\nava",
        b"emma\rava\r",
        b"emma\rava",
        b"\xef\xbb\xbfemma\nava\n",
        b"  emma\t\nava \n",
        "\u3000emma\u00a0\nava\n".encode(),
    ],
)
def test_line_ends_mark_and_outer_white_space_do_not_matter(write, data):
    text = read_lines(write(data))
    assert text.lines == ["emma", "ava"]
    assert text.num_blank == 0
    assert text.sha256 == hashlib.sha256(data).hexdigest()


def test_white_space_inside_a_line_stays(write):
    assert read_lines(write(b"new york\nsan\tjose\n")).lines == ["new york", "san\tjose"]


def test_only_line_feeds_and_carriage_returns_end_a_line(write):
    line = "a\u2028b\x0bc\x85d"
    assert read_lines(write(f"{line}\ne\n".encode())).lines == [line, "e"]


@pytest.mark.parametrize(
    ("data", "num_blank"),
    [(b"a\n\nb\n", 1), (b"\n\n a\n \t\nb\n\n", 4), (b"a\r\n\r\nb", 1), (b"a\nb\n", 0)],
)
def test_blank_lines_are_dropped_and_counted(write, data, num_blank):
    text = read_lines(write(data))
    assert text.lines == ["a", "b"]
    assert text.num_blank == num_blank


def test_where_names_the_line_of_the_file_blank_lines_included(write):
    path = write(b"\na\n\n\nb\n")
    text = read_lines(path)
    assert text.where(0) == f"{path}, line 2"
    assert text.where(1) == f"{path}, line 5"


def test_bytes_that_are_not_utf8_are_named(write):
    with pytest.raises(InputError, match=r"not UTF-8 at byte 7 \(0xff\)"):
        read_lines(write(b"emma\nav\xff\n"))


def test_the_byte_is_counted_from_the_start_of_the_file_mark_included(write):
    with pytest.raises(InputError, match=r"byte 4 \(0xe9\)"):
        read_lines(write(b"\xef\xbb\xbfn\xe9\n"))


def test_the_boundary_in_the_data_is_refused_with_its_line(write):
    path = write(b"\n\nemma\n\nst.john\nd.d\n")
    with pytest.raises(InputError, match=re.escape(f"{path}, line 5:")):
        read_lines(path)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(write, data):
    with pytest.raises(InputError, match="nothing in it"):
        read_lines(write(data))


def test_a_file_of_blank_lines_is_refused_and_they_are_counted(write):
    with pytest.raises(InputError, match="3 blank lines"):
        read_lines(write(b"\n  \n\t"))


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.txt: No such file"):
        read_lines(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="directory"):
        read_lines(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\xff", b"a.b\n"])
def test_every_complaint_is_one_line_that_names_the_file(write, data):
    path = write(data)
    with pytest.raises(InputError) as caught:
        read_lines(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def lecture_way(words):
    """The lecture's cells, with the generator that random.seed(42) seeds."""
    words = list(words)
    generator = random.Random()
    generator.seed(42)
    generator.shuffle(words)
    n1 = int(0.8 * len(words))
    n2 = int(0.9 * len(words))
    return words[:n1], words[n1:n2], words[n2:]


@pytest.mark.parametrize("num", [6, 10, 11, 99, 1000])
def test_the_lecture_split_is_the_lectures(num):
    words = [f"w{i % 70}" for i in range(num)]
    before = list(words)
    splits = split_lines(words)
    assert tuple(splits) == lecture_way(words)
    assert words == before
    assert sorted(itertools.chain(*splits)) == sorted(words)


def test_another_seed_gives_another_split_of_the_same_lines():
    words = [f"w{i}" for i in range(100)]
    one, other = split_lines(words, seed=1), split_lines(words, seed=2)
    assert one != other
    assert sorted(itertools.chain(*one)) == sorted(itertools.chain(*other))


def test_the_unique_split_has_every_line_once_and_no_overlap():
    words = [f"w{i % 60}" for i in range(200)]
    splits = split_lines(words, "unique")
    assert sorted(itertools.chain(*splits)) == sorted(set(words))
    assert [len(part) for part in splits] == [48, 6, 6]
    assert overlap(splits.dev, splits.train) == overlap(splits.test, splits.train) == 0


def test_overlap_is_the_share_of_lines_that_stand_in_train():
    assert overlap(["a", "b", "b", "c"], ["b", "b", "d"]) == 0.5


@pytest.mark.parametrize("num", range(1, 6))
def test_too_few_lines_to_split_are_refused(num):
    with pytest.raises(InputError, match=f"^{num} lines are too few"):
        split_lines([f"w{i}" for i in range(num)])


def test_a_file_of_too_few_different_lines_is_refused_by_name(write):
    path = write(b"a\nb\nc\n" * 20)
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_splits(DataConfig(data=str(path), split="unique"))
    assert len(load_splits(DataConfig(data=str(path)))[1].dev) == 6


def test_an_unknown_split_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="lecture, unique"):
        split_lines(["a"] * 20, "random")


def test_our_names_are_the_file_that_its_readme_describes():
    data = (DATA / "names.txt").read_bytes()
    readme = (DATA / "README.md").read_text("utf-8")
    assert hashlib.sha256(data).hexdigest() in re.findall(r"\b[0-9a-f]{64}\b", readme)
    lines = data.decode("ascii").split("\n")
    assert lines.pop() == ""
    assert f"{len(lines):,}" in readme or str(len(lines)) in readme
    assert all(re.fullmatch("[a-z]{2,}", line) for line in lines)
    assert read_lines().lines == read_lines("names").lines == lines


def test_the_lectures_file_is_the_one_of_the_lecture(lecture_text):
    lines = lecture_text.lines
    assert len(lines) == 32_033
    assert len(set(lines)) == 29_494
    assert min(map(len, lines)) == 2
    assert max(map(len, lines)) == 15
    first = "emma olivia ava isabella sophia charlotte mia amelia harper evelyn"
    assert lines[:10] == first.split()
    assert lecture_text.sha256.startswith("0a30b5557f192f32ab962680889aac5f")
    assert not lecture_text.path.read_bytes().endswith(b"\n")


def test_lecture_names_is_the_file_in_the_environment(lecture_text, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(lecture_text.path))
    assert find_data("lecture-names") == lecture_text.path
    assert read_lines("lecture-names").lines == lecture_text.lines


def test_lecture_names_with_another_checksum_is_refused(write, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(write(b"emma\nolivia\n")))
    with pytest.raises(InputError, match="sha256"):
        read_lines("lecture-names")


def test_lecture_names_that_are_not_there_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="correct that path"):
        read_lines("lecture-names")
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="mm-jax data lecture-names"):
        read_lines("lecture-names")
    (tmp_path / "mm-jax").mkdir()
    (tmp_path / "mm-jax" / "lecture-names.txt").write_text("emma")
    assert find_data("lecture-names") == tmp_path / "mm-jax" / "lecture-names.txt"
