"""Files that outlive a crash: written whole or not at all, by one writer. Imports no jax.

Whatever fails is one InputError that names the file; what stood there before is untouched.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from mm_jax.config.base import InputError

PARTIAL = ".part"  # ends the name of a file that is being written
LOCK = ".lock"  # in a directory that one process writes to; it stays, and counts only while held
OURS_ONLY = os.O_NOFOLLOW | os.O_CLOEXEC  # never through a link, never into a child process


def system_error(verb: str, path: Path, error: OSError) -> InputError:
    """Return the error to raise where the system refuses to ``verb`` a file, with its reason."""
    return InputError(f"cannot {verb} {path}: {error.strerror or error}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after any crash there is the old one or the new one, never a part.

    It is written beside its place, synced and renamed, and the directory is synced. A link in its
    place is replaced, not followed. Of several writers at once the last one wins, whole. Raises
    InputError.
    """
    # No other thread of any process uses this name.
    partial = path.with_name(f"{path.name}.{threading.get_native_id()}{PARTIAL}")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        with _opened(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            _write(file, data)
            os.fsync(file)
        os.replace(partial, path)
        sync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise system_error("write", path, error) from None


def append(path: Path, data: bytes) -> None:
    """Append to a file, which is created where it is missing. Raises InputError."""
    try:
        with _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            _write(file, data)
    except OSError as error:
        raise system_error("write", path, error) from None


def truncate(path: Path, size: int) -> None:
    """Drop what a file holds after its first ``size`` bytes. Raises InputError."""
    try:
        with _opened(path, os.O_WRONLY) as file:
            os.ftruncate(file, size)
    except OSError as error:
        raise system_error("write", path, error) from None


def sync(path: Path) -> None:
    """Make sure that what a file holds is on the disk. Raises InputError."""
    try:
        with _opened(path, os.O_WRONLY) as file:
            os.fsync(file)
    except OSError as error:
        raise system_error("write", path, error) from None


def sync_dir(path: Path) -> None:
    """Make sure that the names in a directory are on the disk. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file that is ours, close it afterwards. Raises OSError."""
    file = os.open(path, flags | OURS_ONLY, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def read(path: Path) -> bytes:
    """Return what a file holds. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise system_error("read", path, error) from None


def remove(path: Path) -> None:
    """Remove a file where there is one. Raises InputError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise system_error("remove", path, error) from None


def remove_partial_files(path: Path) -> None:
    """Remove what a crash left half-written in a directory. Raises InputError."""
    for partial in path.glob(f"*{PARTIAL}"):
        remove(partial)


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


# flock and not filelock: its older versions erase the file before they lock it, and follow links.
@contextlib.contextmanager
def exclusive_writer(path: Path) -> Iterator[None]:
    """Hold a directory as its only writer; the lock ends with the process, however that ends.

    Raises InputError, with the number of the process that holds it, where another one does.
    """
    try:
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | OURS_ONLY, 0o666)
    except OSError as error:
        raise system_error("write", path / LOCK, error) from None
    try:
        _lock(file, path)
        with contextlib.suppress(OSError):  # whose lock it is helps, and no more
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # what has been written is synced
            os.close(file)


def _lock(file: int, path: Path) -> None:
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


def check_space(path: Path, needed: int, advice: str) -> None:
    """Raise InputError where ``needed`` bytes are more than is free where ``path`` will be."""
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        disk = os.statvfs(existing)
    except OSError as error:
        raise system_error("look at", existing, error) from None
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise InputError(
            f"{path} will take up to {size_text(needed)}, and {size_text(free)} are free there; "
            f"{advice}"
        )


def size_text(num_bytes: int) -> str:
    """Return a number of bytes as text: ``1.4 MB``."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"
