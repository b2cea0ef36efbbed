"""What README.md, CONTRIBUTING.md and docs/ name exists: files, links, commands, options."""

import contextlib
import functools
import io
import itertools
import re
from pathlib import Path

import pytest

from mm_jax.cli.main import COMMANDS, main
from mm_jax.config.models import TRAINED
from tests.helpers import call
from tests.system.documents import README, ROOT, TEXTS, blocks, commands_of

MAX_README_BYTES = 8192
COMMAND_LINES = [(name, words) for name in TEXTS for words in commands_of(name)]

# Files and links


def test_the_readme_is_short():
    assert len(README.encode()) <= MAX_README_BYTES


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_to_a_file_leads_somewhere(name):
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[name])
    for target in targets:
        file, _, section = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if section:
            titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert section in [title.lower().replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_that_is_named_exists(name):
    text = re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    files = re.findall(r"(?<![\w/])(?:mm_jax|scripts|tests|docs)/[\w/.-]*[\w/]", text)
    missing = [file for file in files if not (ROOT / file).exists()]
    assert [file for file in missing if not re.search(r"linear|alphabet|/A/|_B", file)] == []


def test_every_guide_is_in_the_index_and_every_picture_in_a_guide():
    index = TEXTS["docs/README.md"]
    guides = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"^\| \[[\w.-]+\]\((.+?)\)", index, re.M)) == guides
    pictures = {path.name for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".svg")}
    shown = {
        Path(target).name
        for text in TEXTS.values()
        for target in re.findall(r"!\[[^\]]+\]\((.+?)\)", text)
    }
    assert shown == pictures


def test_no_picture_is_loose_in_the_root():
    assert [path.name for path in ROOT.iterdir() if path.suffix in (".png", ".svg", ".jpg")] == []


def test_every_package_is_in_the_tree_of_the_readme():
    tree = next(content for _, content in blocks("README.md") if content.startswith("mm_jax/\n"))
    _, *rows = tree.splitlines()
    inside = [row.split()[0] for row in rows if row.startswith("  ")]
    beside = [row.split()[0] for row in rows if not row.startswith("  ")]
    packages = {f"{path.parent.name}/" for path in (ROOT / "mm_jax").glob("*/__init__.py")}
    assert set(inside) == packages
    assert all(len(row.split()) > 2 for row in rows), "a package without a purpose"
    assert [entry for entry in beside if not (ROOT / entry).is_dir()] == []


def test_the_packages_stand_in_the_order_of_their_imports():
    tree = next(content for _, content in blocks("README.md") if content.startswith("mm_jax/\n"))
    inside = [row.split()[0].strip("/") for row in tree.splitlines() if row.startswith("  ")]
    layers = re.search(r"^layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    upwards = [re.findall(r"\w+", layer) for layer in re.findall(r'"(.+?)"', layers[1])]
    assert inside == [package for layer in reversed(upwards) for package in layer]


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_exists(name):
    targets = re.findall(r"`make ([\w-]+)`|^make ([\w-]+)", TEXTS[name], re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    for target in filter(None, sum(targets, ())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# Commands


def test_each_command_is_shown_in_a_code_block():
    assert {words[0] for _, words in COMMAND_LINES} == set(COMMANDS)


def test_the_table_of_commands_is_complete():
    rows = re.findall(r"^\| (`mm-jax .+?) \|", TEXTS["docs/command-line.md"], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"mm-jax ([\w-]+)", row)} == set(COMMANDS)


@functools.cache
def help_of(*words):
    """What a command says with --help; the flags of a model only with its --model."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main([*words, "--help"])
    return printed.getvalue()


def everything():
    """The help of all commands, and of training each model."""
    models = [help_of("train", "--model", name) for name in TRAINED]
    return " ".join([*map(help_of, COMMANDS), *models])


@pytest.mark.parametrize(("name", "words"), COMMAND_LINES)
def test_the_options_of_a_command_line_exist(name, words):
    command, *rest = words
    assert command in COMMANDS
    given = itertools.pairwise(rest)
    base = [word for pair in given if pair[0] in ("--model", "--preset") for word in pair]
    for option in [word.partition("=")[0] for word in rest if word.startswith("--")]:
        known = re.search(rf"{option}(?![\w-])", help_of(command, *base))
        assert known, f"{option} is not in mm-jax {command} --help"


@pytest.mark.parametrize("name", TEXTS)
def test_the_options_that_a_text_names_exist(name):
    text = re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    options = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)[^`\n]*`", text))
    elsewhere = {"--help"} | ({"--label"} if name == "CONTRIBUTING.md" else set())
    found = everything() if options else ""
    assert [o for o in options - elsewhere if not re.search(rf"{o}(?![\w-])", found)] == []


SMALL = {  # what makes a command of the documents cheap; the options that it has are replaced
    "train": {"--steps": "20", "--embed-dim": "2", "--hidden-dim": "4", "--batch-size": "8"},
    "sweep": {"--steps": "20", "--embed-dim": "2", "--hidden-dim": "4,5", "--batch-size": "8"},
    "lr-range": {"--num": "20", "--seeds": "2", "--embed-dim": "2", "--hidden-dim": "4"},
    "sample": {"--num": "3"},
    "count": {"--order": "2"},
}


def small(words):
    """The same command with less to do, on the names that ship."""
    command, *rest = words
    changes = dict(SMALL.get(command, {}))
    if "bigram" in rest:  # the net of one matrix has no layers
        changes = {"--steps": "20"}
    if "--resume" in rest:  # a run is resumed with its own options
        changes = {}
    if "--smoothing" in rest and "kneser-ney" in rest:
        changes = {"--order": "2"}
    if "--mode" in rest:
        changes["--steps"] = "10"
    if command in ("train", "sweep", "lr-range", "count"):
        changes["--data"] = "names.txt"
    for option, value in changes.items():
        if option in rest:
            rest[rest.index(option) + 1] = value
        else:
            rest += [option, value]
    return [command, *rest]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with 500 names."""
    path = tmp_path_factory.mktemp("docs")
    names = (ROOT / "data" / "names.txt").read_text().splitlines()
    (path / "names.txt").write_text("\n".join(names[::64]) + "\n")
    return path


@pytest.mark.slow
def test_the_first_commands_do_what_the_readme_says(folder, monkeypatch):
    monkeypatch.chdir(folder)
    lines = list(commands_of("README.md"))
    assert len(lines) == 11
    said = {}
    for words in lines:
        if words[0] in ("train", "sample", "eval", "score", "count"):
            said[words[0], "--resume" in words] = call(*small(words))[0]
    assert said["sample", False].count("\n") == 3
    assert all(row.startswith("em") for row in said["sample", False].splitlines())
    assert re.search(r"\d\.\d{3}", said["eval", False])
    assert "emma" in said["score", False]
    assert "zxqj" in said["score", False]
    assert "kneser-ney" in said["count", False].lower()
    few = ["--models", "kneser-ney,mlp-lecture", "--seeds", "1", "--data", "names.txt"]
    [ladder] = [words for words in lines if words[0] == "ladder"]
    assert ladder == ["ladder", "--budget", "60"]
    table = call("ladder", "--budget", "1", *few)[0]
    assert re.search(r"^mlp-lecture .*\d\.\d{4}", table, re.MULTILINE)
    assert Path("runs/first/params.safetensors").is_file()
    files = re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", TEXTS["docs/command-line.md"], re.MULTILINE)
    names = [name for row in files for name in re.findall(r"`([\w.]+)/?`", row)]
    made = {path.name for path in Path("runs/first").iterdir() if path.name[0] != "."}
    assert made <= set(names)
    assert set(names) - made <= {"figures"} | {"report.html"}
