"""Compiled programs, kept from one process to the next. Imports no jax.

JAX writes the entries, reads them under a lock, and bounds their size: those longest unused go
first. Whether an entry is still what was written is checked here, before JAX starts: each has a
sum, and what has none, or another one, is thrown away and compiled again.
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

FOLDER = "JAX_COMPILATION_CACHE_DIR"  # set by who has a cache of their own; it is left alone
JAX_OPTIONS = {
    # Bytes; the programs of a run take 0.3 MB. JAX looks at every entry when it adds one.
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**25),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # small programs are many
}
THREADS = "PJRT_NPROC"  # the variable that XLA takes its number of CPU threads from
VARIABLES = (FOLDER, *JAX_OPTIONS)
QUIET = (0, 10, 2)  # jaxlib; those before write an error for each program that a CPU takes from it
LOCK_SECONDS = 2.0  # to wait for another process; then this one goes without
KEYS = ("model name", "flags", "Features")  # of /proc/cpuinfo
ENTRY, USED, SUMS = "-cache", "-atime", "sums.json"

_folder: str | None = None  # that JAX was told of


def turn_on() -> None:
    """Let JAX, which has not been imported yet, keep what it compiles; where it cannot, it won't.

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
            check(folder)
    except (InputError, OSError, RuntimeError):  # no home, no space, no lock
        return
    os.environ[FOLDER] = _folder = str(folder)
    for name, value in JAX_OPTIONS.items():
        os.environ.setdefault(name, value)
    # What cannot be read or written is compiled, which nobody needs to know.
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache")
    warnings.filterwarnings("ignore", r"Cache value for key .* exceeds")
    atexit.register(seal, folder)


def is_supported() -> bool:
    """Tell whether the jaxlib that is here takes programs from a cache without complaints."""
    try:
        numbers = re.findall(r"\d+", version("jaxlib"))[:3]
    except PackageNotFoundError:  # installed in a way that does not say which it is
        return False
    return tuple(map(int, numbers)) >= QUIET


def is_on() -> bool:
    """Tell whether this process has a cache of ours."""
    return _folder is not None


def is_private(folder: Path) -> bool:
    """Tell whether nobody else can write to a folder: its programs are run unseen."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock that JAX takes, too. Raises filelock.Timeout, an OSError."""
    with filelock.FileLock(folder / ".lockfile", timeout=LOCK_SECONDS):
        yield


def check(folder: Path) -> None:
    """Remove each entry that is not what was sealed. Raises InputError, OSError."""
    sums = _read_sums(folder)
    for path in folder.glob(f"*{ENTRY}"):
        used = path.with_name(path.name.removesuffix(ENTRY) + USED)
        if not used.is_file() or sums.get(path.name) != _sum_of(path):
            remove(path)
            remove(used)


def seal(folder: Path) -> None:
    """Note the sums of the entries that are new, and forget those of entries that are gone."""
    with contextlib.suppress(InputError, OSError), locked(folder):
        sums = _read_sums(folder)
        there = [path for path in folder.glob(f"*{ENTRY}") if path.is_file()]
        now = {path.name: sums.get(path.name) or _sum_of(path) for path in there}
        if now != sums:
            write_whole(folder / SUMS, json.dumps(now).encode())


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / SUMS).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _processor() -> str:
    """Name this kind of processor, and how many threads there are.

    A program is made for both, and the name that JAX gives its entry says neither.
    """
    about = f"{platform.machine()} {platform.processor()} {os.environ.get(THREADS)} {num_cores()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += "".join(next((line for line in lines if line.startswith(key)), "") for key in KEYS)
    return hashlib.sha256(about.encode()).hexdigest()[:16]
