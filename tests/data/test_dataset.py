import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data import dataset as dataset_module
from mm_jax.data.batches import rows, windows
from mm_jax.data.dataset import load_dataset
from mm_jax.data.file_summary import summarize_splits
from mm_jax.data.ngram_counts import count_stream
from mm_jax.data.splits import split_lines
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import build_vocab
from tests.helpers import assert_trees_identical

LINES = ["emma", "ava", "mia", "zoë"] * 5


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n\n".join(LINES), "utf-8")
    return path


def test_a_dataset_is_the_file_its_splits_and_its_vocabulary(path):
    dataset = load_dataset(DataConfig(str(path)))
    parts = tuple(part.items() for part in dataset.splits)
    assert parts == split_lines(LINES)
    assert (dataset.info.num_items, dataset.info.num_blank) == (20, 19)
    assert dataset.vocab.symbols == (".", *sorted(set("".join(LINES))))
    assert dataset.dev_lines_in_train == np.mean([line in set(parts[0]) for line in parts[1]])
    assert dataset.has_dev


def test_the_record_says_where_the_data_came_from(path):
    dataset = load_dataset(DataConfig(str(path)))
    assert dataset.record == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "num_lines": 20,
        "num_blank": 19,
        "split_lines": [16, 2, 2],
        "dev_lines_in_train": 1.0,
        "longest": 4,
    }


@pytest.mark.parametrize("split", ["lecture", "unique", "none"])
def test_a_file_that_is_counted_in_pieces_has_the_same_record(tmp_path, split):
    path = tmp_path / "lines.txt"
    lines = [f"{i:02}" for i in range(50)]
    in_dev = split_lines(lines, split).dev[0] if split != "none" else lines[0]
    lines[int(in_dev)] += " is the longest"
    path.write_text("\n".join(lines))
    config = DataConfig(str(path), split=split)
    stream = Stream(config, 16)
    summary = summarize_splits(stream)
    count_stream(stream, summary, 2)
    assert summary.record == load_dataset(config).record


@pytest.mark.parametrize("split", ["lecture", "none"])
def test_a_document_that_is_counted_in_pieces_has_the_same_record(tmp_path, split):
    path = tmp_path / "text.txt"
    path.write_text("It was the best of times,\nit was the worst of times.\n")
    config = DataConfig(str(path), items="document", split=split)
    stream = Stream(config, 16)
    summary = summarize_splits(stream)
    count_stream(stream, summary, 2)
    assert summary.record == load_dataset(config).record


def test_without_dev_lines_there_is_no_overlap(path):
    dataset = load_dataset(DataConfig(str(path), split="none"))
    assert dataset.dev_lines_in_train == 0.0
    assert dataset.splits.dev.items() == []
    assert not dataset.has_dev


def test_a_vocabulary_that_is_given_is_used_and_unknown_symbols_can_be_skipped(path):
    vocab = build_vocab(["abemvioz"])  # without the last of zoë
    config = DataConfig(str(path))
    with pytest.raises(InputError, match=r"5 of 20 lines .*'ë'; the first is line 7; --skip-unkn"):
        load_dataset(config, vocab)
    dataset = load_dataset(config, vocab, skip_unknown=True)
    assert dataset.vocab == vocab
    assert dataset.num_skipped == 5
    parts = tuple(part.items() for part in dataset.splits)
    assert parts == split_lines(["emma", "ava", "mia"] * 5)


def test_ids_are_on_the_device_once_for_all_contexts_of_a_split(path):
    dataset = load_dataset(DataConfig(str(path)))
    lines = split_lines(LINES).dev
    one, other, whole = (dataset.examples("dev", context) for context in (3, 2, None))
    assert one.ids is other.ids is whole.ids
    assert dataset.examples("train", 3).ids is not one.ids
    every = jnp.arange(one.num_examples)
    assert_trees_identical(one.take(every), windows(lines, dataset.vocab, 3))
    assert_trees_identical(other.take(every), windows(lines, dataset.vocab, 2))
    assert_trees_identical(whole.take(jnp.arange(2)), rows(lines, dataset.vocab, 1))


def test_a_loss_is_measured_on_all_of_a_split_or_on_some_that_are_evenly_spread(path, monkeypatch):
    dataset = load_dataset(DataConfig(str(path)))
    num = dataset.splits.train.num_predictions
    assert dataset.evaluated("train", 3, packed=False).num_examples == num
    assert dataset.evaluated("train", 3, packed=True, during=True).num_examples == num
    monkeypatch.setattr(dataset_module, "MAX_DURING", num // 4)
    assert dataset.evaluated("train", 3, packed=False).num_examples == num
    some = dataset.evaluated("train", 3, packed=False, during=True)
    every = dataset.examples("train", 3)
    places = [i * num // (num // 4) for i in range(num // 4)]
    assert_trees_identical(some.take(jnp.arange(num // 4)), every.take(jnp.array(places)))
    assert some.num_examples == num // 4
    of_rows = dataset.evaluated("train", None, packed=False, during=True)
    assert of_rows.num_examples == 16 * (num // 4) // num
    monkeypatch.undo()
    packed = dataset.evaluated("train", None, packed=True)
    assert packed.length == 1 + dataset.splits.train.longest
    assert packed.num_examples <= 16
    assert float(packed.take(jnp.arange(packed.num_examples)).weights.sum()) == num


def test_the_most_tokens_are_those_of_the_longest_item_with_its_boundary(path, tmp_path):
    dataset = load_dataset(DataConfig(str(path)))
    lines = path.read_text().split()
    assert dataset.most_tokens == 1 + max(map(len, lines))
    text = tmp_path / "text.txt"
    text.write_text("abc " * 100)
    document = load_dataset(DataConfig(str(text), items="document", block=50))
    assert document.most_tokens == 50
    assert load_dataset(DataConfig(str(text), items="document", block=999)).most_tokens < 400


def test_fewer_predictions_of_a_large_vocabulary_are_measured(path):
    dataset = load_dataset(DataConfig(str(path)))
    assert dataset.limits == (dataset_module.MAX_DURING, dataset_module.MAX_AT_END)
    many = build_vocab(map(chr, range(0x4E00, 0x4E00 + 100_000)))
    large = dataset._replace(info=dataset.info._replace(vocab=many))
    assert all(
        low * 4 < high for low, high in zip(large.limits[1:], dataset.limits[1:], strict=True)
    )
    assert large.limits[0] < dataset.limits[0]


def test_that_losses_are_measured_on_a_part_is_said(path, monkeypatch):
    dataset = load_dataset(DataConfig(str(path)))
    assert dataset.note_on_losses() is None
    num = dataset.splits.train.num_predictions
    monkeypatch.setattr(dataset_module, "MAX_AT_END", num)
    assert dataset.note_on_losses() is None
    monkeypatch.setattr(dataset_module, "MAX_AT_END", num - 1)
    said = f"losses are measured on {num - 1} predictions of each split"
    assert dataset.note_on_losses().startswith(said)
