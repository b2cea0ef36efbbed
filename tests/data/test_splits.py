import itertools
import random
import re

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.splits import load_splits, overlap, split_lines


def lecture_way(words):
    """The lecture's cells, with the generator that random.seed(42) seeds."""
    words = list(words)
    generator = random.Random()
    generator.seed(42)
    generator.shuffle(words)
    n1 = int(0.8 * len(words))
    n2 = int(0.9 * len(words))
    return words[:n1], words[n1:n2], words[n2:]


@pytest.mark.parametrize("num", [6, 10, 11, 99, 1000])
def test_the_lecture_split_is_the_lectures(num):
    words = [f"w{i % 70}" for i in range(num)]
    before = list(words)
    splits = split_lines(words)
    assert tuple(splits) == lecture_way(words)
    assert words == before
    assert sorted(itertools.chain(*splits)) == sorted(words)


def test_another_seed_gives_another_split_of_the_same_lines():
    words = [f"w{i}" for i in range(100)]
    one, other = split_lines(words, seed=1), split_lines(words, seed=2)
    assert one != other
    assert sorted(itertools.chain(*one)) == sorted(itertools.chain(*other))


def test_the_unique_split_has_every_line_once_and_no_overlap():
    words = [f"w{i % 60}" for i in range(200)]
    splits = split_lines(words, "unique")
    assert sorted(itertools.chain(*splits)) == sorted(set(words))
    assert [len(part) for part in splits] == [48, 6, 6]
    assert overlap(splits.dev, splits.train) == overlap(splits.test, splits.train) == 0


def test_overlap_is_the_share_of_lines_that_stand_in_train():
    assert overlap(["a", "b", "b", "c"], ["b", "b", "d"]) == 0.5


@pytest.mark.parametrize("num", range(1, 6))
def test_too_few_lines_to_split_are_refused(num):
    with pytest.raises(InputError, match=f"^{num} lines are too few"):
        split_lines([f"w{i}" for i in range(num)])


def test_an_unknown_split_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="lecture, unique"):
        split_lines(["a"] * 20, "random")


def test_without_a_split_all_lines_are_for_training_in_their_order():
    words = ["b", "a", "b"]
    splits = split_lines(words, "none")
    assert tuple(splits) == (["b", "a", "b"], [], [])
    assert splits.train is not words


def test_a_file_of_too_few_different_lines_is_refused_by_name(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\nb\nc\n" * 20)
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_splits(DataConfig(data=str(path), split="unique"))
    text, splits = load_splits(DataConfig(data=str(path)))
    assert splits == split_lines(text.lines)
    assert len(splits.dev) == 6
