"""Lines -> train, dev and test. Imports no jax."""

import random
from typing import NamedTuple

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.text import Text, read_lines


class Splits(NamedTuple):
    """Three lists of lines."""

    train: list[str]
    dev: list[str]
    test: list[str]


def split_lines(
    lines: list[str], scheme: str = DataConfig.split, seed: int = DataConfig.split_seed
) -> Splits:
    """Shuffle lines and split them 80/10/10 by count, as the lecture does.

    A line that occurs twice can fall into two splits; ``scheme="unique"`` drops repetitions first.
    With ``"none"`` all lines are for training, in their order. Source: the second makemore lecture,
    ``random.seed(42); random.shuffle(words)``.

    >>> [len(lines) for lines in split_lines([f"line {i}" for i in range(50)])]
    [40, 5, 5]
    """
    if scheme not in ("lecture", "unique", "none"):
        raise InputError(f"unknown split {scheme!r}; choose from lecture, unique, none")
    if scheme == "none":
        return Splits(list(lines), [], [])
    shuffled = list(dict.fromkeys(lines)) if scheme == "unique" else list(lines)
    random.Random(seed).shuffle(shuffled)
    first, second = split_ends(len(shuffled))
    return Splits(shuffled[:first], shuffled[first:second], shuffled[second:])


def split_ends(num_lines: int) -> tuple[int, int]:
    """Return the indices at which train and dev end. Raise InputError for too few lines."""
    first, second = int(0.8 * num_lines), int(0.9 * num_lines)
    if not 0 < first < second < num_lines:
        raise InputError(f"{num_lines} lines are too few to split 80/10/10; give at least ten")
    return first, second


def load_splits(config: DataConfig) -> tuple[Text, Splits]:
    """Read and split a data set; errors name its file."""
    text = read_lines(config.data)
    try:
        return text, split_lines(text.lines, config.split, config.split_seed)
    except InputError as error:
        raise InputError(f"{text.path}: {error}") from None


def overlap(lines: list[str], train: list[str]) -> float:
    """Return the share of ``lines`` that are in ``train`` too, from 0 to 1."""
    known = set(train)
    return sum(line in known for line in lines) / len(lines)
