"""Processes that are killed at any moment: resumed, they end with the same bits."""

import contextlib
import json
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.text import read_lines
from mm_jax.runs.checkpoint import deserialize
from mm_jax.runs.reader import load_run
from tests.system.command_server import LIMIT, CommandServer

pytestmark = pytest.mark.slow
STEPS, EVERY, KILLS = 8_000, 40, 12
NET = ["--hidden-dim", "16", "--data", "names.txt", "--schedule", "cosine", "--optimizer", "adamw"]
NET += ["--learning-rate", "0.01", "--dropout", "0.1", "--average-decay", "0.999"]
ONE = ["train", *NET, "--steps", str(STEPS)]
SEEDS = [*ONE, "--seeds", "3"]
SWEEP = ["sweep", *NET[2:4], "--steps", "6000", "--hidden-dim", "16", "--seeds", "2"]
SWEEP += ["--learning-rate", "0.1,0.2", "--halvings", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("crashes")
    (path / "names.txt").write_text("\n".join(read_lines().lines[:2000]))
    return path


@pytest.fixture(scope="module")
def command(folder):
    with contextlib.closing(CommandServer(folder)) as server:
        yield server


def files(path):
    """What a run has come to: the bytes of its files, but for those that tell of the machine."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in (".lock", "sweep.json", "SHA256SUMS")
    }


def kept(path):
    """The files of a run, of its checkpoints the last and the best: the others' steps differ."""
    last = f"checkpoints/step-{STEPS:010}.safetensors"
    return {
        name: data
        for name, data in files(path).items()
        if name in (last, "checkpoints/best.safetensors") or "checkpoints" not in name
    }


def run_whole(command, folder, args, name):
    """Run a command that nothing disturbs; return its folder."""
    if not (folder / name).exists():
        code, out = command(*args, "--out", name)
        assert code == 0, out
    return folder / name


def any_moment(source, questions):
    """Where a process is killed: at a file operation, after a chunk, or wherever it is by then.

    Whatever the machine, it is before it has asked ``questions`` times whether to stop, and a few
    chunks more: so a run that is long enough is never over before it was killed often enough.
    """
    kind = source.choice(["operation", "chunk", "time"])
    event = {"kill_at": source.randint(1, questions), "delay": source.uniform(0, 0.003)}
    if kind == "operation":
        event["kill_at_operation"] = source.randint(1, 15 * questions)
    elif kind == "time":
        event["kill_after"] = source.uniform(0, 0.7)
    return event


def kill_and_resume(command, args, name, kills, questions):
    """Kill a run so many times, and let it come to its end."""
    source = random.Random(name)
    for _ in range(kills):
        code, out = command(*args, "--resume", "--out", name, **any_moment(source, questions))
        assert code == -9, out
    code, out = command(*args, "--resume", "--out", name)
    assert code == 0, out


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(command, folder):
    undisturbed = kept(run_whole(command, folder, ONE, "whole"))
    args = [*ONE, "--checkpoint-every", str(EVERY)]
    kill_and_resume(command, args, "killed", KILLS, questions=4)
    found = kept(folder / "killed")
    assert found.keys() == undisturbed.keys()
    assert [name for name in found if found[name] != undisturbed[name]] == []
    lines = (folder / "killed/metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if "loss" in line]
    assert steps == list(range(STEPS // 2000, STEPS + 1, STEPS // 2000))


def test_a_chain_of_processes_of_one_chunk_each_is_one_run(command, folder):
    args = ["train", "--data", "names.txt", "--model", "bigram", "--split", "none"]
    args += ["--learning-rate", "0.01", "--steps", "6000"]
    args += ["--checkpoint-seconds", "1000"]  # a slow machine would else keep more of the first
    one = files(run_whole(command, folder, args, "at-once"))
    codes = [command(*args, "--resume", "--out", "chain", stop_at=1)[0] for _ in range(6)]
    assert codes == [143] * 5 + [0]
    other = files(folder / "chain")
    assert other.pop("checkpoints/step-0000005000.safetensors")
    assert one == other


@pytest.mark.parametrize("args", [SEEDS, SWEEP], ids=["seeds", "sweep"])
def test_a_population_that_is_killed_ends_with_the_same_bits(command, folder, args):
    name = f"{args[0]}-killed"
    one = files(run_whole(command, folder, args, f"{args[0]}-whole"))
    some = [*args, "--checkpoint-seconds", "0.05"]
    kill_and_resume(command, some, name, kills=3, questions=4)
    other = files(folder / name)
    assert one.keys() == other.keys()
    assert [each for each in one if one[each] != other[each]] == []
    assert not (folder / name / "checkpoints").exists()


def test_a_member_of_a_population_is_the_run_of_its_seed(command, folder):
    """With the same bits, as users compile it."""
    many = load_run(run_whole(command, folder, SEEDS, "train-whole"))
    one = load_run(run_whole(command, folder, [*ONE, "--seed", "1"], "alone"))
    for name, leaf in one.params.items():
        np.testing.assert_array_equal(many.params[name][1], leaf)


def test_members_that_are_finished_are_not_trained_again(command, folder):
    args = [*SEEDS, "--checkpoint-seconds", "1000", "--resume", "--out", "some"]
    code, out = command(*args, stop_at=19)  # of 24
    assert code == 143, out
    saved = {path: path.stat() for path in (folder / "some/checkpoints").iterdir()}
    ended = [path for path in saved if deserialize(path, path.read_bytes())[1]["dev_losses"]]
    assert 1 <= len(ended) < len(saved) <= 3
    code, out = command(*args, stop_at=4)
    assert code == 143, out
    same = [path for path, stat in saved.items() if path.stat().st_mtime_ns == stat.st_mtime_ns]
    assert sorted(same) == sorted(ended)  # those were not even written again
    code, out = command(*SEEDS, "--resume", "--out", "some")
    assert code == 0, out
    assert "resumed" in out
    assert files(folder / "some") == files(run_whole(command, folder, SEEDS, "train-whole"))


# Several processes


@contextlib.contextmanager
def training(command, folder, *args):
    """Train in another process until the block is left, then kill it."""
    end, results = folder / "end", []
    end.unlink(missing_ok=True)
    thread = threading.Thread(
        target=lambda: results.append(command(*args, kill_on=str(end))), daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        end.touch()
        thread.join(timeout=LIMIT)
    assert [code for code, _ in results] == [-9], results


def wait_until(is_true, trainer):
    begun = time.monotonic()
    while not is_true():
        assert trainer.is_alive()
        assert time.monotonic() - begun < LIMIT / 2
        time.sleep(0.01)


def test_readers_never_see_half_a_file_during_training(command, folder):
    args = ["train", *NET, "--steps", "50000000", "--checkpoint-every", "50", "--out", "read"]
    steps = []
    with training(command, folder, *args) as trainer:
        wait_until((folder / "read/checkpoints").exists, trainer)
        begun = time.monotonic()
        while len(set(steps)) < 10:
            assert trainer.is_alive()
            assert time.monotonic() - begun < LIMIT / 2
            try:
                found = load_run(folder / "read")
            except InputError:
                if steps:  # once there is something, there always is
                    raise
                continue
            assert all(np.isfinite(leaf).all() for leaf in found.params.values())
            steps.append(found.step)
    assert steps == sorted(steps)


def test_a_second_trainer_is_refused_while_the_first_one_writes(command, folder):
    args = ["train", *NET, "--steps", "50000000", "--checkpoint-seconds", "100000"]
    with training(command, folder, *args, "--out", "held") as trainer:
        wait_until((folder / "held/config.json").exists, trainer)
        second = [sys.executable, "-m", "mm_jax", *args, "--resume", "--out", "held"]
        pipes = {"capture_output": True, "text": True, "timeout": LIMIT / 2}
        done = subprocess.run(second, cwd=folder, **pipes)
        assert trainer.is_alive()
    assert done.returncode == 2
    assert "is writing held; wait for its end" in done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(InputError, match="half-written"):  # killed before its first checkpoint
        load_run(folder / "held")
    assert (folder / "held/.lock").exists()  # and yet it binds nobody now
    code, out = command(*args, "--steps", "1000", "--resume", "--out", "held")
    assert code == 2, out  # for other reasons: --steps
    assert "was made with --steps 50000000, not 1000" in out


TWO = """
import sys
from pathlib import Path
from mm_jax.config.base import InputError
from mm_jax.runs.writer import hold_dir

for number in range(int(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with hold_dir(Path(f"two-{number}"), f"two-{number}", "two") as path:
            (path / "config.json").write_text("mine")
            print("won", flush=True)
            sys.stdin.readline()
    except InputError as error:
        print("lost", error, flush=True)
        sys.stdin.readline()
"""


def test_of_two_writers_exactly_one_wins(folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder}
    both = [subprocess.Popen([sys.executable, "-c", TWO, "25"], **pipes) for _ in range(2)]
    watchdog = threading.Timer(LIMIT, lambda: [process.kill() for process in both])
    watchdog.start()  # what is read from a process that was killed is ""
    try:
        for _ in range(25):
            for process in both:
                assert process.stdout.readline() == "ready\n"
            for process in both:
                print(file=process.stdin, flush=True)
            answers = sorted(process.stdout.readline() for process in both)
            assert answers[0].startswith("lost another process ")
            assert answers[1] == "won\n"
            for process in both:
                print(file=process.stdin, flush=True)
    finally:
        watchdog.cancel()
        for process in both:
            process.kill()
            process.communicate(timeout=60)
