"""The data to learn from: the file and how it is split. Imports no jax."""

import dataclasses
from typing import Literal

from mm_jax.config.base import Choices, Seed, check_path


@dataclasses.dataclass(frozen=True)
class DataConfig(Choices):
    """The data to learn from."""

    data: str = "names"
    """A text file with one item per line; or names (ships with mm-jax), or lecture-names."""
    split: Literal["lecture", "unique", "none"] = "lecture"
    """lecture: shuffled, then 80/10/10; unique: repeated lines dropped first; none: no split."""
    split_seed: Seed = 42
    """Seed of the shuffle before the split."""

    def __post_init__(self) -> None:
        """Refuse a path that cannot be the name of a file."""
        super().__post_init__()
        check_path(self.data, "--data")
