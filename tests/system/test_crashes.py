"""Processes that are killed at any moment: what goes on afterwards ends with the same bits."""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.text import read_lines
from mm_jax.runs.checkpoint import checkpoint_steps, decode
from mm_jax.runs.reader import load_run
from tests.system.lives import Lives

pytestmark = pytest.mark.slow
STEPS, KILLS = 120_000, 50
NET = ["--hidden-dim", "64", "--data", "names.txt", "--schedule", "cosine", "--optimizer", "adamw"]
NET += ["--learning-rate", "0.01", "--dropout", "0.1", "--average-decay", "0.999"]
ONE = ["train", *NET, "--steps", str(STEPS)]
SEEDS = ["train", *NET, "--steps", "20000", "--seeds", "3"]
SWEEP = ["sweep", *NET[2:4], "--steps", "16000", "--hidden-dim", "16,24", "--seeds", "2"]
SWEEP += ["--learning-rate", "0.1,0.2", "--halvings", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("crashes")
    (path / "names.txt").write_text("\n".join(read_lines().lines[:2000]))
    return path


@pytest.fixture(scope="module")
def lives(folder):
    lives = Lives(folder)
    yield lives
    lives.close()


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


@pytest.fixture(scope="module")
def undisturbed(lives, folder):
    code, out = lives(*ONE, "--out", "whole")
    assert code == 0, out
    return kept(folder / "whole")


def until_done(lives, folder, args, name, kills, seconds):
    """Kill a run at random moments, so many times, and let it come to its end; return the kills."""
    source, killed, pace = random.Random(name), 0, seconds
    while killed < kills:
        after = source.uniform(0, pace)
        code, out = lives(*args, "--resume", "--out", name, kill_after=after)
        if code == 0:
            break
        assert code == -9, out
        killed += 1
        steps = checkpoint_steps(folder / name)
        if steps and "train" in args:  # such that it lives as long as it is to be killed
            far = steps[0] / STEPS - killed / kills
            share = 0.2 if far > 0.15 else 0.6 if far > 0 else 1.5 if far < -0.2 else 1
            pace = share * seconds
    code, out = lives(*args, "--resume", "--out", name)
    assert code == 0, out
    return killed


def test_a_run_that_is_killed_fifty_times_ends_with_the_same_bits(lives, folder, undisturbed):
    args = [*ONE, "--checkpoint-every", "500"]
    assert until_done(lives, folder, args, "killed", KILLS, 0.7) == KILLS
    found = kept(folder / "killed")
    assert found.keys() == undisturbed.keys()
    assert [name for name in found if found[name] != undisturbed[name]] == []
    lines = (folder / "killed/metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if "loss" in line]
    assert steps == list(range(60, STEPS + 1, 60))


def test_a_chain_of_fifty_processes_of_one_chunk_each_is_one_run(lives, folder):
    args = ["train", "--data", "names.txt", "--model", "bigram", "--split", "none"]
    args += ["--learning-rate", "0.01", "--steps", "50000"]
    code, out = lives(*args, "--out", "at-once")
    assert code == 0, out
    codes = [lives(*args, "--resume", "--out", "chain", chunks=1)[0] for _ in range(50)]
    assert codes == [143] * 49 + [0]
    one, other = files(folder / "at-once"), files(folder / "chain")
    earlier = "checkpoints/step-0000049000.safetensors"
    assert other.pop(earlier)
    assert one == other


def whole(lives, folder, args):
    """The files of a population that came to its end undisturbed."""
    path = folder / f"{args[0]}-whole"
    if not path.exists():
        code, out = lives(*args, "--out", path.name)
        assert code == 0, out
    return files(path)


@pytest.mark.parametrize(("args", "seconds"), [(SEEDS, 1.0), (SWEEP, 1.2)], ids=["seeds", "sweep"])
def test_a_population_that_is_killed_ends_with_the_same_bits(lives, folder, args, seconds):
    name, one = f"{args[0]}-killed", whole(lives, folder, args)
    some = [*args, "--checkpoint-seconds", "0.05"]
    assert until_done(lives, folder, some, name, 6, seconds) >= 2
    other = files(folder / name)
    assert one.keys() == other.keys()
    assert [each for each in one if one[each] != other[each]] == []
    assert not (folder / name / "checkpoints").exists()


def test_members_that_are_finished_are_not_trained_again(lives, folder):
    args = [*SEEDS, "--checkpoint-seconds", "1000", "--resume", "--out", "some"]
    code, out = lives(*args, chunks=46)  # of 60
    assert code == 143, out
    parts = {path: path.stat() for path in (folder / "some/checkpoints").iterdir()}
    ended = [path for path in parts if decode(path, path.read_bytes())[1]["dev_losses"]]
    assert 1 <= len(ended) < len(parts) <= 3
    code, out = lives(*args, chunks=4)
    assert code == 143, out
    same = [path for path, stat in parts.items() if path.stat().st_mtime_ns == stat.st_mtime_ns]
    assert sorted(same) == sorted(ended)  # those were not even written again
    code, out = lives(*SEEDS, "--resume", "--out", "some")
    assert code == 0, out
    assert "resumed" in out
    assert files(folder / "some") == whole(lives, folder, SEEDS)


def test_readers_never_see_half_a_file_while_training_goes_on(lives, folder):
    args = [*ONE[:-1], "20000", "--checkpoint-every", "50", "--out", "read"]
    trainer = threading.Thread(target=lives, args=args)
    trainer.start()
    steps = []
    while trainer.is_alive():
        try:
            found = load_run(folder / "read")
        except InputError:
            if steps:  # once there is something, there always is
                raise
            time.sleep(0.01)
            continue
        steps.append(20_000 if found.step is None else found.step)
        assert all(np.isfinite(leaf).all() for leaf in found.params.values())
    trainer.join()
    assert steps == sorted(steps)
    assert len(set(steps)) > 5


TWO = """
import sys
from pathlib import Path
from mm_jax.config.base import InputError
from mm_jax.runs.layout import check_empty, make_new
from mm_jax.runtime.atomic_files import only_writer

for number in range(int(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        path = make_new(Path(f"two-{number}"), "two", "two")
        with only_writer(path):
            check_empty(path)
            (path / "config.json").write_text("mine")
            print("won", flush=True)
            sys.stdin.readline()
    except InputError as error:
        print("lost", error, flush=True)
        sys.stdin.readline()
"""


def test_of_two_writers_exactly_one_wins(folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder}
    command = [sys.executable, "-c", TWO, "25"]
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for _ in range(25):
        for process in both:
            assert process.stdout.readline() == "ready\n"
        for process in both:
            print(file=process.stdin, flush=True)
        said = sorted(process.stdout.readline() for process in both)
        assert said[0].startswith("lost another process ")
        assert said[1] == "won\n"
        for process in both:
            print(file=process.stdin, flush=True)
    for process in both:
        process.communicate(timeout=10)


def test_a_second_trainer_is_refused_while_the_first_one_writes(lives, folder):
    long = [*ONE[:-1], "50000000"]
    trainer = threading.Thread(
        target=lives, args=[*long, "--out", "held"], kwargs={"kill_after": 4}
    )
    trainer.start()
    while not (folder / "held/config.json").exists():
        time.sleep(0.01)
    command = [sys.executable, "-m", "mm_jax", *long, "--resume", "--out", "held"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    trainer.join()
    assert done.returncode == 2
    assert "is writing held; wait for its end" in done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(InputError, match="half-written"):  # killed before its first checkpoint
        load_run(folder / "held")
    assert Path(folder / "held/.lock").exists()  # and yet it binds nobody now
    code, out = lives(*ONE[:-1], "1000", "--resume", "--out", "held")
    assert code == 2, out  # for other reasons: --steps
    assert "was made with --steps 50000000, not 1000" in out
