"""What a function says of a wrong argument: its name, what it is, and what it should be.

In a process of its own: in this one the types of arguments are checked before they are used.
"""

import json
import subprocess
import sys

import pytest

from tests.helpers import ROOT

BEGIN = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
import mm_jax as mm
from mm_jax import population
from mm_jax.data.batches import Batch

LETTERS = mm.Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
MODEL, KEY, SGD = mm.mlp(27, 3, 4, 8), jax.random.key(0), optax.sgd(0.1)
BATCH = mm.windows(["emma", "ava"], LETTERS, 3)
STATE = mm.init_state(MODEL, SGD, KEY)
PAIR = population.init(MODEL, SGD, jax.random.split(KEY, 2))
PARAMS = MODEL.init(KEY)
OTHER = mm.encode_corpus(["ab", "b"], mm.Vocab((*LETTERS.symbols, "ä", "ö")))
NOTHING = Batch(jnp.zeros((0, 3), jnp.int32), jnp.zeros(0, jnp.int32), jnp.zeros(0))
OPTIONS = {"num_steps": 1, "batch_size": 4}

def fit(state, data=BATCH, model=MODEL):
    return mm.fit(model, SGD, state, data, **OPTIONS)

def fit_many(state, data=BATCH):
    return population.fit(MODEL, SGD, state, data, **OPTIONS)

def flat(params, windows):  # for (N, C) only
    embedded = params["C"][windows].reshape(len(windows), -1)
    return jnp.tanh(embedded @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]

def narrow(params, carry, token):
    carry = (carry + params["E"][token]).astype(jnp.bfloat16)
    return carry, carry.astype(jnp.float32) @ params["U"]

RECURRENT = mm.scanned(
    lambda key: {"E": jnp.ones((27, 5)), "U": jnp.ones((5, 27))}, lambda _: jnp.zeros(5), narrow
)
LONG = mm.encode_corpus(["a" * n for n in (3, 9, 12)], LETTERS)
NARROW = mm.transformer(27, 8, layers=1, embed_dim=8, heads=2)

CASES = {
"""
END = """
}
said = {}
for name, case in CASES.items():
    try:
        case()
        said[name] = None
    except mm.InputError as error:
        said[name] = str(error)
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""
POPULATION = "; it should be .*axis of members in front: see population.init"
KEYS = "it should be a random key, as jax.random.key(0) makes it"
EXPECTED = {
    "fit(PAIR)": "state is a population of 2 members; it should be the state of one model",
    "next(mm.fit_chunks(MODEL, SGD, PAIR, BATCH, **OPTIONS))": "state is a population of 2 members",
    "mm.train_step(MODEL, SGD, PAIR, BATCH)": "state is a population of 2 members",
    "fit(PARAMS)": "state is a dict; it should be a TrainState: see init_state",
    "fit(mm.init_state(MODEL, optax.adam(0.1), KEY))": "state.opt_state is that of another",
    "mm.train_step(MODEL, SGD, mm.init_state(MODEL, optax.adam(0.1), KEY), BATCH)": (
        "state.opt_state is that of another optimizer: it is"
    ),
    "fit_many(STATE)": "state is that of one model; it should be that of a population",
    "fit_many([STATE, STATE])": "state is a list of 2; it should be the TrainState of a population",
    "fit_many(3)": "state is an int; it should be the TrainState of a population",
    "mm.init_state(MODEL, SGD, 0)": f"key is the number 0; {KEYS}",
    "mm.init_state(MODEL, SGD, KEY, key_data=7)": f"key_data is the number 7; {KEYS}",
    "mm.init_state(MODEL, SGD, np.zeros(2))": f"key is float64[2]; {KEYS}",
    "mm.sample(MODEL, PARAMS, 0, num=1)": f"key is the number 0; {KEYS}",
    "population.init(MODEL, SGD, 5)": "key is int32[]; it should be a random key",
    "population.init(MODEL, SGD, KEY)": "key has the shape (); a population needs one key for each",
    "population.init(MODEL, SGD, jax.random.PRNGKey(0))": "key has the shape (); a population",
    "mm.evaluate(MODEL, PARAMS, NOTHING)": "the data have no examples",
    "fit(STATE, NOTHING)": "the data have no examples",
    "mm.evaluate(MODEL, PARAMS, BATCH.replace(weights=0 * BATCH.weights))": "all weights of the",
    "mm.loss(MODEL, PARAMS, BATCH.replace(weights=0 * BATCH.weights))": "all weights of the data",
    "fit(STATE, BATCH.replace(weights=0 * BATCH.weights))": "all weights of the data are 0",
    "fit_many(PAIR, BATCH.replace(weights=0 * BATCH.weights))": "all weights of the data are 0",
    "mm.evaluate(mm.windowed(MODEL.init, lambda p, w: p['b2'], 3), PARAMS, BATCH)": (
        "predict gave logits of shape (27,) for windows of shape (1, 3); it should be (1, V)"
    ),
    "mm.loss(MODEL._replace(apply=lambda p, t: jnp.zeros((len(t), 27))), PARAMS, BATCH)": (
        "the model's apply gave logits of shape (9, 27) for tokens of shape (9, 3); it should be "
        "(9, 1, 27), V logits for each of the 1 predictions"
    ),
    "mm.evaluate(RECURRENT, RECURRENT.init(KEY), mm.rows(['emma'], LETTERS))": (
        "step takes a carry of float32[5] and gives bfloat16[5]; it should give back what it takes"
    ),
    "mm.loss(MODEL, PARAMS, mm.windows(['emma'], LETTERS, 8))": (
        "the batch has windows of 8 tokens, and this model reads 3: make it with windows(..., "
        "context=3)"
    ),
    "mm.sample(MODEL, PARAMS, KEY, num=0)": "num is 0; it should be at least 1",
    "mm.sample(MODEL, PARAMS, KEY, num=1, max_len=0)": "max_len is 0; it should be at least 1",
    "mm.sample(MODEL, PARAMS, KEY, num=1, temperature=-1.0)": "temperature is -1.0; it should be",
    "mm.sample(MODEL, PARAMS, KEY, num=1, top_p=0)": "top_p is 0; it should be above 0 and at most",
    "mm.sample(MODEL, PARAMS, KEY, num=1, prefix=jnp.array([3, 27]))": (
        "the ids of prefix have the id 27, and the model has logits of 0 to 26"
    ),
    "mm.evaluate(MODEL, PARAMS, OTHER)": (
        "the data have 29 symbols, the boundary included, and the model has 27: encode them with"
    ),
    "mm.surprise(MODEL, PARAMS, OTHER)": "the data have 29 symbols",
    "fit(STATE, OTHER)": "the data have 29 symbols",
    "fit_many(PAIR, OTHER)": "the data have 29 symbols",
    "next(mm.fit_chunks(MODEL, SGD, STATE, OTHER, **OPTIONS))": "the data have 29 symbols",
    "population.evaluate(MODEL, PAIR.params, OTHER)": "the data have 29 symbols",
    "mm.evaluate(MODEL, PARAMS, BATCH.replace(targets=BATCH.targets - 1))": (
        "targets of the data have the id -1, and the model has logits of 0 to 26"
    ),
    "mm.evaluate(NARROW, NARROW.init(KEY), LONG)": (
        "2 of 3 items are too long for the 8 positions of the model, which hold a boundary and 7 "
        "symbols; the longest has 12 symbols and needs --positions 13"
    ),
    "fit(mm.init_state(NARROW, SGD, KEY), LONG, NARROW)": "2 of 3 items are too long for the 8",
    "mm.surprise(NARROW, NARROW.init(KEY), LONG)": "2 of 3 items are too long for the 8 positions",
    "mm.sample(NARROW, NARROW.init(KEY), KEY, num=1, max_len=9)": (
        "max_len is 9, and the model makes at most 8 symbols"
    ),
    "mm.packed_rows(LONG, 11)": "1 of 3 items have more than 10 symbols, and do not fit in rows",
    "mm.transformer(27, 8, heads=5)": "--heads 5 does not divide --embed-dim 64; --heads 4 does",
    "mm.wavenet(27, 6)": "--context must be a power of two, such as 4 or 8, not 6",
    "mm.transformer_from_gpt2({})": "the arrays of a GPT-2 of 0 layers: ",
    "mm.make_optimizer(mm.OptimizerConfig('sgd', b2=0.9), 5)": "sgd has no --b2; adam, adamw and",
    "fit(STATE, model=mm.windowed(MODEL.init, flat, 3))": None,  # reads windows in a row: right
    "mm.sample(mm.windowed(MODEL.init, flat, 3), PARAMS, KEY, num=2)": None,
    "mm.init_state(MODEL, SGD, jax.random.PRNGKey(0))": None,  # a key of the old kind
}


@pytest.fixture(scope="module")
def said():
    """What each case raised."""
    cases = "".join(f"    {case!r}: lambda: {case},\n" for case in EXPECTED)
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + cases + END],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("case", EXPECTED)
def test_a_wrong_argument_is_told_in_one_line(said, case):
    if EXPECTED[case] is None:
        assert said[case] is None
    else:
        assert said[case].startswith(EXPECTED[case])
        assert "\n" not in said[case]
