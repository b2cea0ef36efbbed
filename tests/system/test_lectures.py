"""The lectures' own numbers, from the lectures' own random arrays."""

import runpy
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.lectures import walkthrough
from mm_jax.lectures.comparison import Row
from mm_jax.lectures.walkthrough import lecture_arrays
from mm_jax.models.base import num_params
from mm_jax.models.bigram import bigram
from mm_jax.models.mlp import mlp
from mm_jax.training.loss import nats
from mm_jax.training.state import init_state
from mm_jax.training.step import fit
from tests.conftest import BESIDE
from tests.helpers import FIVE_NAMES, quick_jit, record_of, softmax64

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
ROOT = Path(__file__).parents[2]
ARRAYS = load_file(ROOT / "data" / "lecture_arrays.safetensors")
BIGRAM, MLP = bigram(27), mlp(27, context=3, embed_dim=2, hidden_dim=100)
EMMA, FIVE = windows(["emma"], LETTERS, 1), windows(FIVE_NAMES, LETTERS, 3)
# float32 has 24 bits: a loss of 4 nats is known to about 5e-7, one of 18 to about 2e-6.
EMMA_LOSSES = """3.7693048 3.7492127 3.7291627 3.7091546 3.6891887
    3.6692665 3.6493874 3.6295521 3.6097615 3.5900159"""


def losses_of(model, params, batch, num_steps):
    """The losses before each of so many full-batch steps of 0.1."""
    optimizer = optax.sgd(0.1)
    state = init_state(model, optimizer, jax.random.key(0), params=params)
    return np.asarray(fit(model, optimizer, state, batch, num_steps=num_steps, batch_size=None)[1])


def test_the_arrays_are_those_of_the_recipe():
    pytest.importorskip("torch", reason="PyTorch made the lecture's arrays and is not here")
    made = runpy.run_path(str(ROOT / "scripts/prepare_lecture_arrays.py"))["lecture_arrays"]()
    assert made.keys() == ARRAYS.keys()
    for name, array in made.items():
        np.testing.assert_allclose(ARRAYS[name], array, rtol=1e-6)


def test_emma_step_by_step():
    expected = [float(number) for number in EMMA_LOSSES.split()]
    np.testing.assert_allclose(
        losses_of(BIGRAM, lecture_arrays("bigram"), EMMA, 10), expected, atol=6e-7
    )


def test_emma_symbol_by_symbol():
    params = lecture_arrays("bigram")
    each = quick_jit(nats, static_argnums=0)(BIGRAM, params, EMMA)
    np.testing.assert_allclose(each, [4.3993, 4.0146, 3.6234, 2.6081, 4.2012], atol=5e-5)
    right = softmax64(params["W"])[EMMA.tokens[:, 0], EMMA.targets]
    np.testing.assert_allclose(right, [0.0123, 0.0181, 0.0267, 0.0737, 0.0150], atol=5e-5)


def test_32_examples_learned_by_heart():
    params = lecture_arrays("mlp")
    assert num_params(params) == 3_481
    assert len(FIVE.targets) == 32
    losses = losses_of(MLP, params, FIVE, 1001)
    np.testing.assert_allclose(losses[[0, 1]], [17.769714, 13.656403], atol=5e-6)
    assert losses[100] == pytest.approx(0.335449, abs=1e-6)
    # By then rounding has added up: PyTorch gets 0.256130 to 0.256146 in float32, as its threads
    # happen to add, and 0.256113 in float64.
    assert losses[1000] == pytest.approx(0.256146, abs=4e-5)


# The whole walks, on few steps


FIGURES = {1: ["bigrams", "one_hot"], 2: ["learning_rates", "losses_300", "embedding", "losses"]}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No walk depends on the folder that it is started from, or on a file that may be here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES", raising=False)


def check(record, number):
    """What holds of every walk, whatever its names."""
    assert (record["command"], record["number"], record["disagree"]) == ("lecture", number, [])
    wanted = [f"figures/lecture-{number}/{name}.png" for name in FIGURES[number]]
    assert record["figures"] == wanted
    for path in wanted:
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    rows = [Row(**row) for row in record["rows"]]
    assert all(row.agrees for row in rows if row.must)
    assert all(row.why for row in rows if not row.must)
    assert len({row.what for row in rows}) == len(rows)
    return {row.what: row for row in rows}


@pytest.mark.slow
def test_the_first_walk_on_the_names_that_ship(elsewhere):
    rows = check(record_of("lecture", "1", "--quick"), 1)
    differing = [row for row in rows.values() if row.why == walkthrough.OTHER_FILE]
    assert len(differing) > 10
    assert not any(row.must or row.agrees for row in differing)
    assert rows["emma, ten steps of 0.1 by fit"].must


@pytest.mark.slow
def test_the_first_walk_on_the_lectures_own_file(lecture_text, elsewhere, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(lecture_text.path))
    rows = check(record_of("lecture", "1", "--quick"), 1)
    assert not [row for row in rows.values() if row.why == walkthrough.OTHER_FILE]
    for what in ("bigrams in all", "loss of all bigrams", "andrejq, with 1 added"):
        assert rows[what].must


@pytest.mark.slow
def test_the_second_walk(elsewhere, monkeypatch):
    if BESIDE.is_file():  # on the lecture's own file where it is here
        monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(BESIDE))
    rows = check(record_of("lecture", "2", "--quick"), 2)
    for what in ("loss by optax", "after 1,000 steps", "lower bound, (5/32) ln 5"):
        assert rows[what].must
    for what in ("examples in all", "examples in train, dev, test", "loss of the bigram counts"):
        assert rows[what].must == BESIDE.is_file()
