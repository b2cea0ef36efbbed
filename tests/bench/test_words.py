"""The section of words: what jobs return becomes rows, and each job does what it says."""

import pytest

from mm_jax.bench import words
from mm_jax.bench.timing import Bench
from mm_jax.runtime.console import Console

SECONDS = {"word_steps": 0.2, "word_products": 0.1}
TINY = {"vocab_size": 300, "batch_size": 16}


def fake_job(name, *, vocab_size, batch_size, direct, compiled=False, sampled=0):
    assert (vocab_size, batch_size, direct) in words.SHAPES.values()
    assert sampled in (0, words.SAMPLED)
    seconds = 0.05 if sampled else SECONDS.get(name, 0.5 if compiled else 0.8)
    return {"seconds": seconds * batch_size, "peak_mb": vocab_size / 10}


@pytest.mark.parametrize("with_torch", [True, False])
def test_each_shape_has_its_rows(monkeypatch, with_torch):
    monkeypatch.setattr(words, "job", fake_job)
    rows = words.words(Bench(1, Console(json=True), with_torch=with_torch))
    assert len(rows) == len(words.SHAPES) * (3 + 2 * with_torch)
    ours, sampled, floor, *peers = rows[: 3 + 2 * with_torch]
    assert (ours.unit, ours.median, floor.median) == ("words/s", 5.0, 10.0)
    assert ours.beside == "50% of its last layer's products, 1,700 MB"
    assert sampled.beside == "4.0 times as fast as all words"
    assert [row.beside for row in peers] == ["ours is 4.0 times", "ours is 2.5 times"][: len(peers)]


@pytest.mark.parametrize("direct", [False, True])
def test_steps_and_products_are_timed(direct):
    for measure in (words.word_steps, words.word_products):
        assert measure(**TINY, direct=direct)["seconds"] > 0
    assert words.word_steps(**TINY, direct=direct, sampled=30)["seconds"] > 0


def test_the_same_steps_are_taken_in_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert words.word_steps_in_pytorch(**TINY, direct=True, compiled=False)["seconds"] > 0
