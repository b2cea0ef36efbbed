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
