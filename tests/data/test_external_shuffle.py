"""A shuffle by way of small files gives the splits of the shuffle in memory."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data import corpus as corpus_module
from mm_jax.data import external_shuffle
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.external_shuffle import write_shuffled
from mm_jax.data.splits import split_lines
from mm_jax.data.vocab import Vocab, build_vocab

AB = build_vocab(["ab"])
WIDE = Vocab((".", "a", "b", *map(chr, range(0x4E00, 0x4E00 + 300))))  # of ids of two bytes
many_lines = st.lists(st.text("ab", max_size=6), min_size=6, max_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shuffled")


def shuffled(folder, lines, vocab, scheme, seed):
    write_shuffled(folder, encode_corpus(lines, vocab), scheme, seed)
    return [np.fromfile(folder / f"{name}.ids", vocab.dtype) for name in ("train", "dev", "test")]


@given(
    many_lines,
    st.sampled_from([AB, WIDE]),
    st.sampled_from(["lecture", "unique"]),
    st.integers(0, 99),
    st.sampled_from([1, 16, 2**26]),
    st.sampled_from([1, 3, 256]),
    st.sampled_from([1, 7, 2**20]),
)
def test_the_files_hold_the_splits(folder, lines, vocab, scheme, seed, bucket, num, block):
    if scheme == "unique":  # enough different ones
        lines = lines + ["a" * i for i in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_shuffle, "BUCKET_BYTES", bucket)
        patch.setattr(external_shuffle, "MAX_BUCKETS", num)
        patch.setattr(corpus_module, "BLOCK_IDS", block)
        parts = shuffled(folder, lines, vocab, scheme, seed)
    for ids, part in zip(parts, split_lines(lines, scheme, seed), strict=True):
        assert ids.tolist() == encode_corpus(part, vocab).ids.tolist()
    assert sorted(path.name for path in folder.iterdir()) == ["dev.ids", "test.ids", "train.ids"]


def test_no_more_files_are_open_than_may_be(folder, monkeypatch):
    opened = []  # how many files each stack closes at its end

    class Stack(contextlib.ExitStack):
        def __enter__(self):
            opened.append(0)
            return super().__enter__()

        def enter_context(self, file):
            opened[-1] += 1
            return super().enter_context(file)

    monkeypatch.setattr(contextlib, "ExitStack", Stack)
    monkeypatch.setattr(external_shuffle, "BUCKET_BYTES", 1)
    monkeypatch.setattr(external_shuffle, "MAX_BUCKETS", 5)
    shuffled(folder, ["ab"] * 200, AB, "lecture", 0)
    assert len(opened) == 3
    assert 2 <= opened[0] <= 5


def test_too_few_items_are_refused(folder):
    with pytest.raises(InputError, match="5 lines are too few"):
        shuffled(folder, ["a"] * 5, AB, "lecture", 0)
    with pytest.raises(InputError, match="2 lines are too few"):
        shuffled(folder, ["a", "b"] * 50, AB, "unique", 0)
