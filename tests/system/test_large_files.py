"""Large files, mapped and not held in memory: killed and resumed, and in two processes at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mm_jax.data import mapped
from mm_jax.data.text import read_lines
from tests.helpers import ROOT, call, record_of

pytestmark = pytest.mark.slow
LIMIT = 300
STEPS = 8_000
NET = ["--hidden-dim", "8", "--steps", str(STEPS), "--checkpoint-every", "500"]
# A file is large from its first byte on.
MAPPED = (
    "import sys; from mm_jax.data import mapped; mapped.MAPPED_BYTES = 1; "
    "from mm_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
)

INTERRUPTED = (
    "import os, signal, sys; from mm_jax.data import mapped; mapped.MAPPED_BYTES = 1; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job begins without
    "mapped._split = lambda *_: os.kill(os.getpid(), signal.SIGINT); "
    "from mm_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(read_lines().lines[:3000]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def start(*args, code=MAPPED):
    command = [sys.executable, "-c", code, *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for(pattern, process):
    """Wait until there is a file of that pattern, or the process has ended."""
    end = time.monotonic() + LIMIT
    while not list(pattern.parent.glob(pattern.name)):
        assert process.poll() is None, process.communicate(timeout=LIMIT)[1]
        assert time.monotonic() < end, pattern
        time.sleep(0.02)


def results(path):
    return {
        name: (path / name).read_bytes()
        for name in ("params.safetensors", "metrics.jsonl", "samples.txt")
    }


@pytest.mark.parametrize("items", ["line", "document"])
def test_a_run_from_a_mapped_file_that_was_killed_ends_with_the_bits_of_memory(folder, items):
    train = ["train", "--data", "names.txt", "--items", items, *NET]
    call(*train, "--out", "whole")
    process = start(*train, "--out", "run")
    try:
        wait_for(folder / "run/checkpoints/step-*.safetensors", process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT)
    assert not (folder / "run/params.safetensors").exists()
    assert len(list((folder / "cache/mm-jax/corpora").glob("*/train.ids"))) == 1
    process = start("train", "--resume", "--out", "run")
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert results(folder / "run") == results(folder / "whole")


def test_ctrl_c_while_a_file_is_encoded_leaves_nothing_behind(folder):
    process = start("train", "--data", "names.txt", "--out", "run", code=INTERRUPTED)
    _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (130, "mm-jax train: error: interrupted\n")
    assert [path.suffix for path in mapped.corpora_dir().iterdir()] == [".lock"]
    assert not (folder / "run").exists()


def test_two_processes_share_what_one_of_them_encodes(folder):
    flags = ["train", "--data", "names.txt", "--hidden-dim", "8", "--steps", "10"]
    processes = [start(*flags, "--out", f"run{i}") for i in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
    [ids] = (folder / "cache/mm-jax/corpora").glob("*/train.ids")
    size = ids.stat().st_size
    assert size > 10_000
    assert results(folder / "run0") == results(folder / "run1")
    record = record_of("data", "clean")
    assert record["num_removed"] == 1
    assert record["num_bytes"] > size
    assert not list(mapped.corpora_dir().glob("*"))
