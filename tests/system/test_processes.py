"""Two processes that find each other: they train what one does, and the first one writes."""

import json
import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
MAIN = "import sys; from mm_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
FLAGS = ["--steps", "40", "--embed-dim", "4", "--hidden-dim", "8", "--init", "scaled", "--json"]


def start(*args, cwd, **env):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def record_in(folder, *args):
    """Run a command with --json in a process of its own; return its record."""
    process = start(*args, cwd=folder)
    try:
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return json.loads(out)


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def in_two_processes(flags, cwd, devices=1):
    """Run a command in two processes that find each other; return what each wrote on stdout."""
    among = ["--coordinator", f"localhost:{free_port()}", "--num-processes", "2"]
    force = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    both = [
        start(*flags, *among, "--process-id", str(i), cwd=cwd, XLA_FLAGS=force) for i in range(2)
    ]
    try:
        ends = [process.communicate(timeout=600) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], ends[0][1] + ends[1][1]
    return [out for out, _ in ends]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two")
    (path / "names.txt").write_text("\n".join(a + b for a in ("em", "av", "li") for b in "aeiou"))
    return path


def test_two_processes_sweep_as_one_does_and_the_first_writes(folder):
    flags = [
        "sweep",
        "--data",
        "names.txt",
        *FLAGS,
        "--learning-rate",
        "0.1,0.2,0.3",
        "--seeds",
        "2",
    ]
    said, silent = in_two_processes([*flags, "--out", "two"], folder)
    two = json.loads(said)
    one = record_in(folder, *flags, "--out", "one")
    assert silent == ""
    assert [each["choices"] for each in two["settings"]] == [
        each["choices"] for each in one["settings"]
    ]
    for ours, alone in zip(two["settings"], one["settings"], strict=True):
        assert ours["dev_losses"] == pytest.approx(alone["dev_losses"], abs=1e-5)
    assert two["ensemble_dev_loss"] == pytest.approx(one["ensemble_dev_loss"], abs=1e-5)
    names = [sorted(path.name for path in (folder / run).rglob("*")) for run in ("one", "two")]
    assert names[0] == names[1]


def test_two_processes_of_two_devices_share_the_batches_of_one_model(folder):
    flags = ["train", "--data", "names.txt", *FLAGS, "--learning-rate", "0.3"]
    said, silent = in_two_processes(
        [*flags, "--data-parallel", "4", "--out", "shared"], folder, devices=2
    )
    shared = json.loads(said)
    assert silent == ""
    one = record_in(folder, *flags, "--out", "alone")
    assert shared["train_loss"] == pytest.approx(one["train_loss"], abs=1e-5)
    assert shared["dev_loss"] == pytest.approx(one["dev_loss"], abs=1e-5)
    metrics = [
        [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("shared", "alone")
    ]
    assert len(metrics[0]) == len(metrics[1])
    for ours, alone in zip(*metrics, strict=True):
        assert ours == pytest.approx(alone, abs=1e-4)
