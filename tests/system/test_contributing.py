"""What CONTRIBUTING.md shows works when it is followed to the letter."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.system.documents import CONTRIBUTING, ROOT, blocks


def apply_changes(root):
    """Make every change that CONTRIBUTING.md shows in the files below ``root``."""
    for language, content in blocks("CONTRIBUTING.md"):
        if language == "python":
            head, _, code = content.partition("\n")
            (root / head.removeprefix("# ")).write_text(code)
        elif language == "diff":
            head, *hunks = content.split("\n@@\n")
            path = root / head.removeprefix("--- ")
            text = path.read_text()
            for hunk in hunks:
                rows = hunk.splitlines(keepends=True)
                before = "".join(row[1:] for row in rows if not row.startswith("+"))
                after = "".join(row[1:] for row in rows if not row.startswith("-"))
                before, after = before.rstrip("\n") + "\n", after.rstrip("\n") + "\n"
                assert text.count(before) == 1, f"{path.name} has other lines than:\n{before}"
                text = text.replace(before, after)
            path.write_text(text)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of what a contributor has, with every change of CONTRIBUTING.md."""
    root = tmp_path_factory.mktemp("changed")
    for name in ("mm_jax", "data", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    apply_changes(root)
    return root


def python_in(root, *args):
    """Run Python on the package in ``root``; return its stdout."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_command_of_contributing_works(changed):
    said = python_in(changed, "-m", "mm_jax", "alphabet", "--json")
    assert json.loads(said)["symbols"] == list("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.slow
def test_the_new_model_and_the_new_option_of_contributing_work(changed):
    words = shlex.split(re.search(r"`mm-jax (train --model linear .*?)`", CONTRIBUTING)[1])
    said = json.loads(python_in(changed, "-m", "mm_jax", *words, "--label", "one", "--json"))
    assert 2 < said["dev_loss"] < 2.7  # uniform is 3.30
    config = json.loads((changed / "runs/linear/config.json").read_text())["config"]
    assert config["label"] == "one"
    assert config["model"] == {"name": "linear", "context": 3}
    laws = re.search(r'`make test ARGS="(.*?)"` *\.', CONTRIBUTING)[1].split()
    said = python_in(changed, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *laws)
    assert re.search(r"17 passed", said)
