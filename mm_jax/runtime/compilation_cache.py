"""Compiled programs, kept from one process to the next. Imports no jax.

JAX writes the entries, reads them under a lock, and bounds their size: the least recently used go
first. Whether an entry is still what was written is checked here, before JAX starts: each has a
checksum, and one without, or with another one, is removed and compiled again.
"""

import atexit
import contextlib
import hashlib
import json
import os
import platform
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import filelock

from mm_jax.config.base import InputError
from mm_jax.runtime.atomic_files import remove, write_whole
from mm_jax.runtime.hardware import num_cores
from mm_jax.runtime.paths import cache_dir

FOLDER = "JAX_COMPILATION_CACHE_DIR"  # users who set it have a cache of their own; it is kept
JAX_OPTIONS = {
    # Bytes; the programs of a run take 0.3 MB. JAX reads the age of every entry when it adds one.
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**25),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # small programs are many
}
THREADS = "PJRT_NPROC"  # the variable that XLA takes its number of CPU threads from
VARIABLES = (FOLDER, *JAX_OPTIONS)
QUIET = (0, 10, 2)  # jaxlib; older ones write an error for each program that a CPU takes from it
LOCK_SECONDS = 2.0  # to wait for another process; then this one does without a cache
CPU_FIELDS = ("model name", "flags", "Features")  # of /proc/cpuinfo
ENTRY, LAST_USED, SUMS = "-cache", "-atime", "sums.json"  # the first two end names that JAX gives

_folder: str | None = None  # that JAX was given by turn_on


def turn_on() -> None:
    """Make JAX, which has not been imported yet, keep what it compiles, wherever that is possible.

    JAX_ENABLE_COMPILATION_CACHE=0 turns it off. Called again, it follows the number of threads.
    """
    global _folder
    if "jax" in sys.modules or os.environ.get(FOLDER) != _folder or not is_supported():
        return
    folder = cache_dir() / "compiled" / _processor()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_private(folder):
            return
        with locked(folder):
            remove_changed(folder)
    except (InputError, OSError, RuntimeError):  # no home, no space, no lock
        return
    os.environ[FOLDER] = _folder = str(folder)
    for name, value in JAX_OPTIONS.items():
        os.environ.setdefault(name, value)
    # What cannot be read or written is compiled, which no user needs to know.
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache")
    warnings.filterwarnings("ignore", r"Cache value for key .* exceeds")
    atexit.register(record_sums, folder)


def is_supported() -> bool:
    """Return whether the installed jaxlib takes programs from a cache without complaints."""
    try:
        numbers = re.findall(r"\d+", version("jaxlib"))[:3]
    except PackageNotFoundError:  # installed in a way that does not say which it is
        return False
    return tuple(map(int, numbers)) >= QUIET


def is_on() -> bool:
    """Return whether this process uses a cache of ours."""
    return _folder is not None


def is_private(folder: Path) -> bool:
    """Return whether nobody else can write to a folder: its programs are run unseen."""
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock that JAX takes too. Raises filelock.Timeout, an OSError."""
    with filelock.FileLock(folder / ".lockfile", timeout=LOCK_SECONDS):
        yield


# JAX alone does not suffice: with zstandard (Python 3.14, or that package) its entries have no
# checksum. Of 80 entries with one bit flipped 18 crashed the process and 6 gave wrong numbers; with
# zlib all were noticed. Nor can JAX add an entry beside one without the time of its last use.
def remove_changed(folder: Path) -> None:
    """Remove each entry without the checksum that was recorded. Raises InputError, OSError."""
    sums = _read_sums(folder)
    for path in folder.glob(f"*{ENTRY}"):
        last_used = path.with_name(path.name.removesuffix(ENTRY) + LAST_USED)
        if not last_used.is_file() or sums.get(path.name) != _checksum(path):
            remove(path)
            remove(last_used)


def record_sums(folder: Path) -> None:
    """Record the checksums of new entries, and forget those of entries that are gone."""
    with contextlib.suppress(InputError, OSError), locked(folder):
        before = _read_sums(folder)
        entries = [path for path in folder.glob(f"*{ENTRY}") if path.is_file()]
        now = {path.name: before.get(path.name) or _checksum(path) for path in entries}
        if now != before:
            write_whole(folder / SUMS, json.dumps(now).encode())


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        sums = json.loads((folder / SUMS).read_bytes())
    except (OSError, ValueError):
        return {}
    return sums if isinstance(sums, dict) else {}


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _processor() -> str:
    """Return a name for this kind of processor with its number of threads.

    A program is made for both, and the name that JAX gives its entry depends on neither.
    """
    description = (
        f"{platform.machine()} {platform.processor()} {os.environ.get(THREADS)} {num_cores()}"
    )
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        for field in CPU_FIELDS:
            description += next((line for line in lines if line.startswith(field)), "")
    return hashlib.sha256(description.encode()).hexdigest()[:16]
