"""The recurrent nets against their equations in float64, symbol by symbol."""

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import TRAINED
from mm_jax.models.recurrent import CELLS, gru, lstm, recurrent, rnn
from mm_jax.models.registry import build_model
from tests.helpers import V, as64, assert_trees_close, first_params, moved, quick_jit

TOKENS = np.array([[0, 5, 13, 13, 1, 0, 3], [0, 1, 22, 1, 0, 0, 0]], np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn64(x, h, layer):
    return (np.tanh(x @ layer["W"] + h[0] @ layer["U"] + layer["b"]),), {}


def gru64(x, state, layer):
    """Cho et al. (2014), with the update as makemore has it."""
    (h,) = state
    parts = [np.split(layer[name], 3, -1) for name in ("W", "U", "b")]
    (wr, wz, wn), (ur, uz, un), (br, bz, bn) = parts
    r, z = sigmoid(x @ wr + h @ ur + br), sigmoid(x @ wz + h @ uz + bz)
    new = np.tanh(x @ wn + (r * h) @ un + bn)
    return ((1 - z) * h + z * new,), {"reset": r, "update": z}


def lstm64(x, state, layer):
    """Gers et al. (2000)."""
    h, c = state
    parts = [np.split(layer[name], 4, -1) for name in ("W", "U", "b")]
    (wi, wf, wo, wn), (ui, uf, uo, un), (bi, bf, bo, bn) = parts
    i, f, o = (sigmoid(x @ w + h @ u + b) for w, u, b in ((wi, ui, bi), (wf, uf, bf), (wo, uo, bo)))
    c = f * c + i * np.tanh(x @ wn + h @ un + bn)
    return (o * np.tanh(c), c), {"input": i, "forget": f, "output": o}


EQUATIONS = {"rnn": (rnn64, 1), "gru": (gru64, 1), "lstm": (lstm64, 2)}


def read64(name, params, row, layers):
    """Logits, gates and outputs of a row, one symbol at a time."""
    p, (advance, num_states) = as64(params), EQUATIONS[name]
    size = p["head"]["W"].shape[0]
    logits, gates, outputs = [], [], []
    for token in row:
        if token == 0:
            states = [(np.zeros(size),) * num_states] * layers
        x, opened = p["embed"][token], {}
        for i in range(layers):
            states[i], found = advance(x, states[i], p[f"layer{i + 1}"])
            opened |= {f"layer{i + 1} {gate}": each for gate, each in found.items()}
            x = states[i][0]
        outputs.append(x)
        gates.append(opened)
        logits.append(x @ p["head"]["W"] + p["head"]["b"])
    return np.array(logits), gates, np.array(outputs)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", EQUATIONS)
def test_it_computes_its_equations(name, layers):
    model = recurrent(name, V, 5, 7, layers)
    params = moved(first_params(model))
    logits = quick_jit(model.apply)(params, TOKENS)
    expected = [read64(name, params, row, layers) for row in TOKENS]
    assert_trees_close(logits, np.array([each[0] for each in expected]))
    hidden = quick_jit(model.hidden)(params, TOKENS)
    assert set(hidden) == {f"layer{i + 1}" for i in range(layers)}
    assert_trees_close(hidden[f"layer{layers}"], np.array([each[2] for each in expected]))
    if name == "rnn":
        assert model.gates is None
        return
    gates = quick_jit(model.gates)(params, TOKENS)
    for gate, opened in gates.items():
        assert_trees_close(opened, np.array([[at[gate] for at in each[1]] for each in expected]))


@pytest.mark.parametrize("vocab_size", [5, 500])  # fewer and more than there are tokens
def test_products_of_symbols_or_of_places_are_the_same(vocab_size):
    model = gru(vocab_size, embed_dim=4, hidden_dim=3)
    params, tokens = first_params(model), np.minimum(TOKENS, vocab_size - 1)
    logits = quick_jit(model.apply)(params, tokens)
    assert_trees_close(logits[1], read64("gru", params, tokens[1], 1)[0])


def test_an_lstms_forget_gate_is_open_at_first():
    params = first_params(lstm(V, embed_dim=4, hidden_dim=6, layers=2))
    for name in ("layer1", "layer2"):
        assert params[name]["b"].tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12


@pytest.mark.parametrize("part", ["input_dropout", "dropout_rate", "recurrent_dropout"])
def test_each_dropout_drops_its_part(part):
    model = gru(V, embed_dim=6, hidden_dim=5, layers=2, **{part: 0.5})
    params, key = first_params(model), jax.random.key(4)
    row = np.array([[0, 3, 1, 4]])
    logits = quick_jit(model.apply_train)(params, row, key)
    # Dropping the input or the output changes the first prediction; the state is zero before it.
    plain = quick_jit(model.apply)(params, row)
    is_changed = np.any(np.asarray(logits) != plain, -1)[0]
    assert is_changed.tolist() == [part != "recurrent_dropout", True, True, True]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: recurrent("gpu", V), "unknown cell 'gpu'; choose one of rnn, gru, lstm"),
        (lambda: rnn(V, hidden_dim=0), "hidden_dim and layers must be at least 1"),
        (lambda: lstm(0), "vocab_size"),
    ],
)
def test_what_no_recurrent_net_can_be_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("name", CELLS)
def test_a_config_describes_the_model_of_its_cell(name):
    expected = recurrent(name, V, 64, 64, 1)
    assert build_model(TRAINED[name](), V) is expected
