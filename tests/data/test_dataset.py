import hashlib

import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.data.batches import rows, windows
from mm_jax.data.dataset import load_dataset, make_batch
from mm_jax.data.splits import split_lines
from mm_jax.data.streaming import Stream, summarize_file
from tests.helpers import assert_trees_identical

LINES = ["emma", "ava", "mia", "zoë"] * 5


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n\n".join(LINES), "utf-8")
    return path


def test_a_dataset_is_the_file_its_splits_and_its_vocabulary(path):
    dataset = load_dataset(DataConfig(str(path)))
    assert dataset.text.lines == LINES
    assert dataset.splits == split_lines(LINES)
    assert dataset.vocab.symbols == (".", *sorted(set("".join(LINES))))
    train = set(dataset.splits.train)
    assert dataset.dev_lines_in_train == np.mean([line in train for line in dataset.splits.dev])


def test_the_record_says_where_the_data_came_from(path):
    dataset = load_dataset(DataConfig(str(path)))
    assert dataset.record == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "num_lines": 20,
        "num_blank": 19,
        "split_lines": [16, 2, 2],
        "dev_lines_in_train": 1.0,
    }


@pytest.mark.parametrize("split", ["lecture", "unique", "none"])
def test_a_file_in_pieces_has_the_same_record(tmp_path, split):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(f"{i % 30}" for i in range(50)))
    config = DataConfig(str(path), split)
    assert summarize_file(Stream(path, 16), config).record == load_dataset(config).record


def test_without_dev_lines_there_is_no_overlap(path):
    dataset = load_dataset(DataConfig(str(path), "none"))
    assert dataset.dev_lines_in_train == 0.0
    assert dataset.splits.dev == []


def test_a_batch_is_made_once_for_each_split_layout_and_context(path):
    dataset = load_dataset(DataConfig(str(path)))
    batch = dataset.batch("dev", "windows", 3)
    assert_trees_identical(batch, windows(dataset.splits.dev, dataset.vocab, 3))
    assert dataset.batch("dev", "windows", 3) is batch
    for other in (("train", "windows", 3), ("dev", "rows", 3), ("dev", "windows", 2)):
        assert dataset.batch(*other) is not batch
    assert dataset.batch("dev", "windows", 2).tokens.shape[1] == 2


def test_the_layout_decides_the_kind_of_batch(path):
    vocab = load_dataset(DataConfig(str(path))).vocab
    lines = ["emma", "ava"]
    assert_trees_identical(make_batch(lines, vocab, "windows", 2), windows(lines, vocab, 2))
    assert_trees_identical(make_batch(lines, vocab, "rows", 2), rows(lines, vocab, 2))
