"""One file a command: its flags as ``Options``, and ``run(options, console) -> Outcome``.

No command imports jax before ``run``, so that --help and a wrong flag are answered at once.
"""

import dataclasses
import os
from typing import Any, NamedTuple

from mm_jax.config import DataConfig
from mm_jax.text import find_data

NUM_SAMPLES = 20  # lines that are shown and kept with a new run


class Outcome(NamedTuple):
    """What a command found, for --json, and how it ended."""

    record: dict[str, Any]
    exit_code: int = 0
    complaint: str | None = None  # one line for stderr where exit_code is not 0


def with_absolute_path(data: DataConfig) -> DataConfig:
    """Return the choices with a data path that holds from any folder."""
    if data.data in ("names", "lecture-names"):
        return data
    return dataclasses.replace(data, data=os.path.abspath(find_data(data.data)))


def describe_split(split_lines: list[int], dev_lines_in_train: float) -> str:
    """Say how many lines are in train, dev and test, and how many stand in two of them."""
    if not split_lines[1]:
        return f"all {split_lines[0]:,} lines are for training, none are held out"
    counts = " / ".join(f"{count:,}" for count in split_lines)
    mend = "; see --split unique" if dev_lines_in_train else ""
    return f"{counts} lines ({dev_lines_in_train:.1%} of dev is in train too{mend})"
