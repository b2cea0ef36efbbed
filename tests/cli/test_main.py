"""Bad input of every kind is one line that helps, exit code 2, and nothing written."""

import dataclasses
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mm_jax.cli.main import COMMANDS, main
from mm_jax.config.base import flag
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.training import OptimizerConfig, RunConfig

ROOT = Path(__file__).parents[2]
NAMES = [
    first + second for first in ("em", "av", "li", "no") for second in ("ma", "a", "el", "ora")
]


def python(*args, **kwargs):
    """Run this Python in a process of its own."""
    return subprocess.run([sys.executable, *args], capture_output=True, timeout=120, **kwargs)


def everything_under(folder):
    """Every file below a folder with its bytes, and every other path."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of files that a user may have, with a run in it."""
    path = tmp_path_factory.mktemp("bad input")
    files = {
        "names.txt": "\n".join(NAMES),
        "empty.txt": "",
        "only_bom.txt": "\ufeff",
        "blank.txt": "\n \r\n\t\n",
        "few.txt": "ab\ncd\n",
        "dot.txt": "\n\nemma\nst. clair\n",
        "unknown.txt": "emma\n\n\nemXma\n",
        "in_the_way": "a file where a directory is wanted",
    }
    for name, text in files.items():
        (path / name).write_text(text, "utf-8")
    (path / "latin.txt").write_bytes("emma\nzoë\n".encode("latin-1"))
    (path / "utf16.txt").write_bytes("emma\nava\n".encode("utf-16"))
    (path / "folder").mkdir()
    (path / "folder.png").mkdir()
    (path / "full").mkdir()
    (path / "full" / "precious.txt").write_text("keep me")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert main(["train", "--data", "names.txt", "--steps", "0", "--out", "run"]) == 0
    return path


@pytest.fixture
def fails(folder, monkeypatch, capsys):
    """Return fails(args, words): the command must say all the words in its one line."""

    def fails(args, *words, code=2):
        monkeypatch.chdir(folder)
        before = everything_under(folder)
        assert main(args) == code
        out, err = capsys.readouterr()
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert err.startswith("mm-jax"), err
        for word in words:
            assert word in err, f"{word!r} is not in {err!r}"
        assert everything_under(folder) == before
        return out

    return fails


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
        ("utf16.txt", ["utf16.txt", "not UTF-8", "byte 0"]),
        ("dot.txt", ["dot.txt, line 4", "'.'"]),
        ("in_the_way/x", ["in_the_way/x"]),
        ("two\nlines\x1b[31m.txt", ["two\\nlines\\x1b[31m.txt"]),
        ("", ["name of the data is empty"]),
    ],
)
def test_data_that_cannot_be_learned_from(fails, name, words):
    assert fails(["train", "--data", name, "--steps", "3"], *words) == ""


CHOICES = {
    "--context 0": ["--context", "at least 1", "0"],
    "--context x": ["--context", "whole number", "'x'"],
    "--context 2.5": ["--context", "whole number", "2.5"],
    "--context 99999999999": ["--context", "at most"],
    "--embed-dim 0": ["--embed-dim", "at least 1"],
    "--hidden-dim -5": ["--hidden-dim", "at least 1", "-5"],
    "--hidden-dim 2000000000 --embed-dim 2000": ["GB", "--hidden-dim"],
    "--init other": ["init", "other", "lecture", "scaled"],
    "--batch-size 0": ["--batch-size", "at least 1", "0"],
    "--steps -1": ["--steps", "at least 0", "-1"],
    "--steps 1e3": ["--steps", "whole number", "1e3"],
    "--steps": ["--steps", "Missing value"],
    "--seed -1": ["--seed", "at least 0", "-1"],
    "--seed 18446744073709551616": ["--seed", "at most 4294967295"],
    "--split-seed -1": ["--split-seed", "at least 0"],
    "--split other": ["split", "other", "lecture", "unique"],
    "--learning-rate nan": ["--learning-rate", "finite", "nan"],
    "--learning-rate inf": ["--learning-rate", "finite", "inf"],
    "--learning-rate -1": ["--learning-rate", "greater than 0", "-1"],
    "--learning-rate 0": ["--learning-rate", "greater than 0"],
    "--learning-rate 1e300": ["--learning-rate", "at most"],
    "--learning-rate big": ["--learning-rate", "must be a number or auto", "'big'"],
    "--weight-decay -1": ["--weight-decay", "at least 0"],
    "--clip-norm 0": ["--clip-norm", "greater than 0"],
    "--warmup-steps -1": ["--warmup-steps", "at least 0"],
    "--schedule other": ["schedule", "other", "constant", "step", "cosine"],
    "--optimizer other": ["--optimizer", "other", "sgd", "adam", "adamw", "lion"],
    "--model other": ["unknown model", "'other'", "mlp"],
    "--model=other": ["unknown model", "'other'", "mlp"],
    "--preset other": ["unknown preset", "'other'", "lecture", "modern"],
    "--learning 0.1": ["--learning", "did you mean --learning-rate?"],
    "--colour red": ["--colour"],
    "stray": ["stray"],
    "--out full": ["full", "not empty"],
    "--out in_the_way": ["in_the_way", "not a directory"],
    "--out .": ["not empty"],
}


@pytest.mark.parametrize(("flags", "words"), CHOICES.items(), ids=CHOICES.keys())
def test_a_wrong_choice_for_training(fails, flags, words):
    short = ["--data", "names.txt", "--steps", "3"]
    assert fails(["train", *short, *flags.split()], *words) == ""


def test_a_run_directory_below_a_file(fails):
    args = ["train", "--data", "names.txt", "--steps", "3", "--out", "in_the_way/run"]
    fails(args, "in_the_way/run", "in_the_way is no directory")


OTHERS = {
    "eval": ["RUN"],
    "eval run other": ["other"],
    "eval run --split-name other": ["--split-name", "train, dev, test, all", "'other'"],
    "eval run --data missing.txt": ["missing.txt", "No such file"],
    "eval run --data folder": ["folder", "directory"],
    "eval run --data empty.txt": ["empty.txt"],
    "eval run --data latin.txt": ["latin.txt", "byte 7"],
    "eval run --data unknown.txt": ["unknown.txt, line 4", "'X'", "place 3"],
    "eval run --data dot.txt": ["dot.txt, line 4", "'.'"],
    "eval run --data few.txt --split-name dev": ["2 lines", "too few"],
    "sample": ["RUN"],
    "sample run --prefix emX": ["--prefix", "'X'", "place 3"],
    "sample run --prefix em.": ["--prefix", "'.'", "boundary"],
    "sample run --prefix emma --max-len 2": ["prefix", "4", "2"],
    "sample run --num 0": ["--num", "at least 1"],
    "sample run --num x": ["--num", "whole number"],
    "sample run --seed -1": ["--seed", "at least 0"],
    "sample run --temperature -1": ["--temperature", "at least 0"],
    "sample run --temperature nan": ["--temperature", "finite"],
    "sample run --top-k 0": ["--top-k", "at least 1"],
    "sample run --top-k 99999999999": ["--top-k", "at most"],
    "sample run --top-p 0": ["--top-p", "greater than 0"],
    "sample run --top-p 1.5": ["--top-p", "at most 1"],
    "sample run --max-len 0": ["--max-len", "at least 1"],
    "score": ["RUN"],
    "score run": ["line"],
    "score run emma emXma": ["line 2", "'X'", "place 3"],
    "score run em.ma": ["line 1", "'.'", "boundary"],
    "score run -x": ["-x"],
    "lr-range --min 0": ["--min", "greater than 0", "0"],
    "lr-range --min -1": ["--min", "greater than 0", "-1"],
    "lr-range --min 1 --max 1": ["--min 1 must be below --max 1"],
    "lr-range --min 2": ["--min 2 must be below --max 1"],
    "lr-range --max inf": ["--max", "finite", "inf"],
    "lr-range --min nan": ["--min", "finite", "nan"],
    "lr-range --num 9": ["--num", "at least 10", "9"],
    "lr-range --num 2.5": ["--num", "2.5"],
    "lr-range --seeds 0": ["--seeds", "at least 1", "0"],
    "lr-range --mode grid --steps 0": ["--steps", "at least 1"],
    "lr-range --steps 5": ["--steps is for --mode grid"],
    "lr-range --mode other": ["other", "sweep", "grid"],
    "lr-range --learning-rate 3": ["--learning-rate"],
    "lr-range --optimizer lbfgs": ["lbfgs finds its own step length"],
    "lr-range --optimizer rprop": ["rprop finds its own step length"],
    "train --optimizer rprop --learning-rate auto": ["rprop finds its own step length"],
    "lr-range --model ngram": ["counted, not trained"],
    "lr-range --preset other": ["unknown preset", "modern"],
    "lr-range --figure curve.gif": ["curve.gif", ".png, .svg, .pdf"],
    "lr-range --figure no_folder/curve.png": ["no directory no_folder"],
    "lr-range --figure folder.png": ["folder.png is a directory"],
    "lr-range --data missing.txt": ["missing.txt", "No such file"],
    "lr-range --data names.txt --hidden-dim 2000000000": ["GB", "--hidden-dim"],
    "data": ["missing"],
    "data other": ["other", "names", "lecture-names"],
    "eval no_run": ["no_run", "does not exist"],
    "sample no_run": ["no_run", "does not exist"],
    "score no_run emma": ["no_run", "does not exist"],
    "eval in_the_way": ["in_the_way", "not a run directory", "file"],
    "sample full": ["full", "not a run directory", "config.json"],
    "score full emma": ["full", "not a run directory", "config.json"],
    "trian": ["unknown command", "did you mean train?", "sample"],
    "--json": ["unknown command", "train"],
}


@pytest.mark.parametrize(("line", "words"), OTHERS.items(), ids=OTHERS.keys())
def test_a_wrong_argument_of_another_command(fails, line, words):
    assert fails(line.split(), *words) == ""


@pytest.mark.parametrize("command", ["eval run", "sample run", "score run emma"])
def test_json_keeps_stdout_empty_when_the_input_is_bad(fails, command):
    assert fails([*command.split(), "--json", "--colour"], "--colour") == ""


def test_the_lecture_names_at_a_wrong_place(fails, monkeypatch, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
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


def test_an_error_of_ours_is_not_hidden(folder, monkeypatch):
    def broken(*_args):
        raise RuntimeError("a fault of the program")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("mm_jax.runs.reader.load_run", broken)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        main(["sample", "run"])


# Help


HELP_SCRIPT = """
import sys
try:
    from mm_jax.cli.main import main
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
heavy = {"jax", "jaxlib", "optax", "flax", "safetensors", "scipy"} & set(sys.modules)
print(*sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


def without_jax(*args):
    """Run a command line and hold that it imported nothing heavy; return (exit code, stdout)."""
    done = python("-c", HELP_SCRIPT, *args, text=True)
    assert done.stderr.splitlines()[-1:] == [""], done.stderr
    return done.returncode, done.stdout


def test_the_script_that_looks_for_jax_finds_it():
    done = python("-c", "import jax\n" + HELP_SCRIPT, "--help", text=True)
    assert "jax" in done.stderr.split()


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"], ["help"]], ids=" ".join)
def test_help_names_every_command(args, capsys):
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, purpose in COMMANDS.items():
        assert any(row.split()[:1] == [name] and purpose in row for row in out.splitlines())


def test_help_imports_no_jax():
    code, out = without_jax("--help")
    assert code == 0
    assert "usage: mm-jax" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_no_jax(command):
    code, out = without_jax(command, "--help")
    assert code == 0
    assert f"usage: mm-jax {command}" in out
    assert "--json" in out


def test_the_help_of_train_names_every_choice(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert not end.value.code
    out = capsys.readouterr().out
    groups = {"data", "model", "optimizer"}
    for config in (RunConfig, DataConfig, MLPConfig, OptimizerConfig):
        for field in dataclasses.fields(config):
            assert field.name in groups or f"{flag(field.name)} " in out, field.name
    for field in ("--model", "--preset", "--out"):
        assert f"{field} " in out


def test_a_wrong_choice_is_refused_without_jax():
    done = python("-c", HELP_SCRIPT, "train", "--context", "0", text=True)
    assert done.returncode == 2
    complaint, modules = done.stderr.splitlines()
    assert "--context must be at least 1" in complaint
    assert modules == ""


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
    done = python("-m", "mm_jax", "train", "--contxt", "5", cwd=tmp_path, text=True, env=env)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "mm-jax train: error: Unrecognized options: --contxt, 5; did you mean --context? "
        "(see mm-jax train --help)\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "sample", "lr-range"])
def test_the_scripts_have_the_help_of_the_commands(command):
    script = python(ROOT / "scripts" / f"{command.replace('-', '_')}.py", "--help", text=True)
    module = python("-m", "mm_jax", command, "--help", text=True)
    assert script.returncode == module.returncode == 0
    assert script.stdout == module.stdout
    assert f"usage: mm-jax {command}" in script.stdout


def run_script(name, args, monkeypatch):
    """Run a file of scripts/ in this process, as ``python scripts/NAME ARGS`` would."""
    monkeypatch.setattr(sys, "argv", [name, *args])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    return end.value.code


def test_the_scripts_do_what_the_commands_do(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--data", str(folder / "names.txt"), "--steps", "0", "--out", "run"]
    assert run_script("train.py", flags, monkeypatch) == 0
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        p.name for p in (folder / "run").iterdir()
    )
    for name in ("params.safetensors", "samples.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / "run" / name).read_bytes()

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
