import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig


def test_the_defaults_are_the_lectures_split():
    assert DataConfig() == DataConfig("names", split="lecture", split_seed=42)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "a\0b"}, r"--data 'a\\x00b' cannot be the name of a file"),
        ({"split": "random"}, "--split must be one of lecture, unique, none, not 'random'"),
        ({"split_seed": -1}, "--split-seed must be at least 0, not -1"),
        ({"unit": "letter"}, "--unit must be one of char, byte, word, not 'letter'"),
        ({"items": "page"}, "--items must be one of line, paragraph, document, not 'page'"),
        ({"min_count": 0}, "--min-count must be at least 1, not 0"),
        ({"min_count": 2}, "--min-count is for --unit word"),
        ({"merge_numbers": True}, "--merge-numbers is for --unit word"),
        ({"sentence_ends": True, "unit": "byte"}, "--sentence-ends is for --unit word"),
        ({"count_words_in": "all"}, "--count-words-in is for --unit word"),
        ({"count_words_in": "dev", "unit": "word"}, "--count-words-in must be one of train, all"),
        (
            {"unit": "word", "min_count": 2, "split": "unique"},
            "--split unique takes items that differ in unknown words only for one, .*-in all",
        ),
        ({"lower": True, "unit": "byte"}, "--lower is for --unit char or word: bytes are not"),
        ({"column": "2", "items": "paragraph"}, "--column reads one item per row; leave out"),
        ({"weights": "2"}, "--weights needs --column, the one that has the items"),
        ({"items": "document", "split": "unique"}, "--split unique is for many items"),
        ({"block": 0}, "--block must be at least 1, not 0"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        DataConfig(**values)


def test_words_of_train_alone_are_counted_where_rare_ones_are_merged():
    assert not DataConfig(unit="word").counts_words_in_train
    assert DataConfig(unit="word", min_count=2).counts_words_in_train
    assert not DataConfig(unit="word", min_count=2, count_words_in="all").counts_words_in_train
