"""The choices of what to learn from. Imports no jax."""

import dataclasses
from typing import Literal

from mm_jax.config.base import Choices, Seed, check_path


@dataclasses.dataclass(frozen=True)
class DataConfig(Choices):
    """What to learn from."""

    data: str = "names"
    """A text file with one item a line; or names (ships with mm-jax), or lecture-names."""
    split: Literal["lecture", "unique", "none"] = "lecture"
    """80/10/10 by count after a shuffle; unique drops repeated lines first; none holds none out."""
    split_seed: Seed = 42
    """Seed of the shuffle before the split."""

    def __post_init__(self) -> None:
        """Check what no file can be called."""
        super().__post_init__()
        check_path(self.data, "--data")
