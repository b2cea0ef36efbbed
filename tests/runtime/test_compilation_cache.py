"""What is compiled is kept between processes, and nothing that happens to it changes a result."""

import atexit
import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import filelock
import pytest

from mm_jax.runtime import compilation_cache

# A process as the command line makes it: a program is compiled, or taken from the cache.
SCRIPT = """
import json, sys
from mm_jax.runtime import compilation_cache
compilation_cache.turn_on()
import jax
from jax import monitoring
events = []
monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[2]))
value = jax.jit(lambda x: (jax.numpy.sin(x) * x).sum())(jax.numpy.arange(8.0))
json.dump({"value": float(value), "hits": events.count("cache_hits"),
           "misses": events.count("cache_misses")}, sys.stdout)
"""


def start(folder, script=SCRIPT, **more):
    dropped = {*compilation_cache.VARIABLES, "JAX_ENABLE_COMPILATION_CACHE", "PJRT_NPROC"}
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env |= {"XDG_CACHE_HOME": str(folder), **more}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], env=env, cwd=folder, **pipes)


def finish(process):
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return {**json.loads(out), "stderr": err}


def entries(folder):
    return sorted(folder.glob("mm-jax/compiled/*/*-cache"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled, what it found, and a copy of the cache."""
    if not compilation_cache.is_supported():
        pytest.skip("this jaxlib writes errors when it takes programs from a cache")
    folder = tmp_path_factory.mktemp("cache")
    first = finish(start(folder))
    shutil.copytree(folder / "mm-jax", folder / "copy")
    return folder, first


@pytest.fixture
def full(filled):
    """The same cache, to be damaged: elsewhere JAX would give its entries other names."""
    folder, _ = filled
    shutil.rmtree(folder / "mm-jax", ignore_errors=True)
    shutil.copytree(folder / "copy", folder / "mm-jax")
    yield folder
    (folder / "mm-jax").chmod(0o700)


def test_the_second_process_compiles_nothing(full, filled):
    _, first = filled
    assert first["hits"] == 0
    assert first["misses"] > 0
    before = {path.name: path.read_bytes() for path in entries(full)}
    second = finish(start(full))
    assert (second["hits"], second["misses"]) == (first["misses"], 0)
    assert second["value"] == first["value"]
    assert first["stderr"] == second["stderr"] == ""
    assert {path.name: path.read_bytes() for path in entries(full)} == before


def flip_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def flip_unnoticed(path):
    """Flip a bit such that what unpacks the entry notices nothing, as zstandard would not."""
    data = path.read_bytes()
    try:
        path.write_bytes(zlib.compress(flip_bit(zlib.decompress(data))))
    except zlib.error:
        path.write_bytes(flip_bit(data))


def last_used(path):
    return path.with_name(path.name.removesuffix("-cache") + "-atime")


DAMAGES = {
    "a bit": lambda path: path.write_bytes(flip_bit(path.read_bytes())),
    "a bit before it is packed": flip_unnoticed,
    "its end": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "all of it": lambda path: path.write_bytes(b""),
    "its time of use": lambda path: last_used(path).unlink(),
    "the sums": lambda path: path.with_name("sums.json").write_text("{"),
    "its place": lambda path: path.unlink() or path.mkdir(),
}


@pytest.mark.parametrize("damage", ["a bit before it is packed"])
def test_what_is_damaged_is_compiled_again(damage, full, filled):
    for path in entries(full):
        DAMAGES[damage](path)
    second = finish(start(full))
    assert second["value"] == filled[1]["value"]
    assert (second["hits"], second["stderr"]) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("damage", sorted(DAMAGES.keys() - {"a bit before it is packed"}))
def test_what_is_damaged_in_another_way_is_compiled_again_too(damage, full, filled):
    test_what_is_damaged_is_compiled_again(damage, full, filled)


def make_entries(folder, *names):
    for name in names:
        (folder / f"{name}-cache").write_bytes(name.encode() * 100)
        (folder / f"{name}-atime").write_bytes(bytes(8))


def names_in(folder):
    return sorted({path.name.rpartition("-")[0] for path in folder.glob("*-*")})


@pytest.mark.parametrize("damage", ["a bit", "its end", "all of it", "its time of use"])
def test_an_entry_that_has_changed_is_removed_and_no_other(damage, tmp_path):
    make_entries(tmp_path, "a", "b", "c")
    compilation_cache.record_sums(tmp_path)
    compilation_cache.remove_changed(tmp_path)
    assert names_in(tmp_path) == ["a", "b", "c"]
    DAMAGES[damage](tmp_path / "b-cache")
    compilation_cache.remove_changed(tmp_path)
    assert names_in(tmp_path) == ["a", "c"]


def test_an_entry_without_a_sum_is_removed(tmp_path):
    """Another program wrote it, or one that ended before it could record its sums."""
    make_entries(tmp_path, "a")
    compilation_cache.record_sums(tmp_path)
    make_entries(tmp_path, "b")
    compilation_cache.remove_changed(tmp_path)
    assert names_in(tmp_path) == ["a"]
    for sums in ("{", "[]", '{"a-cache": 5}'):
        make_entries(tmp_path, "a")
        (tmp_path / "sums.json").write_text(sums)
        compilation_cache.remove_changed(tmp_path)
        assert names_in(tmp_path) == []


def test_a_sum_is_never_replaced_and_forgotten_with_its_entry(tmp_path):
    """An entry that changes while a process runs is found out by the next one."""
    make_entries(tmp_path, "a", "b")
    compilation_cache.record_sums(tmp_path)
    (tmp_path / "a-cache").write_bytes(b"changed")
    (tmp_path / "b-cache").unlink()
    compilation_cache.record_sums(tmp_path)
    assert list(json.loads((tmp_path / "sums.json").read_text())) == ["a-cache"]
    compilation_cache.remove_changed(tmp_path)
    assert not (tmp_path / "a-cache").exists()


@pytest.mark.slow
def test_processes_share_it(tmp_path, filled):
    processes = [start(tmp_path) for _ in range(4)]
    try:
        for each in map(finish, processes):
            assert (each["value"], each["stderr"]) == (filled[1]["value"], "")
    finally:
        for process in processes:
            process.kill()
    assert finish(start(tmp_path))["misses"] == 0


@pytest.mark.slow
def test_a_lock_that_is_held_is_not_waited_for_long(full, filled):
    with filelock.FileLock(entries(full)[0].with_name(".lockfile")):
        found = finish(start(full))
    assert (found["value"], found["hits"], found["stderr"]) == (filled[1]["value"], 0, "")


@pytest.mark.slow
def test_its_size_is_bounded(full):
    before = entries(full)
    most = sum(path.stat().st_size for path in before) + 1000
    limits = {"JAX_COMPILATION_CACHE_MAX_SIZE": str(most)}
    found = finish(start(full, **limits, XLA_FLAGS="--xla_backend_optimization_level=1"))
    assert (found["hits"], found["stderr"]) == (0, "")
    after = entries(full)
    assert set(after) - set(before)
    assert set(before) - set(after)
    assert sum(path.stat().st_size for path in after) <= most


@pytest.mark.slow
def test_where_there_can_be_none_everything_is_compiled(tmp_path, filled):
    (tmp_path / "mm-jax").write_text("a file in its way")
    found = finish(start(tmp_path))
    assert (found["value"], found["hits"], found["stderr"]) == (filled[1]["value"], 0, "")


@pytest.mark.slow
def test_programs_that_others_could_have_written_are_not_run(full, filled):
    entries(full)[0].parent.chmod(0o777)
    found = finish(start(full))
    assert (found["value"], found["hits"], found["stderr"]) == (filled[1]["value"], 0, "")


@pytest.mark.slow
def test_programs_of_another_number_of_threads_are_others(full, filled):
    """XLA may cut a program for the threads that there are, and does not say so to JAX."""
    found = finish(start(full, PJRT_NPROC="1"))
    assert (found["hits"], found["misses"]) == (0, filled[1]["misses"])
    pin = "from mm_jax.runtime.environment import pin_threads\npin_threads()\nimport jax\n"
    pinned = SCRIPT.replace("import jax\n", pin, 1)  # which changes XLA_FLAGS too
    assert finish(start(full, script=pinned))["hits"] == 0
    assert finish(start(full, script=pinned))["hits"] == filled[1]["misses"]
    assert len(list(full.glob("mm-jax/compiled/*"))) == 2


# Turned on or not, in this process


@pytest.fixture
def before_jax(tmp_path, monkeypatch):
    """As in a process that has not imported JAX; returns what it does at its end."""
    for name in (*compilation_cache.VARIABLES, "PJRT_NPROC"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation_cache, "_folder", None)
    monkeypatch.setattr(compilation_cache, "version", lambda _: "1.0.0.dev1")
    monkeypatch.delitem(sys.modules, "jax")
    at_exit = []
    monkeypatch.setattr(atexit, "register", lambda *args: at_exit.append(args))
    return at_exit


def folder_in_use():
    path = os.environ.get(compilation_cache.FOLDER)
    assert compilation_cache.is_on() == (path is not None)
    return path and Path(path)


def test_it_is_our_users_alone_and_its_size_is_bounded(before_jax, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")  # as the user wants
    compilation_cache.turn_on()
    assert folder_in_use().parent == tmp_path / "mm-jax" / "compiled"
    assert stat.S_IMODE(folder_in_use().stat().st_mode) == 0o700
    assert int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]) == 32 * 2**20
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "7"
    assert before_jax == [(compilation_cache.record_sums, folder_in_use())]


def test_what_has_changed_is_removed_before_jax_reads_it(before_jax):
    compilation_cache.turn_on()
    make_entries(folder_in_use(), "a", "b")
    compilation_cache.record_sums(folder_in_use())
    (folder_in_use() / "a-cache").write_bytes(b"changed")
    compilation_cache.turn_on()
    assert names_in(folder_in_use()) == ["b"]


def test_another_number_of_threads_has_another_folder(before_jax, monkeypatch):
    compilation_cache.turn_on()
    first = folder_in_use()
    monkeypatch.setenv("PJRT_NPROC", "1")
    compilation_cache.turn_on()
    assert folder_in_use() != first
    monkeypatch.delenv("PJRT_NPROC")
    compilation_cache.turn_on()
    assert folder_in_use() == first
    monkeypatch.setattr(compilation_cache, "num_cores", lambda: 1000)
    compilation_cache.turn_on()
    assert folder_in_use() != first


def held(folder):
    return filelock.FileLock(folder / ".lockfile", is_singleton=False)


def test_where_there_can_be_none_there_is_none(before_jax, tmp_path, monkeypatch):
    (tmp_path / "mm-jax").write_text("a file in its way")
    compilation_cache.turn_on()
    assert folder_in_use() is None
    (tmp_path / "mm-jax").unlink()
    compilation_cache.turn_on()
    folder = folder_in_use()
    monkeypatch.setattr(compilation_cache, "LOCK_SECONDS", 0.01)
    for mode, lock in ((0o770, None), (0o702, None), (0o700, held(folder))):
        monkeypatch.delenv(compilation_cache.FOLDER, raising=False)
        monkeypatch.setattr(compilation_cache, "_folder", None)
        folder.chmod(mode)
        with lock or contextlib.nullcontext():
            compilation_cache.turn_on()
        assert folder_in_use() is None
    compilation_cache.turn_on()
    assert folder_in_use() == folder


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    assert compilation_cache.is_private(tmp_path)
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    assert not compilation_cache.is_private(tmp_path)


def test_it_is_left_alone_where_jax_is_there_or_somebody_has_their_own(
    before_jax, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "jax", object())
    compilation_cache.turn_on()
    assert folder_in_use() is None
    monkeypatch.delitem(sys.modules, "jax")
    for too_old in ("0.10.1", "0.9.99"):  # these would write errors to stderr
        monkeypatch.setattr(compilation_cache, "version", lambda _, number=too_old: number)
        compilation_cache.turn_on()
        assert folder_in_use() is None
    monkeypatch.setattr(compilation_cache, "version", lambda _: "0.10.2")
    monkeypatch.setenv(compilation_cache.FOLDER, "elsewhere")
    compilation_cache.turn_on()
    assert os.environ[compilation_cache.FOLDER] == "elsewhere"
    assert not list(tmp_path.iterdir())
