"""Large files, mapped and not held in memory: killed and resumed, and in two processes at once."""

import os
import signal
import subprocess
import sys

import pytest

from mm_jax.data import mapped
from mm_jax.data.text import read_lines
from tests.helpers import ROOT, call, record_of

pytestmark = pytest.mark.slow
LIMIT = 300
NET = ["--hidden-dim", "8", "--steps", "4000", "--checkpoint-every", "500"]
# A file is large from its first byte on.
BEGIN = "import os, signal, sys; from mm_jax.data import mapped; mapped.MAPPED_BYTES = 1; "
END = "from mm_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
INTERRUPTED = (  # while the ids are being split; a background job begins without a handler
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "mapped._split = lambda *_: os.kill(os.getpid(), signal.SIGINT); "
)
KILLED = """
from mm_jax.runs import checkpoint_manager
save, saved = checkpoint_manager.save_checkpoint, []
def save_or_die(*args, **options):
    if len(saved) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    saved.append(save(*args, **options))
checkpoint_manager.save_checkpoint = save_or_die
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(read_lines().lines[:3000]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def start():
    """Start commands for which every file is large; whatever still runs at the end is killed."""
    started = []

    def start_one(*args, code=""):
        command = [sys.executable, "-c", BEGIN + code + "\n" + END, *args]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
        )
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait(timeout=LIMIT)


def ended(process):
    """The exit code of a process and what it said on stderr, once it has ended."""
    err = process.communicate(timeout=LIMIT)[1]
    return process.returncode, err


def results(path):
    return {
        name: (path / name).read_bytes()
        for name in ("params.safetensors", "metrics.jsonl", "samples.txt")
    }


@pytest.mark.parametrize("items", ["line", "document"])
def test_a_run_from_a_mapped_file_that_was_killed_ends_with_the_bits_of_memory(
    folder, start, items
):
    train = ["train", "--data", "names.txt", "--items", items, *NET]
    call(*train, "--out", "whole")
    assert ended(start(*train, "--out", "run", code=KILLED))[0] == -signal.SIGKILL
    assert list((folder / "run/checkpoints").glob("step-*.safetensors"))
    assert not (folder / "run/params.safetensors").exists()
    assert len(list((folder / "cache/mm-jax/corpora").glob("*/train.ids"))) == 1
    code, err = ended(start("train", "--resume", "--out", "run"))
    assert code == 0, err
    assert results(folder / "run") == results(folder / "whole")


def test_ctrl_c_while_a_file_is_encoded_leaves_nothing_behind(folder, start):
    process = start("train", "--data", "names.txt", "--out", "run", code=INTERRUPTED)
    assert ended(process) == (130, "mm-jax train: error: interrupted\n")
    assert [path.suffix for path in mapped.corpora_dir().iterdir()] == [".lock"]
    assert not (folder / "run").exists()


def test_two_processes_share_what_one_of_them_encodes(folder, start):
    flags = ["train", "--data", "names.txt", "--hidden-dim", "8", "--steps", "10"]
    for process in [start(*flags, "--out", f"run{i}") for i in range(2)]:
        code, err = ended(process)
        assert code == 0, err
    [ids] = (folder / "cache/mm-jax/corpora").glob("*/train.ids")
    size = ids.stat().st_size
    assert size > 10_000
    assert results(folder / "run0") == results(folder / "run1")
    record = record_of("data", "clean")
    assert record["num_removed"] == 1
    assert record["num_bytes"] > size
    assert not list(mapped.corpora_dir().glob("*"))
