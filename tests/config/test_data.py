import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig


def test_the_defaults_are_the_lectures_split():
    assert DataConfig() == DataConfig("names", "lecture", 42)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "a\0b"}, r"--data 'a\\x00b' cannot be the name of a file"),
        ({"split": "random"}, "--split must be one of lecture, unique, none, not 'random'"),
        ({"split_seed": -1}, "--split-seed must be at least 0, not -1"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        DataConfig(**values)
