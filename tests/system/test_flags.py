"""All commands under the flags of JAX that decide precision or hunt a NaN."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
SMALL = ["--embed-dim", "3", "--hidden-dim", "8", "--batch-size", "8", "--steps", "20"]
NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "harper", "evelyn", "ella"]
RUNS = {
    "net": ["train", *SMALL],
    "modern": ["train", "--preset", "modern", *SMALL],
    "bigram": ["train", "--preset", "bigram", "--steps", "5"],
    "ensemble": ["train", "--seeds", "2", *SMALL],
    "counts": ["count", "--order", "3"],
    "kneser-ney": ["count", "--order", "3", "--smoothing", "kneser-ney"],
}
# Reads commands, one list a line, and runs them in this one process.
MAIN = """
import contextlib, io, json, sys
from mm_jax.cli.main import main
for line in sys.stdin:
    arguments, said = json.loads(line), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(arguments)
    print(json.dumps([code, said.getvalue()]))
"""


def ran(commands, cwd, **flags):
    """What each command returned and said, by the command."""
    process = subprocess.run(
        [sys.executable, "-c", MAIN],
        input="".join(json.dumps(command) + "\n" for command in commands),
        cwd=cwd,
        env=os.environ | flags,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    lines = map(json.loads, process.stdout.splitlines())
    return {" ".join(command): line for command, line in zip(commands, lines, strict=True)}


def make(suffix=""):
    return [[*c, "--data", "names.txt", "--out", name + suffix] for name, c in RUNS.items()]


def read(suffix=""):
    for name in RUNS:
        run = name + suffix
        yield from (["eval", run], ["sample", run, "--num", "2"], ["score", run, "emma"])
        yield ["export", run, "--html", f"{run}.html"]


def use(suffix=""):
    yield from read(suffix)
    yield ["verify", "net" + suffix]
    yield ["report", "net" + suffix]
    yield ["sweep", "--data", "names.txt", *SMALL, "--hidden-dim", "4,8", "--out", "sweep" + suffix]
    search = [
        "--data",
        "names.txt",
        "--max",
        "30",
        "--mode",
        "grid",
        "--num",
        "12",
        "--steps",
        "20",
    ]
    yield ["lr-range", *search, "--embed-dim", "3", "--hidden-dim", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("flags")
    (path / "names.txt").write_text("\n".join(NAMES * 20))
    return path


def assert_all_worked(results):
    for command, (code, said) in results.items():
        # A range test may find no rate to suggest, and says so.
        assert code == 0 or (code == 1 and "no learning rate to suggest" in said), (command, said)


def test_commands_work_in_float64_and_runs_are_read_in_either_precision(folder):
    plain = make()
    assert_all_worked(ran(plain, folder))
    doubled = [*make("-x64"), *use("-x64"), *read()]
    results = ran([*doubled, ["verify", "net"]], folder, JAX_ENABLE_X64="1")
    code, said = results.pop("verify net")
    assert code == 1
    assert "was made without JAX_ENABLE_X64, and its steps go on or repeat only where" in said
    assert_all_worked(results)
    assert_all_worked(ran(list(read("-x64")), folder))


def test_commands_work_while_a_nan_is_hunted(folder):
    assert_all_worked(ran([*make("-nan"), *use("-nan")], folder, JAX_DEBUG_NANS="1"))
