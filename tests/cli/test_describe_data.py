"""The data on the console."""

from types import SimpleNamespace

import pytest

from mm_jax.cli.describe_data import describe_dataset, describe_split, note_unknown
from mm_jax.config.data import DataConfig
from mm_jax.data.dataset import load_dataset


def test_the_split_is_described_with_its_overlap():
    assert describe_split([1600, 200, 200], 0.0) == (
        "1,600 / 200 / 200 lines (0.0% of dev is in train too)"
    )
    assert "13.1% of dev is in train too; see --split unique" in describe_split(
        [80, 10, 10], 0.1314
    )
    assert describe_split([1000, 0, 0], 0.0) == (
        "all 1,000 lines are for training, none are held out"
    )


def test_a_dataset_is_described(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("emma\n\nava\n" * 10)
    data, split = describe_dataset(load_dataset(DataConfig(str(path))))
    assert data == f"data       {path}: 20 lines, 5 symbols, 10 blank lines dropped"  # . a e m v
    assert split.startswith("split      16 / 2 / 2 lines")


@pytest.mark.parametrize(
    ("items", "unit", "data", "split"),
    [
        ("paragraph", "char", "20 paragraphs, 4 symbols", "16 / 2 / 2 paragraphs (0.0% of dev"),
        ("line", "byte", "40 lines, 257 bytes, 20 blank lines dropped", "32 / 4 / 4 lines ("),
        ("document", "word", "120 tokens, 4 words", "96 / 12 / 12 tokens, in the order of the"),
    ],
)
def test_other_items_and_tokens_are_named(tmp_path, items, unit, data, split):
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{'a' * (i + 1)}\nb\n\n" for i in range(20)))
    if items == "document":
        path.write_text("emma ava\n" * 40)
    config = DataConfig(str(path), items=items, unit=unit)
    lines = list(describe_dataset(load_dataset(config)))
    assert lines[0] == f"data       {path}: {data}"
    assert lines[1].startswith(f"split      {split}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", []),
        ("zyx zyx", ["'zyx' is not in the vocabulary and is read as <unk>"]),
        (
            "a b a",
            ["2 words are not in the vocabulary and are read as <unk>: 'a', 'b'"],
        ),
        (
            "a b c d e f g",
            [
                "7 words are not in the vocabulary and are read as <unk>: "
                "'a', 'b', 'c', 'd', 'e', ..."
            ],
        ),
    ],
)
def test_words_that_are_read_as_the_unknown_one_are_named(words, said):
    notes = []
    note_unknown(words.split(), SimpleNamespace(note=notes.append))
    assert notes == said
