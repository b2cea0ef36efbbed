"""Commands are found, helped with and run; what goes wrong is one line and an exit code."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mm_jax.cli.main import COMMANDS, main
from tests.cli.conftest import TRAIN

ROOT = Path(__file__).parents[2]


def python(*args, **kwargs):
    """Run this Python in a process of its own."""
    run = {"capture_output": True, "timeout": 120, "check": False, "text": True}
    return subprocess.run([sys.executable, *args], **run, **kwargs)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.txt", ["missing.txt", "No such file", "lecture-names"]),
        ("folder", ["folder", "directory"]),
        ("empty.txt", ["empty.txt", "nothing"]),
        ("only_bom.txt", ["only_bom.txt"]),
        ("blank.txt", ["blank.txt", "3 blank lines"]),
        ("few.txt", ["few.txt", "2 lines", "too few"]),
        ("latin.txt", ["latin.txt", "not UTF-8", "byte 7", "0xeb"]),
        ("utf16.txt", ["utf16.txt", "NUL bytes", "byte 3", "UTF-16", "iconv"]),
        ("in_the_way/x", ["in_the_way/x"]),
        ("two\nlines\x1b[31m.txt", ["two\\nlines\\x1b[31m.txt"]),
        ("", ["name of the data is empty"]),
    ],
)
def test_data_that_cannot_be_learned_from(fails, name, words):
    assert fails(["train", "--data", name, "--steps", "3"], *words) == ""


def test_a_run_directory_below_a_file(fails):
    args = ["train", "--data", "names.txt", "--steps", "3", "--out", "in_the_way/run"]
    fails(args, "in_the_way/run", "in_the_way is no directory")


@pytest.mark.parametrize("command", ["eval run", "sample run", "score run emma"])
def test_json_keeps_stdout_empty_when_the_input_is_bad(fails, command):
    assert fails([*command.split(), "--json", "--colour"], "--colour") == ""


def test_the_lecture_names_at_a_wrong_place(fails, monkeypatch, user_files):
    monkeypatch.setenv("XDG_CACHE_HOME", str(user_files / "cache"))
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES", raising=False)
    train = ["train", "--data", "lecture-names", "--steps", "3"]
    fails(train, "lecture-names", "mm-jax data lecture-names")
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", "missing.txt")
    fails(train, "missing.txt", "correct")
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", "names.txt")
    fails(train, "names.txt", "sha256")
    fails(["data", "lecture-names"], "names.txt", "sha256")


def test_an_out_of_memory_error_is_one_line(fails, monkeypatch):
    def exhausted(*_args):
        raise RuntimeError("RESOURCE_EXHAUSTED: 9 bytes are missing\nand more is said below")

    monkeypatch.setattr("mm_jax.runs.reader.load_run", exhausted)
    fails(["sample", "run"], "out of memory", "9 bytes")


def test_an_error_of_ours_is_not_hidden(user_files, monkeypatch):
    def broken(*_args):
        raise RuntimeError("a fault of the program")

    monkeypatch.chdir(user_files)
    monkeypatch.setattr("mm_jax.runs.reader.load_run", broken)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        main(["sample", "run"])


def test_memory_that_python_lacks_is_one_line(fails, monkeypatch):
    def exhausted(*_args):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("mm_jax.runs.reader.load_run", exhausted)
    fails(["sample", "run"], "out of memory", "9 GiB", "smaller model")


def test_output_that_cannot_be_written_is_one_line_and_exit_code_1(user_files, monkeypatch, capsys):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(user_files)
    monkeypatch.setattr("mm_jax.runtime.console.Console.say_samples", full)
    assert main(["sample", "run", "--num", "1"]) == 1
    error = "mm-jax sample: error: cannot write the output: No space left on device\n"
    assert capsys.readouterr().err == error


def test_an_interrupt_is_exit_code_130(user_files, monkeypatch, capsys):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.chdir(user_files)
    monkeypatch.setattr("mm_jax.runs.reader.load_run", interrupted)
    assert main(["sample", "run"]) == 130
    assert capsys.readouterr().err == "mm-jax sample: error: interrupted\n"


# Help, and what it imports


IMPORTS = """
import contextlib, io, json, sys

HEAVY = {"jax", "jaxlib", "optax", "flax", "safetensors", "scipy", "matplotlib"}
IN_HELP = HEAVY | {"numpy", "tyro", "rich"}

def call(*args):
    from mm_jax.cli.main import main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(args))
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()

found = {}
import mm_jax
found["import mm_jax"] = sorted(IN_HELP & set(sys.modules))
for args in (["--help"], ["--version"], ["trian"]):
    found[args[0]] = [*call(*args), sorted(IN_HELP & set(sys.modules))]
for command in json.loads(sys.argv[1]):
    found[command] = [*call(command, "--help"), sorted(HEAVY & set(sys.modules))]
found["wrong"] = [*call("train", "--context", "0"), sorted(HEAVY & set(sys.modules))]
mm_jax.mlp
found["mm_jax.mlp"] = sorted(HEAVY & set(sys.modules))
print(json.dumps(found))
"""


def test_what_needs_no_jax_imports_none():
    """In one process, so that each import is blamed on the first that does it."""
    done = python("-c", IMPORTS, json.dumps(list(COMMANDS)))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("import mm_jax") == []
    assert "jax" in found.pop("mm_jax.mlp")  # the check would see it
    for name, (code, out, err, heavy) in found.items():
        assert heavy == [], name
        assert code == (2 if name in ("trian", "wrong") else 0), err
        if name in COMMANDS:
            assert f"usage: mm-jax {name} [-h]" in out
            assert "--json" in out
    assert "usage: mm-jax COMMAND" in found["--help"][1]
    assert "--context must be at least 1" in found["wrong"][2]


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"], ["help"]], ids=" ".join)
def test_help_names_every_command(args, capsys):
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, purpose in COMMANDS.items():
        assert any(row.split()[:1] == [name] and purpose in row for row in out.splitlines())


def test_help_of_a_command_by_its_name(capsys):
    with pytest.raises(SystemExit):
        main(["help", "sample"])
    assert "usage: mm-jax sample" in capsys.readouterr().out


def test_version(capsys):
    import mm_jax

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mm-jax {mm_jax.__version__}\n"


# The same from a shell


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bad_input_in_a_process_of_its_own(tmp_path, encoding):
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = python("-m", "mm_jax", "train", "--contxt", "5", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "mm-jax train: error: Unrecognized options: --contxt, 5; did you mean --context? "
        "(see mm-jax train --help)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_closed_streams_are_no_error():
    code = "import sys; from mm_jax.cli.main import main; sys.exit(main(['--version']))"
    command = f'{sys.executable} -c "{code}" >&- 2>&-'
    assert subprocess.run(command, shell=True, timeout=120, check=False).returncode == 0


# The scripts of a checkout


def run_script(name, args, monkeypatch):
    """Run a file of scripts/ in this process, as ``python scripts/NAME ARGS`` would."""
    monkeypatch.setattr(sys, "argv", [name, *args])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    return end.value.code


@pytest.mark.parametrize("command", ["train", "sample", "lr-range", "sweep", "bench"])
def test_the_scripts_have_the_help_of_the_commands(command, monkeypatch, capsys):
    assert not run_script(f"{command.replace('-', '_')}.py", ["--help"], monkeypatch)
    script = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out == script
    assert f"usage: mm-jax {command}" in script


def test_the_scripts_do_what_the_commands_do(user_files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data, run = str(user_files / "names.txt"), user_files / "run"
    flags = ["--data", data, *TRAIN[3:], "--out", "run"]
    assert run_script("train.py", flags, monkeypatch) == 0
    assert sorted(os.listdir("run")) == sorted(os.listdir(run))
    for name in ("params.safetensors", "samples.txt"):
        assert Path("run", name).read_bytes() == (run / name).read_bytes()

    capsys.readouterr()
    sample = ["run", "--num", "5", "--seed", "8"]
    assert run_script("sample.py", sample, monkeypatch) == 0
    script = capsys.readouterr().out
    assert main(["sample", *sample]) == 0
    assert capsys.readouterr().out == script
    assert len(script.splitlines()) == 5


def test_the_environment_is_left_alone(capsys):
    """A COLUMNS that is set for tyro once made every progress bar 100 columns wide."""
    before = dict(os.environ)
    assert main(["train", "--steps", "many"]) == 2
    assert dict(os.environ) == before
