import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest

from mm_jax.config.base import InputError
from mm_jax.data.plausibility import encoding_hint, refuse_binary

PATH = Path("names.txt")
LATIN = "emma\nzoë\r\nolivia\n"
ENCODINGS = ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"]
LATIN1_HINT = "convert it, for example with iconv -f LATIN1 -t UTF-8; --unit byte reads any file"


def message(data, offset=0):
    """The one line of the error that the bytes must raise."""
    with pytest.raises(InputError) as caught:
        refuse_binary(PATH, data, offset)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("names.txt"), "emma")  # a fixed date
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"emma\n", "zoë 日本".encode(), b"\xff\xfe", b"caf\xe9"])
def test_bytes_without_nul_pass(data):
    refuse_binary(PATH, data)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [LATIN, "a", LATIN * 1000])
def test_an_encoding_is_told_without_a_mark(encoding, text):
    data = text.encode(encoding)
    first = data.index(0)
    assert message(data) == (
        f"names.txt has NUL bytes, the first at byte {first}: it looks like {encoding} without a "
        f"mark; convert it: iconv -f {encoding} -t UTF-8"
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [LATIN, "", "Анна\n", "日本\n一\n"])
def test_an_encoding_is_told_by_its_mark(encoding, text):
    data = ("\ufeff" + text).encode(encoding)
    hint = f"it looks like {encoding} with a byte order mark; convert it: iconv -f {encoding[:6]} "
    assert encoding_hint(data).startswith(hint)
    if 0 in data:
        assert hint in message(data)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("offset", [1, 2, 3, 5, 10, 4099])
def test_a_piece_from_the_middle_of_a_file_is_told_too(encoding, offset):
    data = (LATIN * 1000).encode(encoding)
    said = message(data[offset:], offset)
    assert f"the first at byte {data.index(0, offset)}:" in said
    assert f"it looks like {encoding} without" in said


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        bytes(5000),
        b"emma\0ava\0",
        b"emma\0olivia\0" * 500,
        b"emma\n" * 2000 + b"\0",
        bytes(range(256)) * 20,
        struct.pack("<100H", *range(100)),  # NULs as in UTF-16LE, but no text
        struct.pack("<100I", *range(100)),
        struct.pack(">100d", *range(100)),
    ],
)
def test_other_bytes_with_nul_are_a_binary_file(data):
    said = message(data)
    assert said.endswith(": it looks like a binary file; --unit byte reads any file")
    assert f"the first at byte {data.index(0)}:" in said


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (gzip.compress(b"emma", mtime=0), "gzip file; unpack it first"),
        (zipped(), "zip file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG image"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\0", "PDF file; extract its text first"),
    ],
)
def test_known_formats_are_named(data, hint):
    assert f"it looks like a {hint}" in message(data)
    assert f"it looks like a {hint}" not in message(data, 10)  # only a file begins with such bytes
    assert encoding_hint(data + b"\xff").startswith(f"it looks like a {hint}")


@pytest.mark.parametrize("text", ["café", "Zoë\nemma\n"])
def test_other_bytes_that_are_not_utf8_get_the_usual_hint(text):
    assert encoding_hint(text.encode("latin-1")) == LATIN1_HINT


@pytest.mark.parametrize("text", ["", "emma", "zoë 日本", "%PDF-", "\ufeffemma"])
def test_utf8_gets_no_hint(text):
    assert encoding_hint(text.encode()) == ""
