"""Folders that are being written -> removed where that fails or Ctrl-C ends it. Imports no jax."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

_folders: list[Path] = []


@contextlib.contextmanager
def half_written(folder: Path) -> Iterator[None]:
    """Make an empty folder; at the end remove it, where it has not been renamed.

    Raise OSError where it cannot be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _folders.append(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.remove(folder)


def remove_all() -> None:
    """Remove the folders that are being written, before the process ends at once."""
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
