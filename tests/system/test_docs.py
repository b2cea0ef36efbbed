"""What README.md, CONTRIBUTING.md and docs/ show is true: code runs, commands and files exist."""

import ast
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mm_jax.cli.main import COMMANDS, main
from tests.helpers import call

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PATHS}
README, CONTRIBUTING = TEXTS["README.md"], TEXTS["CONTRIBUTING.md"]
MAX_README_BYTES = 8192


def blocks(name):
    """(language, content) of each code block of a document."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", TEXTS[name], re.MULTILINE | re.DOTALL)


def python_of(name):
    return "".join(content for language, content in blocks(name) if language == "python")


def commands_of(name):
    """Yield every mm-jax command line in the code blocks of a document, without its comment."""
    for _, content in blocks(name):
        for row in content.splitlines():
            words = shlex.split(row, comments=True) if "mm-jax" in row else []
            if "mm-jax" in words[:2]:
                yield words[words.index("mm-jax") + 1 :]


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


@pytest.fixture(scope="module")
def helps():
    return {}


@pytest.mark.parametrize(("name", "words"), COMMAND_LINES)
def test_the_options_of_a_command_line_exist(name, words, capsys, helps):
    command, *rest = words
    assert command in COMMANDS
    if command not in helps:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps[command] = capsys.readouterr().out
    for option in [word.partition("=")[0] for word in rest if word.startswith("--")]:
        known = re.search(rf"{option}(?![\w-])", helps[command])
        assert known, f"{option} is not in mm-jax {command} --help"


@pytest.mark.parametrize("name", TEXTS)
def test_the_options_that_a_text_names_exist(name, helps, capsys):
    text = re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    options = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)[^`\n]*`", text))
    for command in COMMANDS:
        if options and command not in helps:
            with pytest.raises(SystemExit):
                main([command, "--help"])
            helps[command] = capsys.readouterr().out
    everything = " ".join(helps.values())
    elsewhere = {"--help"} | ({"--label"} if name == "CONTRIBUTING.md" else set())
    assert [o for o in options - elsewhere if not re.search(rf"{o}(?![\w-])", everything)] == []


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


def test_the_first_commands_do_what_the_readme_says(folder, monkeypatch):
    monkeypatch.chdir(folder)
    lines = list(commands_of("README.md"))
    assert len(lines) == 10
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
    assert Path("runs/first/params.safetensors").is_file()
    files = re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", TEXTS["docs/command-line.md"], re.MULTILINE)
    names = [name for row in files for name in re.findall(r"`([\w.]+)/?`", row)]
    made = {path.name for path in Path("runs/first").iterdir() if path.name[0] != "."}
    assert made <= set(names)
    assert set(names) - made <= {"figures"} | {"report.html"}


# Python

TESTED = {"README.md", "CONTRIBUTING.md"}
TESTED |= {f"docs/{name}.md" for name in ("many-models", "models", "python", "range-test")}
SIZES = {  # a tenth of the names, a smaller net, fewer steps
    'read_lines("names").lines': 'read_lines("names").lines[::10]',
    "hidden_dim=200": "hidden_dim=32",
    "num_steps=3000": "num_steps=300",
}


def test_all_python_is_tested_below():
    assert {name for name in TEXTS if python_of(name)} == TESTED


def run_python(name, names):
    """Run the Python blocks of a document in order, small; return what they printed."""
    printed, code = [], python_of(name)
    for size, smaller in {**SIZES, "num_steps=300,": "num_steps=100,"}.items():
        code = code.replace(size, smaller)
    names["print"] = lambda *values: printed.append(values)
    exec(compile(code, name, "exec"), names)
    return printed


@pytest.fixture(scope="module")
def example():
    """The names that the example of the README defines, and what it printed."""
    code = python_of("README.md")
    assert len([row for row in code.splitlines() if row.strip()]) <= 15
    assert all(size in code for size in SIZES)
    names = {}
    return names, run_python("README.md", names)


def test_the_example_learns_and_prints_the_loss_of_its_own_parameters(example):
    import mm_jax as mm

    names, ((label, loss, unit), _) = example
    assert (label, unit) == ("dev loss", "nats per symbol")
    assert 1 < float(loss) < 2.7  # uniform is ln 27 = 3.30; below 1 it would have to know the names
    lines = names["lines"]
    data = mm.rows(mm.split_lines(lines).dev, mm.build_vocab(lines), names["model"].context)
    again = mm.evaluate(names["model"], names["state"].params, data, batch_size=64)
    assert float(loss) == pytest.approx(float(again), rel=1e-5)  # the example uses windows


def test_the_example_samples_names(example):
    (samples,) = example[1][-1]
    samples = samples if isinstance(samples, list) else ast.literal_eval(str(samples))
    assert len(samples) == 10
    assert len(set(samples)) > 5
    assert all(re.fullmatch("[a-z]*", line) for line in samples)
    assert 2 < sum(map(len, samples)) / 10 < 15  # about as long as names are


def test_counts_are_the_net(example):
    import numpy as np

    (losses,), (samples,) = run_python("docs/models.md", dict(example[0]))
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    assert 2 < float(losses[0]) < math.log(27)
    assert np.array_equal(*samples)
    assert np.any(samples[0])


def test_the_contract_of_a_model(example):
    (shapes,), (count,), (_, loss) = run_python("docs/python.md", dict(example[0]))
    params = example[0]["state"].params
    assert shapes == {name: leaf.shape for name, leaf in params.items()}
    assert count == sum(math.prod(shape) for shape in shapes.values())
    assert 1 < float(loss) < math.log(27)


def test_the_functions_and_fields_that_the_guide_lists_exist():
    import mm_jax as mm

    guide = TEXTS["docs/python.md"]
    table = guide.partition("## The functions")[2].partition("```")[0]
    for row in re.findall(r"^\| \w[\w ]* \| (`.+`) \|$", table, re.MULTILINE):
        for name in re.findall(r"`([\w.]+)`", row):
            package, _, function = name.rpartition(".")
            assert callable(getattr(mm.population if package else mm, function)), name
    fields = re.findall(r"^\| `(\w+)` \|", guide.partition("## The Model contract")[2], re.M)
    assert tuple(fields) == mm.Model._fields


@pytest.mark.slow
def test_the_range_test_suggests_a_rate(example):
    names = dict(example[0])
    ((rate, (low, high), reason),) = run_python("docs/range-test.md", names)
    assert 1e-3 < low <= rate <= high < 0.5
    assert "lowest" in reason


@pytest.mark.slow
def test_a_population_its_ensemble_and_its_diagnostics(example):
    printed = run_python("docs/many-models.md", dict(example[0]))
    (mean,), (together,), (saturated,), (ratios,) = printed
    assert 2 < float(together) < float(mean) < math.log(27)
    assert saturated.shape == ratios.shape == (8,)
    assert ((saturated >= 0) & (saturated < 1)).all()
    assert ((ratios > 1e-6) & (ratios < 1)).all()


# CONTRIBUTING.md


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
    python_in(changed, "-m", "mm_jax", "report", "runs/linear")
    assert "linear" in (changed / "runs/linear/report.html").read_text()
    laws = re.search(r'`make test ARGS="(.*?)"` *\.', CONTRIBUTING)[1].split()
    said = python_in(changed, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *laws)
    assert re.search(r"1[12] passed", said)


# From PyTorch to JAX


def lines_of_the_page(column):
    """The lines of the page for those who come from PyTorch: (idea, code) in their order."""
    page = TEXTS["docs/lectures.md"].partition("## From PyTorch to JAX")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w ,-]+) \| `(.+?)` \| `(.+?)` \|$", page, re.MULTILINE)
    assert len(rows) == page.count("\n| ") - 1 >= 12
    return [(row[0], row[column]) for row in rows]


def run_the_page(column, names, arrays):
    """Run one column from top to bottom, with the lecture's W1 once one was drawn."""
    for idea, code in lines_of_the_page(column):
        exec(code, names)
        if idea == "normal numbers":
            assert names["W1"].shape == (6, 100)
            names["W1"] = arrays["W1"]
    return names


def test_the_lines_of_the_page_do_what_the_lecture_does():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import mm_jax as mm
    from mm_jax.lectures.walkthrough import lecture_arrays

    arrays = lecture_arrays("mlp")
    net = mm.mlp(27, context=3, embed_dim=2, hidden_dim=100)
    letters = mm.Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
    five = mm.windows(["emma", "olivia", "ava", "isabella", "sophia"], letters, context=3)

    @jax.jit
    def loss_of(params, X, Y):
        return mm.loss(net, params, five.replace(tokens=X, targets=Y))

    names = {"jax": jax, "jnp": jnp, "optax": optax, **arrays, "params": arrays}
    names |= {"X": five.tokens, "Y": five.targets, "loss_of": loss_of}
    names |= {"N": jnp.ones((27, 27), jnp.int32), "i": 0, "j": 5}
    with jax.numpy_rank_promotion("allow"):
        ours = run_the_page(2, names, arrays)
    assert ours["number"] == pytest.approx(17.769714, rel=1e-6)
    assert loss_of(ours["params"], five.tokens, five.targets) == pytest.approx(13.656403, rel=1e-6)
    assert (ours["N"][0, 5], ours["N"].sum()) == (2, 730)
    assert 0 <= ours["ix"] < 27
    assert ours["ids"].shape == (32,)
    np.testing.assert_allclose(ours["P"].sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(ours["emb"], ours["xenc"] @ arrays["C"])

    torch = pytest.importorskip("torch", reason="the PyTorch half of the page needs it")
    tensors = {name: torch.tensor(np.asarray(leaf)) for name, leaf in arrays.items()}
    params = [leaf.requires_grad_() for leaf in tensors.values()]
    names = {"torch": torch, "F": torch.nn.functional, **tensors, "params": params}
    names |= {name: torch.tensor(np.asarray(ours[name])).long() for name in "XY"}
    names |= {"N": torch.ones((27, 27), dtype=torch.int32), "i": 0, "j": 5}
    theirs = run_the_page(1, names, tensors)
    for name in ("N", "P", "xenc", "emb", "flat", "h", "logits", "number"):
        theirs_too = theirs[name].detach().numpy() if name != "number" else theirs[name]
        np.testing.assert_allclose(ours[name], theirs_too, rtol=2e-6, atol=1e-5, err_msg=name)
    for name, leaf in tensors.items():  # after the update
        np.testing.assert_allclose(ours["params"][name], leaf.detach(), rtol=1e-5, atol=1e-6)
