"""What README.md shows is true: its code runs, its commands exist, its tree is complete."""

import math
import re
import shlex
from pathlib import Path

import pytest

from mm_jax.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [block for language, block in BLOCKS if language == "python"]


def commands():
    """Every mm-jax command line in a code block, without its comment."""
    for _, block in BLOCKS:
        for row in block.splitlines():
            words = shlex.split(row, comments=True)
            if "mm-jax" in words[:2]:
                yield " ".join(words[words.index("mm-jax") + 1 :])


@pytest.fixture(scope="module")
def notebook():
    """The names that the first Python block defines, and what it printed."""
    code = PYTHON[0]
    assert len([row for row in code.splitlines() if row.strip()]) <= 20
    printed, names = [], {"print": lambda *args: printed.append(" ".join(map(str, args)))}
    exec(compile(code, "README.md", "exec"), names)
    return names, printed


def test_the_bridge_from_counts_to_the_net(notebook):
    import numpy as np

    printed = []
    names = dict(notebook[0], print=printed.append)
    exec(compile(PYTHON[2], "README.md", "exec"), names)
    losses, samples = printed
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    assert 2 < float(losses[0]) < math.log(27)
    assert np.array_equal(*samples)
    assert np.any(samples[0])


@pytest.mark.slow
def test_a_population_its_ensemble_and_its_inside(notebook):
    printed = []
    names = dict(notebook[0], print=printed.append)
    exec(compile(PYTHON[3] + PYTHON[4], "README.md", "exec"), names)
    mean, together, saturated, ratios = printed
    assert 2 < float(together) < float(mean) < math.log(27)
    assert saturated.shape == ratios.shape == (8,)
    assert ((saturated >= 0) & (saturated < 1)).all()
    assert ((ratios > 1e-6) & (ratios < 1)).all()


def test_the_range_test_suggests_a_rate(notebook):
    printed = []
    names = dict(notebook[0], print=lambda *args: printed.extend(args))
    exec(compile(PYTHON[1], "README.md", "exec"), names)
    rate, (low, high), reason = printed
    assert 1e-3 < low <= rate <= high < 0.1
    assert "lowest" in reason


def test_the_notebook_learns(notebook):
    _, printed = notebook
    loss = float(re.search(r"dev loss (\d+\.\d+)", "\n".join(printed))[1])
    assert 1 < loss < math.log(27)  # below 1 nat it would have to know the names


def test_the_notebook_says_the_loss_of_its_own_parameters(notebook):
    import mm_jax as mm

    names, printed = notebook
    lines = mm.read_lines("names").lines
    dev = mm.split_lines(lines).dev
    vocab = mm.build_vocab(lines)
    data = mm.rows(dev, vocab, names["model"].context)  # the block uses windows
    loss = mm.evaluate(names["model"], names["state"].params, data, batch_size=64)
    said = float(re.search(r"dev loss (\d+\.\d+)", "\n".join(printed))[1])
    assert said == pytest.approx(float(loss), rel=1e-5)


def test_the_notebook_makes_names(notebook):
    import ast

    samples = ast.literal_eval(notebook[1][-1])
    assert len(samples) == 10
    assert len(set(samples)) > 5
    assert all(re.fullmatch("[a-z]*", line) for line in samples)
    assert 3 < sum(map(len, samples)) / 10 < 12  # as names are


def lines_of_the_page(column):
    """The lines of the page for those who come from PyTorch: (idea, code) in their order."""
    page = README.partition("### From PyTorch to JAX")[2].partition("\n## ")[0]
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


def test_there_are_commands_to_check():
    assert {line.split()[0] for line in commands()} == set(COMMANDS)


@pytest.fixture(scope="module")
def helps():
    return {}


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_line_of_the_readme_exists(line, capsys, helps):
    name, *rest = line.split()
    assert name in COMMANDS
    if name not in helps:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        helps[name] = capsys.readouterr().out
    for word in rest:
        if word.startswith("--"):
            known = re.search(rf"{word.partition('=')[0]}(?![\w-])", helps[name])
            assert known, f"{word} is not in mm-jax {name} --help"


def test_every_room_is_in_the_tree():
    tree = next(block for _, block in BLOCKS if block.startswith("mm_jax/\n"))
    entries = [row.split()[0] for row in tree.splitlines()]
    rooms = {f"{path.parent.name}/" for path in (ROOT / "mm_jax").glob("*/__init__.py")}
    assert rooms <= set(entries)
    for entry in entries[1:]:
        assert (ROOT / "mm_jax" / entry).exists() or (ROOT / entry).exists(), entry


def test_every_link_to_a_file_leads_somewhere():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("what", re.findall(r"`make (\w+)`|^make (\w+)", README, re.MULTILINE))
def test_every_make_target_exists(what):
    assert re.search(rf"^{''.join(what)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
