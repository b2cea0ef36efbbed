"""Where files are: what ships with the package, named data sets, caches. Imports no jax."""

import os
from pathlib import Path

from mm_jax.config.base import InputError

LECTURE_VARIABLE = "MM_JAX_LECTURE_NAMES"
DATA_SETS = ("names", "lecture-names")  # that have a name; any other is a path
LARGE_FILE_BYTES = 2**26  # from here on a file takes more than a moment to read


def cache_dir() -> Path:
    """Return the folder for downloads: $XDG_CACHE_HOME/mm-jax, or ~/.cache/mm-jax."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mm-jax"


def lecture_path() -> Path:
    """Return where the lectures' own file is or would be: as the variable says, or downloaded."""
    chosen = os.environ.get(LECTURE_VARIABLE)
    return Path(chosen) if chosen else cache_dir() / "lecture-names.txt"


def shipped(path: str) -> Path:
    """Return the path of a file that ships: a wheel has it in the package, a checkout beside it.

    >>> shipped("data/names.txt").exists()
    True
    """
    package = Path(__file__).parents[1]
    inside = package / path
    return inside if inside.exists() else package.parent / path


def find_data(name: str) -> Path:
    """Return the path of a data set: ``names``, ``lecture-names``, or any path as it is.

    ``names`` ships with the package. ``lecture-names`` is the file of the makemore lectures: the
    path in $MM_JAX_LECTURE_NAMES, or what ``mm-jax data lecture-names`` downloaded. Raises
    InputError where a name is empty, or that file is not there.
    """
    if not name:
        raise InputError("the name of the data is empty; give a path, names or lecture-names")
    if name == "names":
        return shipped("data/names.txt")
    if name == "lecture-names":
        path = lecture_path()
        if not path.is_file():
            advice = (
                "correct that path"
                if os.environ.get(LECTURE_VARIABLE)
                else "download it: mm-jax data lecture-names"
            )
            raise InputError(f"lecture-names is not at {path}; {advice}")
        return path
    return Path(name)


def is_large(name: str) -> bool:
    """Return whether a data set takes more than a moment to read; a missing one does not."""
    try:
        return find_data(name).stat().st_size > LARGE_FILE_BYTES
    except (OSError, InputError):
        return False
