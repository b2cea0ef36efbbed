"""A large file that stays on the disk gives the data set that it would give in memory."""

import json
import shutil

import filelock
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import mapped
from mm_jax.data.dataset import load_dataset
from mm_jax.data.mapped import clean, corpora_dir
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import build_vocab
from tests.data.two_ways import LINES, all_is_large, both_datasets

PARAGRAPHS = "\n\n".join("\n".join(LINES[i : i + 3]) for i in range(0, 70, 2))
WORDS = "\n".join(f"The cat {line} sat on {line}, twice." for line in LINES)
CASES = {
    "lines": ("\n".join(LINES), {}),
    "another seed": ("\n".join(LINES), {"split_seed": 1}),
    "unique": ("\n".join(LINES), {"split": "unique"}),
    "none": ("\n".join(LINES), {"split": "none"}),
    "many symbols": ("\n".join(line + chr(0x4E00 + i) for i, line in enumerate(LINES * 9)), {}),
    "paragraphs": (PARAGRAPHS, {"items": "paragraph"}),
    "unique paragraphs": (PARAGRAPHS, {"items": "paragraph", "split": "unique"}),
    "document": (PARAGRAPHS, {"items": "document", "block": 8}),
    "document, none": (PARAGRAPHS, {"items": "document", "split": "none"}),
    "bytes": ("\n".join(LINES) + "é", {"unit": "byte"}),
    "words": (WORDS, {"unit": "word", "min_count": 2, "lower": True}),
    "document of words": (WORDS, {"unit": "word", "items": "document"}),
    "column": ("".join(f"{line}\t{i}\n" for i, line in enumerate(LINES)), {"column": "1"}),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture(autouse=True)
def _large(tmp_path):
    with all_is_large(tmp_path / "cache"):
        yield


def assert_same(memory, large):
    assert large.info == memory.info
    assert large.record == memory.record
    assert large.num_skipped == memory.num_skipped
    assert large.dev_lines_in_train == memory.dev_lines_in_train
    for name, one, other in zip(memory.splits._fields, memory.splits, large.splits, strict=True):
        assert other.is_mapped
        assert other.ids.dtype == one.ids.dtype
        assert other.ids.tolist() == one.ids.tolist(), name
        assert other.vocab == one.vocab
        assert other.weights is one.weights is None
        assert (other.is_document, other.block) == (one.is_document, one.block)
        assert (len(other), other.longest) == (len(one), one.longest)
        assert other.offsets.tolist() == one.offsets.tolist()
        assert other.items() == one.items()


@pytest.mark.parametrize("case", CASES)
def test_mapped_data_are_those_in_memory(tmp_path, monkeypatch, case):
    text, choices = CASES[case]
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 2**28)
    assert_same(*both_datasets(tmp_path, text, **choices))


@pytest.mark.parametrize("items", ["line", "paragraph"])
def test_items_with_unknown_symbols_are_skipped_as_in_memory(tmp_path, monkeypatch, items):
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 2**28)
    vocab = build_vocab(["abc012345678\n"])  # without 9
    datasets = both_datasets(tmp_path, PARAGRAPHS, vocab, skip_unknown=True, items=items)
    assert_same(*datasets)
    assert datasets[1].num_skipped > 0
    with all_is_large(tmp_path / "cache"), pytest.raises(InputError, match="--skip-unknown leaves"):
        load_dataset(datasets[0].config, vocab)


def test_a_file_is_mapped_from_a_number_of_bytes_on(path, monkeypatch):
    size = path.stat().st_size
    monkeypatch.setattr(mapped, "MAPPED_BYTES", size)
    assert load_dataset(DataConfig(str(path))).splits.train.is_mapped
    monkeypatch.setattr(mapped, "MAPPED_BYTES", size + 1)
    assert not load_dataset(DataConfig(str(path))).splits.train.is_mapped
    assert not mapped.is_too_large(Stream("a pipe", kept=b"x" * 2 * size))


def folders():
    return sorted(each.name for each in corpora_dir().iterdir() if each.is_dir())


def test_a_file_is_encoded_once_for_each_choice(path, tmp_path, monkeypatch):
    config = DataConfig(str(path))
    first = load_dataset(config)
    other_path = tmp_path / "the same data.txt"
    shutil.copy(path, other_path)
    others = [
        DataConfig(str(path), split="unique"),
        DataConfig(str(path), split_seed=7),
        DataConfig(str(path), unit="word"),
        DataConfig(str(path), items="document"),
    ]
    expected = [load_dataset(other).record for other in others]
    load_dataset(config, build_vocab(["abc0123456789z"]))
    assert len(folders()) == 6

    def refuse(*_):
        raise AssertionError("the file is read again")

    monkeypatch.setattr(mapped, "encoded_pieces", refuse)
    monkeypatch.setattr(mapped, "summarize", refuse)
    again = load_dataset(config)
    assert again.record == first.record
    assert [each.tolist() for each in (part.ids for part in again.splits)] == [
        each.tolist() for each in (part.ids for part in first.splits)
    ]
    assert [load_dataset(other).record for other in others] == expected
    assert load_dataset(DataConfig(str(path), block=3)).splits.train.block == 3  # no ids differ
    elsewhere = load_dataset(DataConfig(str(other_path)))
    assert elsewhere.record == {**first.record, "path": str(other_path)}
    path.write_text("\n".join(LINES[1:]))
    with pytest.raises(AssertionError, match="read again"):
        load_dataset(config)


def crash(*_):
    raise RuntimeError("out of power")


def crash_after_some(stream, encoder):
    yield np.ones(3, np.uint8)
    crash()


@pytest.mark.parametrize(
    ("name", "broken"),
    [("encoded_pieces", crash_after_some), ("write_shuffled", crash), ("overlap", crash)],
)
def test_what_was_not_finished_is_not_taken_for_whole(path, name, broken):
    config = DataConfig(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, name, broken)
        with pytest.raises(RuntimeError, match="out of power"):
            load_dataset(config)
    assert folders() == []
    data = load_dataset(config)
    assert folders() != []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "MAPPED_BYTES", 2**28)
        assert_same(load_dataset(config), data)


def test_what_a_killed_process_left_behind_is_made_anew(path):
    config = DataConfig(str(path))
    data = load_dataset(config)
    (name,) = folders()
    folder = corpora_dir() / name
    expected = [part.ids.tolist() for part in data.splits]
    folder.rename(folder.with_suffix(".part"))  # as if it had been killed before the end
    (folder.with_suffix(".part") / "train.ids").write_bytes(b"\0\1")
    again = load_dataset(config)
    assert [part.ids.tolist() for part in again.splits] == expected
    assert folders() == [name]
    assert sorted(file.name for file in folder.iterdir()) == [
        "corpus.json",
        "dev.ids",
        "test.ids",
        "train.ids",
    ]


@pytest.mark.parametrize("damage", ["no json", "no split", "another json"])
def test_a_damaged_folder_is_named(path, damage):
    load_dataset(DataConfig(str(path)))
    folder = corpora_dir() / folders()[0]
    if damage == "no split":
        (folder / "dev.ids").unlink()
    else:
        (folder / "corpus.json").write_text("{" if damage == "no json" else json.dumps([1]))
    with pytest.raises(InputError, match=rf"{folder} is damaged .*remove it: mm-jax data clean"):
        load_dataset(DataConfig(str(path)))
    clean()
    load_dataset(DataConfig(str(path)))


def test_clean_removes_all_but_what_is_being_made(path):
    assert clean() == (0, 0)
    for seed in range(3):
        load_dataset(DataConfig(str(path), split_seed=seed))
    kept, *others = folders()
    (corpora_dir() / others[0]).rename(corpora_dir() / f"{others[0]}.part")
    size = sum(
        file.stat().st_size
        for each in (others[0] + ".part", others[1])
        for file in (corpora_dir() / each).iterdir()
    )
    with filelock.FileLock(corpora_dir() / f"{kept}.lock"):
        assert clean() == (2, size)
    assert folders() == [kept]
    assert clean()[0] == 1
    assert list(corpora_dir().iterdir()) == []


# What is refused


def test_weights_of_a_large_table_are_refused(path):
    path.write_text("a\t1\nb\t2\n" * 20)
    with pytest.raises(InputError, match=f"{path} is too large for --weights"):
        load_dataset(DataConfig(str(path), column="1", weights="2"))


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("a\nb\nc\n", {}),
        ("a\nb\nc\n" * 9, {"split": "unique"}),
        ("abc", {"items": "document"}),
        ("\n\n", {}),
        ("a\0", {}),
        ("a\n" * 20 + "\xe9", {"unit": "char"}),
    ],
    ids=["few lines", "few different lines", "few tokens", "blank", "NUL", "not UTF-8"],
)
def test_what_is_refused_is_refused_in_the_same_words(path, monkeypatch, text, choices):
    path.write_bytes(text.encode("latin-1"))
    config = DataConfig(str(path), **choices)
    with pytest.raises(InputError) as large:
        load_dataset(config)
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 2**28)
    with pytest.raises(InputError) as memory:
        load_dataset(config)
    assert str(large.value) == str(memory.value)
    assert str(path) in str(large.value)
    assert folders() == []


def test_a_disk_without_space_or_rights_is_refused(path, monkeypatch):
    def check_space(folder, needed, advice):
        raise InputError(f"{needed} bytes in {folder}; {advice}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "check_space", check_space)
        with pytest.raises(
            InputError, match=f"{3 * path.stat().st_size} bytes in .*XDG_CACHE_HOME"
        ):
            load_dataset(DataConfig(str(path)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))  # a file, which can hold no folder
    with pytest.raises(InputError, match=r"cannot write .*corpora"):
        load_dataset(DataConfig(str(path)))
