"""Files that outlive a crash: written whole or not at all, by one writer. Imports no jax.

Whatever goes wrong is one InputError that names the file; what stood there before is untouched.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from mm_jax.config.base import InputError

PART = ".part"  # ends the name of a file that is being written
LOCK = ".lock"  # in a directory that one process writes to; it stays, and counts only while held
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def system_error(what: str, path: Path, error: OSError) -> InputError:
    """Return what to say where the system refuses: what was tried, with which file, and why."""
    return InputError(f"cannot {what} {path}: {error.strerror or error}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after any crash there is the old one or the new one, never a part.

    Beside its place, synced, renamed, and the directory synced. A link in its place is replaced,
    not followed. Of several writers at once the last one wins, whole. Raises InputError.
    """
    beside = path.with_name(f"{path.name}.{threading.get_native_id()}{PART}")  # nobody else's
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        file = os.open(beside, NEW, 0o666)
        try:
            _write(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, path)
        sync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise system_error("write", path, error) from None


def append(path: Path, data: bytes) -> None:
    """Add to a file, which is made where it is missing. Raises InputError."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(path, flags, 0o666)
        try:
            _write(file, data)
        finally:
            os.close(file)
    except OSError as error:
        raise system_error("write", path, error) from None


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sync_dir(path: Path) -> None:
    """Make sure that the names in a directory are on the disk. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync(path: Path) -> None:
    """Make sure that what a file holds is on the disk. Raises InputError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise system_error("write", path, error) from None


def cut(path: Path, size: int) -> None:
    """Drop what stands in a file after its first ``size`` bytes. Raises InputError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(file, size)
        finally:
            os.close(file)
    except OSError as error:
        raise system_error("write", path, error) from None


def read(path: Path) -> bytes:
    """Return what a file holds. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise system_error("read", path, error) from None


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises InputError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise system_error("remove", path, error) from None


def make_dir(path: Path) -> None:
    """Make a directory inside one of ours; a link in its place is refused. Raises InputError."""
    try:
        os.mkdir(path)
        sync_dir(path.parent)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise InputError(f"{path} is no directory of its own; remove it") from None
    except OSError as error:
        raise system_error("make", path, error) from None


def remove_partial_files(path: Path) -> None:
    """Remove what a crash left half-written in a directory. Raises InputError."""
    for part in path.glob(f"*{PART}"):
        remove(part)


@contextlib.contextmanager
def exclusive_writer(path: Path) -> Iterator[None]:
    """Hold a directory as its only writer; the lock ends with the process, however that ends.

    Raises InputError where another process holds it.
    """
    try:
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise system_error("write", path / LOCK, error) from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            raise InputError(
                f"another process{holder and ' ' + holder} is writing {path}; wait for its end, "
                "or name another --out"
            ) from None
        except OSError as error:
            raise system_error("lock", path, error) from None
        with contextlib.suppress(OSError):  # who it is is a help, and no more
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # what has been written is synced
            os.close(file)


def check_space(path: Path, needed: int, mend: str) -> None:
    """Raise InputError where ``needed`` bytes are more than is free where ``path`` will be."""
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        found = os.statvfs(there)
    except OSError as error:
        raise system_error("look at", there, error) from None
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise InputError(
            f"{path} will take up to {size_text(needed)}, and {size_text(free)} are free there; "
            f"{mend}"
        )


def size_text(count: int) -> str:
    """Write a number of bytes: ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count = count / 1000  # type: ignore[assignment]
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 100 else f"{count:,.1f} {unit}"
