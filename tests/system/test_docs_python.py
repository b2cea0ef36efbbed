"""The Python of README.md and docs/ does what the documents say."""

import ast
import math
import re

import pytest

from tests.system.documents import TEXTS, python_of

TESTED = {"README.md", "CONTRIBUTING.md"}
GUIDES = ("ladder", "many-models", "models", "python", "range-test")
TESTED |= {f"docs/{name}.md" for name in GUIDES}
SIZES = {  # a tenth of the names, a smaller net, fewer steps
    'mm.read_corpus("names")': 'mm.read_corpus("names").take(jax.numpy.arange(3000).__array__())',
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
    lines = mm.read_lines("names").lines[:3000]
    vocab = names["corpus"].vocab
    data = mm.rows(mm.split_lines(lines).dev, vocab, names["model"].context)
    again = mm.evaluate(names["model"], names["state"].params, data, batch_size=64)
    assert float(loss) == pytest.approx(float(again), rel=1e-5)  # the example uses windows


def test_the_example_samples_names(example):
    (samples,) = example[1][-1]
    samples = samples if isinstance(samples, list) else ast.literal_eval(str(samples))
    assert len(samples) == 10
    assert len(set(samples)) > 5
    assert all(re.fullmatch("[a-z]*", line) for line in samples)
    assert 2 < sum(map(len, samples)) / 10 < 15  # about as long as names are


@pytest.mark.slow
def test_counts_are_the_net(example):
    import numpy as np

    (_, of_gpt2), (losses,), (samples,) = run_python("docs/models.md", dict(example[0]))
    assert abs(float(of_gpt2) - math.log(27)) < 0.1
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    assert 2 < float(losses[0]) < math.log(27)
    assert np.array_equal(*samples)
    assert np.any(samples[0])


@pytest.mark.slow
def test_the_contract_of_a_model(example):
    printed = run_python("docs/python.md", dict(example[0]))
    (shapes,), (count,), (tokens, targets), (nats,), (weighted,), (_, loss) = printed
    assert tokens == [[0, 0, 0], [0, 0, 5], [0, 5, 13], [5, 13, 13], [13, 13, 1]]
    assert targets == [5, 13, 13, 1, 0]
    assert len(nats) == 5 + 5
    assert 0 < float(weighted) < 5
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


@pytest.mark.slow
def test_a_mixture_is_better_than_its_members(example):
    import mm_jax as mm

    names = dict(example[0])
    fit, (measured,), (expected, given), (heeding,) = run_python("docs/ladder.md", names)
    weights, loss, halved = fit
    assert len(expected) == len(given)
    assert expected.sum() == pytest.approx(1) == given.sum()
    assert expected[0] > given[0]  # more new items than it makes
    assert float(heeding) < float(measured)
    assert float(measured) == pytest.approx(loss, rel=1e-4)
    assert loss <= halved
    assert (weights >= 0).all()
    for model, params in zip(names["models"], names["members"], strict=True):
        assert loss < float(mm.evaluate(model, params, names["dev"]))


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


@pytest.mark.slow
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
