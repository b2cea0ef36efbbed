"""Resuming a run: with the same bits, or refused with what differs; and faults on the way."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mm_jax.cli.main import main
from mm_jax.runs.checkpoint import checkpoint_path, checkpoint_steps, open_checkpoint
from mm_jax.runtime import atomic_files
from mm_jax.runtime.hardware import num_cores
from tests.helpers import call, record_of
from tests.system.faults import Faulty
from tests.trained_run import LINES, NET, TRAIN, back_to, contents, folder_with_run, reseal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that came to its end undisturbed, in a folder with its data."""
    return folder_with_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def folder(whole, tmp_path, monkeypatch):
    """A copy of it, to be damaged."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "run/config.json").read_text()
    assert str(whole) in config
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resume(*more, code=0):
    return call("train", "--resume", "--out", "run", *more, code=code)


# With the same bits


@pytest.mark.parametrize("step", [40, None])
def test_a_run_resumes_from_its_newest_checkpoint_with_the_same_bits(whole, folder, step):
    run = folder / "run"
    back_to(run, 40)
    if step is None:  # killed before its first checkpoint
        shutil.rmtree(run / "checkpoints")
    out, err = resume("--checkpoint-every", "20")
    assert err == ""
    assert ("resumed    after step 40\n" in out) == (step == 40)
    assert contents(run) == contents(whole / "run")


def test_the_command_that_began_it_resumes_too_and_begins_where_nothing_is(whole, folder):
    shutil.rmtree(folder / "run")
    command = [part.replace("names.txt", str(whole / "names.txt")) for part in TRAIN]
    for _ in range(2):
        out, err = call(*command, "--resume", "--out", "run")
        assert err == ""
    assert "run has come to its end: 60 steps" in out
    assert contents(folder / "run") == contents(whole / "run")


def test_what_is_at_its_end_stays_as_it_is_and_is_told(whole, folder):
    record = record_of("train", "--resume", "--out", "run")
    assert contents(folder / "run") == contents(whole / "run")
    last = json.loads((folder / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert record["dev_loss"] == last["dev_loss"]
    assert record["steps"] == 60
    assert len(record["samples"]) == 20


@pytest.mark.slow
def test_a_rate_that_was_found_is_not_looked_for_again(folder, whole, monkeypatch):
    command = [*TRAIN, "--learning-rate", "auto", "--resume", "--out", "found"]
    first = record_of(*command)
    back_to(folder / "found", 40)
    monkeypatch.setattr("mm_jax.cli.train_plan.find_rate", None)
    assert record_of(*command)["dev_loss"] == first["dev_loss"]


def test_a_run_whose_data_stands_elsewhere_resumes(whole, folder):
    back_to(folder / "run", 40)
    shutil.move(folder / "names.txt", folder / "moved.txt")
    resume("--data", "moved.txt")
    assert contents(folder / "run").keys() == contents(whole / "run").keys()
    one, other = (load_file(path / "run/params.safetensors") for path in (folder, whole))
    assert all(np.array_equal(one[name], other[name]) for name in other)


def test_a_damaged_result_is_made_again(whole, folder):
    path = folder / "run/params.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    _, err = resume()
    assert "params.safetensors is damaged: its checksum is wrong; its last steps are taken" in err
    assert contents(folder / "run") == contents(whole / "run")


# Readers


def test_a_run_in_training_is_read_from_its_newest_checkpoint(folder):
    back_to(folder / "run", 40)
    out, err = call("sample", "run", "--num", "3")
    assert err == "run has not come to its end: this is what there is after step 40\n"
    assert len(out.splitlines()) == 3
    assert record_of("eval", "run")["step"] == 40
    assert record_of("score", "run", "emma")["step"] == 40


def test_a_checkpoint_is_a_model_too(folder):
    best = "run/checkpoints/best.safetensors"
    found = record_of("eval", best, "--split-name", "test")
    assert found["step"] == open_checkpoint(Path(best)).step
    assert found["test_looks"] == 1
    assert (folder / "run/test_looks.jsonl").exists()
    shutil.copy(best, "copy.safetensors")
    assert (
        record_of("sample", "copy.safetensors")["samples"] == record_of("sample", best)["samples"]
    )
    complaint = call("eval", "copy.safetensors", "--split-name", "test", code=2)[1]
    assert "a look at the test split cannot be counted" in complaint


# Refused, with what differs


def edit(change):
    record = json.loads(Path("run/config.json").read_text())
    change(record)
    Path("run/config.json").write_text(json.dumps(record))


def swap(record):
    symbols = record["symbols"]
    symbols[1], symbols[2] = symbols[2], symbols[1]


def other_split(record):
    record["config"]["data"]["split_seed"] = 43


REFUSED = {
    "split seed": (["--split-seed", "43"], None, "run was made with --split-seed 42, not 43"),
    "model": (["--model", "bigram"], None, "run was made with --model mlp, not bigram"),
    "preset": (["--preset", "modern"], None, "run was made with --context 3, not 6"),
    "width": (["--hidden-dim", "9"], None, "run was made with --hidden-dim 8, not 9"),
    "steps": (["--steps", "61"], None, "run was made with --steps 60, not 61"),
    "data": (
        ["--data", "names.txt"],
        lambda: Path("names.txt").write_text("\n".join([*LINES, "zoe"])),
        "names.txt is not what run was trained on: its sha256 is",
    ),
    "vocabulary": (
        [],
        lambda: edit(swap),
        "run has another vocabulary than its data: symbol 1 of config.json is",
    ),
    "config.json": (
        [],
        lambda: edit(other_split),
        "does not fit run/config.json: --split-seed was 42, and is 43 there",
    ),
    "nonsense": ([], lambda: Path("run/config.json").write_text("[]"), "config.json is damaged"),
    "metrics": (
        [],
        lambda: os.truncate("run/metrics.jsonl", 100),
        "metrics.jsonl is not what it was at step 40; restore it, or remove it",
    ),
    "no name": (["--out", ""], None, "--resume needs --out"),
}


@pytest.mark.parametrize(("flags", "damage", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_run_of_other_choices_or_other_data_is_refused(folder, flags, damage, words):
    run = folder / "run"
    back_to(run, 40)
    if damage:
        damage()
    before = contents(run)
    _, err = resume(*flags, code=2)
    assert words in err
    assert err.count("\n") == 1
    assert contents(run) == before


def test_sampling_needs_neither_data_nor_the_same_choices(folder):
    back_to(folder / "run", 40)
    edit(other_split)
    Path("names.txt").unlink()
    assert len(record_of("sample", "run")["samples"]) == 20


def test_what_cannot_be_resumed_says_so(folder):
    assert "--resume needs --out" in call("train", "--resume", code=2)[1]
    assert "--strict needs --resume" in call("train", "--strict", "--out", "x", code=2)[1]
    assert "and not empty" not in call(*TRAIN, "--resume", "--out", "none", "--steps", "0")[1]
    call("count", "--data", "names.txt", "--out", "counted")
    assert "was counted, not trained" in call("train", "--resume", "--out", "counted", code=2)[1]
    complaint = call(*TRAIN, "--out", "run", code=2)[1]
    assert "is not empty; name another, or resume it: mm-jax train --resume --out run" in complaint
    assert "--resume needs --out" in call("sweep", "--resume", "--hidden-dim", "8,9", code=2)[1]


WRONG = {
    "missing": (lambda c: c.arrays.pop("params.W1"), "params.W1 is None, should be float32"),
    "extra": (lambda c: c.arrays.update(x=np.zeros(1)), "x is float64.1., should be None"),
    "renamed": (
        lambda c: c.arrays.update(W1=c.arrays.pop("params.W1")),
        "W1 is float32.12, 8., should be None",
    ),
    "dtype": (
        lambda c: c.arrays.update(step=c.arrays["step"].astype(np.int64)),
        r"step is int64.., should be int32..",
    ),
    "shape": (
        lambda c: c.arrays.update({"opt_state.count": np.zeros(2, np.int32)}),
        r"opt_state.count is int32.2., should be int32..",
    ),
    "the best one": (lambda c: c.record.pop("num_lines"), "resumed from: it has no num_lines"),
    "no config": (lambda c: c.record.pop("config"), "is no checkpoint of a run"),
    "symbols": (lambda c: c.record.update(symbols=[".", "a"]), "it has another vocabulary"),
    "data": (lambda c: c.record["data"].update(sha256="0"), "it was made from other data"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_checkpoint_that_is_whole_and_does_not_fit_is_named(folder, change, words):
    back_to(folder / "run", 40)
    reseal(checkpoint_path(folder / "run", 40), change)
    _, err = resume(code=2)
    assert re.search(words, err), err
    assert "step-0000000040.safetensors" in err
    assert err.count("\n") == 1


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_it_used(whole, folder):
    run = folder / "run"
    back_to(run, 60)
    newest = checkpoint_path(run, 60)
    newest.write_bytes(newest.read_bytes()[:-4096])
    complaint = resume("--strict", code=2)[1]
    assert "step-0000000060.safetensors is damaged" in complaint
    out, err = resume("--checkpoint-every", "20")
    assert "0060.safetensors is damaged: it is cut short; the one before it is used" in err
    assert "resumed    after step 40" in out
    assert contents(run) == contents(whole / "run")


def test_lines_of_metrics_that_are_gone_are_told(folder):
    back_to(folder / "run", 40)
    (folder / "run/metrics.jsonl").unlink()
    _, err = resume()
    assert "metrics.jsonl is gone: the run is resumed without its lines up to step 40" in err
    steps = [
        json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()
    ]
    assert steps[:2] == [41, 42]


def test_elsewhere_a_run_resumes_and_says_that_its_bits_may_differ(folder):
    back_to(folder / "run", 40)

    def elsewhere(found):
        found.record["fingerprint"] |= {"jaxlib": "0.1", "num_threads": 64, "backend": "tpu"}

    reseal(checkpoint_path(folder / "run", 40), elsewhere)
    _, err = resume()
    assert "not bit-exact from here: jaxlib 0.1 before, jaxlib " in err
    assert "not bit-exact from here: 64 thread(s) before" in err
    assert "not bit-exact from here: backend tpu before, backend cpu here" in err
    assert (folder / "run/params.safetensors").exists()


# Faults on the way


COMMANDS = {
    "run": ["train", "--steps", "40", "--checkpoint-every", "20"],
    "seeds": ["train", "--steps", "20", "--seeds", "2"],
    "sweep": ["sweep", "--steps", "20", "--batch-size", "16,32"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_fault_at_a_file_operation_loses_nothing(folder, monkeypatch, kind):
    """After each: one line that names the file, and --resume ends with the same bits."""
    command = [*COMMANDS[kind], "--data", "names.txt", "--model", "bigram"]
    call(*command, "--out", "expected")
    expected, number, reached = contents(Path("expected")), 0, []
    told = {"sweep.json", "SHA256SUMS"} if kind == "sweep" else set()  # these tell of seconds
    while True:
        number += {"run": 2, "seeds": 4, "sweep": 7}[kind]
        mode = ("ENOSPC", "EIO")[len(reached) % 2]
        out = f"out-{number}"
        faulty = Faulty(number, mode)
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files, "os", faulty)
            code, err = code_of(*command, "--out", out)
        if faulty.reached is None:
            assert (code, complaints(err)) == (0, [])
            break
        reached.append(faulty.reached)
        if code:
            assert code == 2, err
            assert len(complaints(err)) == 1, err
            assert out in err
            assert os.strerror(getattr(errno, mode)) in err
        call(*command, "--resume", "--out", out)
        found = contents(Path(out))
        assert found.keys() == expected.keys()
        assert [name for name in found if name not in told and found[name] != expected[name]] == []
        shutil.rmtree(out)
    assert {"open", "write", "fsync", "replace"} <= set(reached)
    assert number > 40
    assert len(reached) > 10


def complaints(err):
    """The lines of stderr, but for that on samples which were cut: nets of few steps make them."""
    return [line for line in err.splitlines() if " were cut at " not in line]


def code_of(*args):
    """Run a command in this process; return its exit code, whatever it is, and its stderr."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        return main([*args]), err.getvalue()


# Real processes


STARTED: list[subprocess.Popen] = []


def start(*args, cores=None, module=True, **options):
    command = [sys.executable, *(["-m", "mm_jax"] if module else []), *args]
    if cores:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, **options)
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def end_processes():
    """Whatever a test has started ends with it."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait(60)


def wait_until(check, seconds=120):
    begun = time.monotonic()
    while not check():
        assert time.monotonic() - begun < seconds
        time.sleep(0.01)


def wait_for(path, size=0):
    wait_until(lambda: path.exists() and path.stat().st_size > size)


LONG = ["train", "--data", "names.txt", "--steps", "50000000", *NET]


@pytest.mark.slow
def test_sigterm_stops_after_the_chunk_and_what_it_says_resumes(folder):
    process = start(*LONG, "--out", "long")
    wait_for(folder / "long/metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # schedulers do that
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    first, last = err.splitlines()
    assert first == "stopping after this chunk, which is kept; Ctrl-C again leaves at once"
    [step] = re.findall(r"interrupted after step (\d+); resume with: mm-jax train --resume", last)
    assert checkpoint_steps(folder / "long")[0] == int(step) > 0
    process = start("train", "--resume", "--out", "long")
    wait_for(folder / "long/metrics.jsonl", (folder / "long/metrics.jsonl").stat().st_size)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"resumed    after step {int(step):,}\n" in out
    assert checkpoint_steps(folder / "long")[0] > int(step)


ENDLESS_CHUNK = """
import sys
import threading
from pathlib import Path
from mm_jax.cli.main import main
from mm_jax.experiments import training_loop

def fit_chunks(*args, whole=training_loop.fit_chunks, **options):
    chunks = whole(*args, **options)
    yield next(chunks)
    Path("in the second chunk").touch()
    threading.Event().wait()

training_loop.fit_chunks = fit_chunks
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_loses_at_most_the_chunk(folder):
    """The first one keeps what was before the chunk in work."""
    command = ["-c", ENDLESS_CHUNK, *LONG, "--checkpoint-seconds", "1000", "--out", "long"]
    process = start(*command, module=False)
    wait_until((folder / "in the second chunk").exists)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: checkpoint_steps(folder / "long"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[1:] == ["left at once; the last checkpoint is kept"]
    assert checkpoint_steps(folder / "long") == [1000]


@pytest.mark.slow
def test_a_directory_that_is_deleted_while_training_is_one_line(folder):
    process = start(*LONG, "--out", "long")
    wait_for(folder / "long/metrics.jsonl")
    os.rename("long", "away")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("mm-jax train: error: cannot write long/metrics.jsonl: No such file")
    assert err.count("\n") == 1


@pytest.fixture
def small_disk(folder):
    """A disk of 2 MiB, where this process may make one."""
    path = folder / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_keeps_the_last_checkpoint(folder, small_disk):
    process = start(*LONG, "--checkpoint-every", "1000", "--out", "disk/run")
    wait_for(small_disk / "run/checkpoints/step-0000002000.safetensors")
    filler = bytes(4096)
    with (small_disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(filler)
        except OSError as error:
            full = error.errno
    assert full == errno.ENOSPC
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "No space left on device; put that right, and resume with: mm-jax train --resume" in err
    assert err.count("\n") == 1
    step = record_of("eval", "disk/run")["step"]
    assert step >= 1000
    (small_disk / "filler").unlink()
    process = start("train", "--resume", "--checkpoint-every", "1000", "--out", "disk/run")
    wait_for(small_disk / f"run/checkpoints/step-{step + 3000:010}.safetensors")
    process.send_signal(signal.SIGTERM)
    assert f"resumed    after step {step:,}\n" in process.communicate(timeout=120)[0]


def test_a_run_that_will_not_fit_is_refused_before_its_first_step(folder, small_disk):
    large = ["--hidden-dim", "4000", "--optimizer", "adam", "--out", "disk/run"]
    _, err = call("train", "--data", "names.txt", *large, code=2)
    assert re.search(r"disk/run will take up to .* MB, and .* are free there; free some, or", err)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_may_only_be_read_is_one_line(folder, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    _, err = call(*TRAIN, "--out", "disk/run", code=2)
    assert re.search(r"disk is no directory that can be written to|Read-only file system", err)
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(num_cores() < 2, reason="there is one core only")
@pytest.mark.skipif(not shutil.which("taskset"), reason="there is no taskset")
def test_with_deterministic_one_core_and_two_give_the_same_bits(folder):
    """Of a net that is large enough for its bits to depend on the number of threads."""
    wide = ["train", "--data", "names.txt", "--hidden-dim", "256", "--batch-size", "512"]
    wide += ["--embed-dim", "32", "--steps", "20"]
    two = sorted(os.sched_getaffinity(0))[:2]
    found = {}
    for name, cores in (("one", two[:1]), ("two", two)):
        process = start(*wide, "--deterministic", "--out", name, cores=cores)
        _, err = process.communicate(timeout=200)
        assert complaints(err) == []
        found[name] = load_file(f"{name}/params.safetensors")
    same = [np.array_equal(found["one"][leaf], found["two"][leaf]) for leaf in found["one"]]
    assert all(same)
    record = json.loads(Path("two/config.json").read_text())
    assert record["fingerprint"]["num_threads"] == 1
    assert record["fingerprint"]["deterministic"]
    back_to(folder / "two", 20)
    for path in Path("two/checkpoints").glob("step-*"):
        path.unlink()  # it begins anew, on one core, and remembers --deterministic by itself
    _, err = start("train", "--resume", "--out", "two", cores=two[:1]).communicate(timeout=200)
    assert complaints(err) == []
    one, two = (Path(f"{name}/params.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_a_sweep_of_other_settings_or_data_is_refused(folder):
    sweep = ["sweep", "--data", "names.txt", "--model", "bigram", "--steps", "5"]
    call(*sweep, "--batch-size", "8,16", "--out", "swept")
    path = folder / "swept"
    before = contents(path)
    command = ["sweep", "--resume", "--out", "swept"]
    refused = {
        ("--batch-size", "8,32"): "was made with other lists or ranges",
        ("--halvings", "1"): "was made with --halvings 0, not 1",
        ("--split-seed", "43"): "was made with --split-seed 42, not 43",
        ("--seeds", "2"): "was made with --seeds 1, not 2",
    }
    for flags, words in refused.items():
        assert words in call(*command, *flags, code=2)[1]
    assert "has come to its end" in call(*command)[0]
    (path / "sweep.json").unlink()
    Path("names.txt").write_text("\n".join([*LINES, "zoe"]))
    assert "names.txt is not what swept was trained on" in call(*command, code=2)[1]
    text = (path / "settings.json").read_text()
    for damaged in (text[:-9], "[]", text.replace('"halvings": 0', '"halvings": "many"')):
        (path / "settings.json").write_text(damaged)
        _, err = call(*command, code=2)
        assert "swept/settings.json" in err
        assert err.count("\n") == 1
    (path / "settings.json").write_text(text)
    del before["sweep.json"]
    assert contents(path) == before
