import hashlib
import re
from pathlib import Path

import pytest

from mm_jax.config.base import InputError
from mm_jax.data import streaming
from mm_jax.data import text as text_module
from mm_jax.data.ngram_counts import count_ngrams
from mm_jax.data.splits import split_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab

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


def test_bytes_that_are_not_utf8_are_named(write):
    with pytest.raises(InputError, match=r"not UTF-8 at byte 7 \(0xff\)"):
        read_lines(write(b"emma\nav\xff\n"))


def test_the_byte_is_counted_from_the_start_of_the_file_mark_included(write):
    with pytest.raises(InputError, match=r"byte 4 \(0xe9\)"):
        read_lines(write(b"\xef\xbb\xbfn\xe9\n"))


def test_how_the_boundary_is_shown_is_a_symbol_like_any_other(write):
    assert read_lines(write(b"st.john\n.\nd.d.\n")).lines == ["st.john", ".", "d.d."]


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


@pytest.mark.parametrize("data", [b"", b"\n", b"a\xff", b"a\0b\n"])
def test_every_complaint_is_one_line_that_names_the_file(write, data):
    path = write(data)
    with pytest.raises(InputError) as caught:
        read_lines(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_our_names_are_the_file_that_its_readme_describes():
    data = (DATA / "names.txt").read_bytes()
    readme = (DATA / "README.md").read_text("utf-8")
    assert hashlib.sha256(data).hexdigest() in re.findall(r"\b[0-9a-f]{64}\b", readme)
    lines = data.decode("ascii").split("\n")
    assert lines.pop() == ""
    assert f"{len(lines):,}" in readme or str(len(lines)) in readme
    assert all(re.fullmatch("[a-z]{2,}", line) for line in lines)
    assert read_lines().lines == read_lines("names").lines == lines


def test_a_file_that_does_not_fit_in_memory_is_refused_before_it_is_read(write, monkeypatch):
    path = write(b"emma\nava\n" * 100)
    needed = text_module.MEMORY_FACTOR * 900
    monkeypatch.setattr(text_module, "memory_bytes", lambda: needed)
    assert len(read_lines(path).lines) == 200
    monkeypatch.setattr(text_module, "memory_bytes", lambda: needed - 1)
    with pytest.raises(InputError, match="read_corpus takes a tenth of it"):
        read_lines(path)


# The lectures' own file


def test_the_lectures_file_is_the_one_of_the_lecture(lecture_text):
    """The numbers that the lectures print of it; the split is 25,626 / 3,203 / 3,204 lines."""
    lines = lecture_text.lines
    assert (len(lines), len(set(lines))) == (32_033, 29_494)
    assert (min(map(len, lines)), max(map(len, lines))) == (2, 15)
    first = "emma olivia ava isabella sophia charlotte mia amelia harper evelyn"
    assert lines[:10] == first.split()
    assert lecture_text.sha256 == streaming.LECTURE_SHA256
    splits = split_lines(lines)
    assert [len(part) for part in splits] == [25_626, 3_203, 3_204]
    assert [sum(len(line) + 1 for line in part) for part in splits] == [182_625, 22_655, 22_866]
    counts = count_ngrams(lines, build_vocab(lines))
    assert (counts.sum(), counts[14, 0], counts[0, 1]) == (228_146, 6763, 4410)  # n. and .a


def test_lecture_names_is_known_by_its_checksum(write, monkeypatch):
    path = write(b"emma\nolivia\n")
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(path))
    with pytest.raises(InputError, match=r"is not the lecture's names\.txt: its sha256 is"):
        read_lines("lecture-names")
    assert read_lines(path).lines == ["emma", "olivia"]  # by its own name it is any file
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(streaming, "LECTURE_SHA256", sha256)
    assert read_lines("lecture-names").lines == ["emma", "olivia"]


def test_lecture_names_that_are_not_there_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="correct that path"):
        read_lines("lecture-names")
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="mm-jax data lecture-names"):
        read_lines("lecture-names")
