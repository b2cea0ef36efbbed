"""What is compiled is kept between processes, and nothing that happens to it changes a result."""

import json
import os
import stat
import subprocess
import sys
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
    dropped = {*compilation_cache.VARIABLES, "JAX_ENABLE_COMPILATION_CACHE"}
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env |= {"XDG_CACHE_HOME": str(folder), **more}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], env=env, cwd=folder, **pipes)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return {**json.loads(out), "said": err}


def entries(folder):
    return sorted(folder.glob("mm-jax/compiled/*/*-cache"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled, and what it found."""
    if not compilation_cache.is_supported():
        pytest.skip("this jaxlib writes errors when it takes programs from a cache")
    folder = tmp_path_factory.mktemp("cache")
    return folder, finish(start(folder))


@pytest.fixture
def full(filled, tmp_path):
    """A copy of it, to be damaged."""
    subprocess.run(["cp", "-a", f"{filled[0]}/mm-jax", str(tmp_path)], check=True)
    return tmp_path


def test_the_second_process_compiles_nothing(filled):
    folder, first = filled
    assert first["hits"] == 0
    assert first["misses"] > 0
    before = {path.name: path.read_bytes() for path in entries(folder)}
    second = finish(start(folder))
    assert (second["hits"], second["misses"]) == (first["misses"], 0)
    assert second["value"] == first["value"]
    assert first["said"] == second["said"] == ""
    assert {path.name: path.read_bytes() for path in entries(folder)} == before


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def forget(path):
    sums = path.with_name(compilation_cache.SUMS)
    sums.write_text("{")


DAMAGES = {
    "a bit": flip,
    "its end": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "all of it": lambda path: path.write_bytes(b""),
    "its time of use": lambda path: path.with_name(path.name[: -len("-cache")] + "-atime").unlink(),
    "the sums": forget,
    "its place": lambda path: path.unlink() or path.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_compiled_again(damage, full, filled):
    for path in entries(full):
        DAMAGES[damage](path)
    found = finish(start(full))
    assert found["value"] == filled[1]["value"]
    assert (found["hits"], found["said"]) == (0, "")


@pytest.mark.slow
def test_processes_share_it(tmp_path, filled):
    processes = [start(tmp_path) for _ in range(4)]
    for each in map(finish, processes):
        assert (each["value"], each["said"]) == (filled[1]["value"], "")
    assert finish(start(tmp_path))["misses"] == 0


@pytest.mark.slow
def test_a_lock_that_is_held_is_not_waited_for_long(full, filled):
    with filelock.FileLock(entries(full)[0].with_name(".lockfile")):
        found = finish(start(full))
    assert (found["value"], found["hits"], found["said"]) == (filled[1]["value"], 0, "")


@pytest.mark.slow
def test_its_size_is_bounded(full):
    before = entries(full)
    most = sum(path.stat().st_size for path in before) + 1000
    limits = {"JAX_COMPILATION_CACHE_MAX_SIZE": str(most)}
    found = finish(start(full, **limits, XLA_FLAGS="--xla_backend_optimization_level=1"))
    assert (found["hits"], found["said"]) == (0, "")
    after = entries(full)
    assert set(after) - set(before)
    assert set(before) - set(after)
    assert sum(path.stat().st_size for path in after) <= most


def test_where_there_can_be_none_everything_is_compiled(tmp_path, filled):
    (tmp_path / "mm-jax").write_text("a file in its way")
    found = finish(start(tmp_path))
    assert (found["value"], found["hits"], found["said"]) == (filled[1]["value"], 0, "")


def test_programs_that_others_could_have_written_are_not_run(full, filled):
    entries(full)[0].parent.chmod(0o777)
    found = finish(start(full))
    assert (found["value"], found["hits"], found["said"]) == (filled[1]["value"], 0, "")


def test_it_is_our_users_alone(filled):
    assert not stat.S_IMODE(entries(filled[0])[0].parent.stat().st_mode) & 0o077


def test_it_is_left_alone_where_jax_is_there_or_somebody_has_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(compilation_cache.FOLDER, raising=False)
    assert not compilation_cache.is_on()
    compilation_cache.turn_on()  # this process has imported jax
    assert compilation_cache.FOLDER not in os.environ
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(
        compilation_cache, "version", lambda _: "0.10.1"
    )  # it would write errors to stderr
    compilation_cache.turn_on()
    assert compilation_cache.FOLDER not in os.environ
    monkeypatch.setattr(compilation_cache, "version", lambda _: "1.0.0.dev1")
    monkeypatch.setenv(compilation_cache.FOLDER, "elsewhere")
    compilation_cache.turn_on()
    assert os.environ[compilation_cache.FOLDER] == "elsewhere"
    assert not list(Path(tmp_path).iterdir())


def test_programs_of_another_number_of_threads_are_others(filled):
    """XLA may cut a program for the threads that there are, and does not say so to JAX."""
    folder, first = filled
    found = finish(start(folder, PJRT_NPROC="1"))
    assert (found["hits"], found["misses"]) == (0, first["misses"])
    pin = "from mm_jax.fingerprint import pin\npin()\nimport jax\n"
    pinned = SCRIPT.replace("import jax\n", pin, 1)  # which changes XLA_FLAGS too
    assert finish(start(folder, script=pinned))["hits"] == 0
    assert finish(start(folder, script=pinned))["hits"] == first["misses"]
    assert len(list(folder.glob("mm-jax/compiled/*"))) == 2
