"""Files that outlive a crash, and a directory with one writer."""

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mm_jax.config.base import InputError
from mm_jax.runtime import atomic_files
from mm_jax.runtime.atomic_files import (
    append,
    check_space,
    exclusive_writer,
    make_dir,
    read,
    remove,
    remove_partial_files,
    size_text,
    sync,
    truncate,
    write_whole,
)
from tests.system.faults import Faulty


def test_a_file_is_written_in_place_of_another(tmp_path):
    path = tmp_path / "file"
    for data in (b"old", b"", b"new" * 99999):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_of_several_writers_at_once_the_last_one_wins_whole(tmp_path):
    path = tmp_path / "page"
    pages = [bytes([letter]) * 300_000 for letter in b"abc"]
    write_whole(path, pages[0])
    with ThreadPoolExecutor(3) as pool:
        writers = [
            pool.submit(lambda p=page: [write_whole(path, p) for _ in range(30)]) for page in pages
        ]
        while not all(writer.done() for writer in writers):
            assert path.read_bytes() in pages
    for writer in writers:
        writer.result()
    assert [each.name for each in tmp_path.iterdir()] == ["page"]


def test_the_directory_is_synced_too(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr("os.fsync", lambda file: (synced.append(os.fstat(file)), real(file)))
    write_whole(tmp_path / "file", b"data")
    assert [stat.S_ISDIR(each.st_mode) for each in synced] == [False, True]


def test_a_link_in_the_place_of_a_file_is_replaced_and_never_followed(tmp_path):
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.write_text("not yours")
    run.mkdir()
    for name in ("file", "file.part", "grows", ".lock"):
        (run / name).symlink_to(outside)
    write_whole(run / "file", b"mine")
    assert (run / "file").read_bytes() == b"mine"
    assert not (run / "file").is_symlink()
    for write in (lambda path: append(path, b"more"), sync, lambda path: truncate(path, 0)):
        with pytest.raises(InputError, match=r"cannot write .*grows"):
            write(run / "grows")
    with pytest.raises(InputError, match=r"cannot write .*\.lock"), exclusive_writer(run):
        pass
    (run / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is no directory of its own"):
        make_dir(run / "checkpoints")
    assert outside.read_text() == "not yours"


def complaint_of(act):
    """Return what an act complains of; None where nothing went wrong."""
    try:
        act()
    except InputError as error:
        return str(error)
    return None


ACTS = {
    "write": lambda path: write_whole(path, b"new"),
    "append": lambda path: append(path, b"more"),
    "sync": sync,
    "truncate": lambda path: truncate(path, 1),
    "remove": remove,
    "make": make_dir,
}


@pytest.mark.parametrize("mode", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("act", ACTS)
def test_whatever_fails_is_one_line_that_names_the_file(tmp_path, monkeypatch, act, mode):
    path, complaints = tmp_path / "file", []
    for number in range(1, 100):
        if path.is_dir():
            path.rmdir()
        if act != "make":
            path.write_bytes(b"data")
        faulty = Faulty(number, mode)
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "os", faulty)
            complaints.append(complaint_of(lambda: ACTS[act](path)))
        if faulty.reached is None:
            break
        assert str(path) in complaints[-1]
        assert os.strerror(getattr(errno, mode)) in complaints[-1]
        assert act != "write" or path.read_bytes() in (b"data", b"new")
        assert [each.name for each in tmp_path.iterdir()] in (["file"], [])
    assert complaints[-1] is None
    assert len(complaints) > 1


def test_files_grow_shrink_and_go(tmp_path):
    path = tmp_path / "file"
    append(path, b"one\n")
    append(path, b"two\n" * 99999)
    assert read(path) == b"one\n" + b"two\n" * 99999
    truncate(path, 8)
    sync(path)
    assert read(path) == b"one\ntwo\n"
    for _ in range(2):
        remove(path)
        assert not path.exists()
    for act in (read, sync, lambda path: truncate(path, 0)):
        with pytest.raises(InputError, match=r"cannot (read|write) .*file: No such file"):
            act(path)


def test_what_is_half_written_is_removed_and_nothing_else(tmp_path):
    for name in ("a.7.part", "b.part", "part", "c.part.txt"):
        (tmp_path / name).write_text("x")
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.part.txt", "part"]
    remove_partial_files(tmp_path / "none")


def test_a_directory_is_made_once(tmp_path):
    for _ in range(2):
        make_dir(tmp_path / "checkpoints")
        assert (tmp_path / "checkpoints").is_dir()
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(InputError, match="is no directory of its own"):
        make_dir(tmp_path / "file")


# One writer


def test_one_writer_at_a_time_and_its_number_is_said(tmp_path):
    other = exclusive_writer(tmp_path)
    refused = pytest.raises(InputError, match=f"another process {os.getpid()} is writing")
    with exclusive_writer(tmp_path), refused, other:
        pass
    (tmp_path / ".lock").write_text("12345678")  # a longer number of a process that has ended
    with exclusive_writer(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


HOLD = """if True:
    import sys
    from pathlib import Path
    from mm_jax.runtime.atomic_files import exclusive_writer
    with exclusive_writer(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()"""


def test_a_lock_ends_with_the_process_that_is_killed(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as process:
        try:
            assert process.stdout.readline() == "held\n"  # or the process has failed
            refused = pytest.raises(InputError, match=f"another process {process.pid} is writing")
            with refused, exclusive_writer(tmp_path):
                pass
        finally:
            process.kill()
            process.wait(timeout=60)
    assert (tmp_path / ".lock").read_text() == str(process.pid)
    with exclusive_writer(tmp_path):
        pass


def test_a_lock_is_not_inherited(tmp_path):
    """A child that outlives the writer, as a browser or a pager may, holds nothing."""
    with exclusive_writer(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with exclusive_writer(tmp_path):
            pass
    finally:
        child.kill()
        child.communicate(timeout=60)


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match=r"cannot lock .*: No locks"), exclusive_writer(tmp_path):
        pass


def test_what_does_not_fit_is_refused_with_both_sizes(tmp_path):
    check_space(tmp_path / "not" / "there", 1000, "free some")
    with pytest.raises(
        InputError, match=r"will take up to .* GB, and .* are free there; free some"
    ):
        check_space(tmp_path / "not" / "there", 10**18, "free some")


def test_sizes_are_said_in_three_digits_or_so():
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 48_028: "48.0 kB", 10**6: "1.0 MB"}
    sizes |= {123_456_789: "123 MB", 10**13: "10,000 GB"}
    assert {count: size_text(count) for count in sizes} == sizes
