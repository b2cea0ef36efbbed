"""metrics.jsonl as it grows, and what a checkpoint records of it to restore it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mm_jax.config.base import InputError
from mm_jax.config.serialization import to_json
from mm_jax.runtime.atomic_files import append, read, sync, truncate


class MetricsFile:
    """A file of JSON lines that grows, with the checksum of what was written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size, self.hash = 0, hashlib.sha256()  # of what is written

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint records: how many bytes there are, and their checksum."""
        return {"bytes": self.size, "sha256": self.hash.hexdigest()}

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines."""
        data = "".join(to_json(line) + "\n" for line in lines).encode()
        append(self.path, data)
        self.size += len(data)
        self.hash.update(data)

    def sync(self) -> None:
        """Make sure that what is written survives a power failure."""
        if self.size:
            sync(self.path)

    def restore(self, record: dict[str, Any], step: int, warn: Callable[[str], None]) -> None:
        """Cut off what was written after the checkpoint of ``step``, which has this ``record``.

        Raises InputError where what was written before it has changed.
        """
        if not self.path.exists():
            warn(f"{self.path} is gone: the run is resumed without its lines up to step {step:,}")
            return
        lines = read(self.path)[: record["bytes"]]
        self.hash, self.size = hashlib.sha256(lines), len(lines)
        if self.hash.hexdigest() != record["sha256"]:
            raise InputError(
                f"{self.path} is not what it was at step {step:,}; restore it, or remove it to "
                "resume without its lines"
            )
        truncate(self.path, self.size)

    def clear(self) -> None:
        """Remove what was written before the first checkpoint."""
        if self.path.exists():
            truncate(self.path, 0)
