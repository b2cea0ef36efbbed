"""The same data from memory and from mapped files, which are cut into very small parts."""

import contextlib

import pytest

from mm_jax.config.data import DataConfig
from mm_jax.data import corpus, examples, external_shuffle, mapped
from mm_jax.data.dataset import load_dataset

LINES = [f"{'ab'[i % 2] * (i % 5)}c{i % 23}" for i in range(50)]
LINES += LINES[:20]  # some lines repeat
TEXT = "\n".join(LINES)


@contextlib.contextmanager
def all_is_large(cache):
    """Map files of any size, with folders in ``cache``; little is worked on at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(mapped, "MAPPED_BYTES", 1)
        patch.setattr(corpus, "BLOCK_IDS", 7)
        patch.setattr(external_shuffle, "BUCKET_BYTES", 16)
        patch.setattr(examples, "SEGMENT_BYTES", 64)
        yield


def both_datasets(folder, text=TEXT, vocab=None, *, skip_unknown=False, **choices):
    """A file with this text as a data set in memory, and as a mapped one."""
    path = folder / "data.txt"
    path.write_text(text, "utf-8")
    config = DataConfig(str(path), **choices)
    memory = load_dataset(config, vocab, skip_unknown=skip_unknown)
    with all_is_large(folder / "cache"):
        large = load_dataset(config, vocab, skip_unknown=skip_unknown)
    assert large.splits.train.is_mapped
    assert not memory.splits.train.is_mapped
    return memory, large
