"""Recurrent nets, three cells in one form: RNN (Elman 1990), GRU (Cho et al. 2014) and LSTM.

The LSTM (Hochreiter and Schmidhuber 1997) has the forget gate of Gers et al. (2000). The input
products of all time steps are one product, outside the scan; a boundary sets the state to zero.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import RecurrentConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once
from mm_jax.models.layers import Head, dense, dropout, embed, normals

State = tuple[Float[Array, "... H"], ...]  # the first is the output


class Cell(NamedTuple):
    """What one layer does with the products of its inputs, at one time step."""

    num_parts: int  # of H columns each, that W, U and b have
    num_states: int  # arrays (..., H) of the state
    # (x (..., parts * H), state, U (H, parts * H)) -> (state, {name of a gate: (..., H)})
    advance: Callable[..., tuple[State, dict[str, Array]]]


def _advance_rnn(x: Array, state: State, weight: Array) -> tuple[State, dict[str, Array]]:
    """Return h = tanh(x + h U)."""
    return (jnp.tanh(x + state[0] @ weight),), {}


def _advance_gru(x: Array, state: State, weight: Array) -> tuple[State, dict[str, Array]]:
    """Return h = (1 - update) h + update tanh(x + (reset h) U), as makemore's GRU has it."""
    (h,), size = state, weight.shape[0]
    gates = jax.nn.sigmoid(x[..., : 2 * size] + h @ weight[:, : 2 * size])
    reset, update = jnp.split(gates, 2, -1)
    new = jnp.tanh(x[..., 2 * size :] + (reset * h) @ weight[:, 2 * size :])
    return (h + update * (new - h),), {"reset": reset, "update": update}


def _advance_lstm(x: Array, state: State, weight: Array) -> tuple[State, dict[str, Array]]:
    """Return h = output tanh(c), and c = forget c + input tanh(new)."""
    h, c = state
    enter, forget, output, new = jnp.split(x + h @ weight, 4, -1)
    enter, forget, output = map(jax.nn.sigmoid, (enter, forget, output))
    c = forget * c + enter * jnp.tanh(new)
    return (output * jnp.tanh(c), c), {"input": enter, "forget": forget, "output": output}


CELLS = {
    "rnn": Cell(1, 1, _advance_rnn),
    "gru": Cell(3, 1, _advance_gru),
    "lstm": Cell(4, 2, _advance_lstm),
}


class Choices(NamedTuple):
    """The choices of a recurrent net; those of ``recurrent``."""

    cell_name: str
    vocab_size: int
    embed_dim: int
    hidden_dim: int
    layers: int
    input_dropout: float
    dropout_rate: float
    recurrent_dropout: float

    @property
    def cell(self) -> Cell:
        """What a layer does at one time step."""
        return CELLS[self.cell_name]

    @property
    def names(self) -> list[str]:
        """The names of the layers."""
        return [f"layer{i + 1}" for i in range(self.layers)]


@built_once
def recurrent(
    cell_name: str,
    vocab_size: int,
    embed_dim: int = RecurrentConfig.embed_dim,
    hidden_dim: int = RecurrentConfig.hidden_dim,
    layers: int = RecurrentConfig.layers,
    input_dropout: float = RecurrentConfig.input_dropout,
    dropout_rate: float = RecurrentConfig.dropout,
    recurrent_dropout: float = RecurrentConfig.recurrent_dropout,
) -> Model:
    """Return a recurrent net of ``layers`` layers; the cell is rnn, gru or lstm.

    Parameters: embed (V, D); layer1 with W (D, parts * H), U (H, parts * H) and b (parts * H,),
    layer2 and so on with W (H, parts * H); head with W (H, V) and b (V,). The parts are one for an
    RNN; reset, update, new for a GRU; input, forget, output, new for an LSTM. The three rates are
    the shares of the embedding, of each layer's output and of U that a training step drops.
    """
    if cell_name not in CELLS:
        raise InputError(f"unknown cell {cell_name!r}; choose one of {', '.join(CELLS)}")
    if min(vocab_size, embed_dim, hidden_dim, layers) < 1:
        raise InputError("vocab_size, embed_dim, hidden_dim and layers must be at least 1")
    rates = input_dropout, dropout_rate, recurrent_dropout
    RecurrentConfig(embed_dim, hidden_dim, layers, *rates)  # raises InputError
    choices = Choices(cell_name, vocab_size, embed_dim, hidden_dim, layers, *rates)
    apply = partial(_apply, choices)
    return Model(
        partial(_first_params, choices),
        partial(apply, key=None),
        partial(_start, choices),
        partial(_step, choices),
        context=None,
        max_len=None,
        restarts=True,
        apply_train=apply if any(rates) else None,
        head=partial(_head, choices),
        hidden=lambda params, tokens: _inside(choices, params, tokens)[0],
        gates=None if cell_name == "rnn" else lambda *args: _inside(choices, *args)[1],
        embedding=lambda params: params["embed"],
        for_browser=partial(_for_browser, choices),
    )


def _first_params(choices: Choices, key: Key[Array, ""]) -> Params:
    """Return the first parameters: by fan-in, so that the first loss is near ln V."""
    size, width = choices.hidden_dim, choices.cell.num_parts * choices.hidden_dim
    shapes = {"embed": (choices.vocab_size, choices.embed_dim)}
    for i, name in enumerate(choices.names):
        shapes[f"{name}.W"] = (size if i else choices.embed_dim, width)
        shapes[f"{name}.U"] = (size, width)
    drawn = normals(key, shapes | {"head": (size, choices.vocab_size)})
    params: Params = {"embed": drawn["embed"]}
    for name in choices.names:
        weights = {part: drawn[f"{name}.{part}"] for part in "WU"}
        scaled = {part: each / each.shape[0] ** 0.5 for part, each in weights.items()}
        params[name] = scaled | {"b": _first_bias(choices.cell_name, size, width)}
    head = {"W": 0.1 * drawn["head"] / size**0.5, "b": jnp.zeros(choices.vocab_size)}
    return params | {"head": head}


def _first_bias(cell_name: str, hidden_dim: int, width: int) -> Float[Array, " width"]:
    """Return the first bias: 0, but 1 for an LSTM's forget gate, which is open then."""
    bias = jnp.zeros(width)
    return bias.at[hidden_dim : 2 * hidden_dim].set(1) if cell_name == "lstm" else bias


def _read(
    choices: Choices, params: Params, tokens: Int[Array, "N T"], key: Key[Array, ""] | None
) -> tuple[Float[Array, "T N H"], dict[str, State], dict[str, Array]]:
    """Return the output of the last layer, and the states and gates of all, time first."""
    keys = None if key is None else jax.random.split(key, (choices.layers + 1, 2))
    is_first = (tokens.T == 0)[..., None]
    x: Any = None
    states: dict[str, State] = {}
    gates: dict[str, Array] = {}
    for i, name in enumerate(choices.names):
        layer, weight = params[name], params[name]["U"]
        if x is None:
            key_input = None if keys is None or not choices.input_dropout else keys[-1, 0]
            products = _first_products(params, layer, tokens.T, key_input, choices.input_dropout)
        else:
            products = dense(x, layer["W"], layer["b"])
        if keys is not None and choices.recurrent_dropout:
            weight = dropout(keys[i, 0], weight, choices.recurrent_dropout)
        with jax.named_scope(name):
            states[name], opened = _scan(choices.cell, products, is_first, weight)
        gates |= {f"{name} {gate}": each for gate, each in opened.items()}
        x = states[name][0]
        if keys is not None and choices.dropout_rate:
            x = dropout(keys[i, 1], x, choices.dropout_rate)
    return x, states, gates


def _apply(
    choices: Choices, params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
) -> Float[Array, "... T V"]:
    return _head(choices, params, tokens, key).logits


def _head(
    choices: Choices, params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
) -> Head:
    rows = tokens.reshape(-1, tokens.shape[-1])
    outputs = jnp.swapaxes(_read(choices, params, rows, key)[0], 0, 1)
    return Head(outputs.reshape(*tokens.shape, -1), params["head"]["W"], params["head"]["b"])


def _start(choices: Choices, params: Params) -> tuple[State, ...]:
    zero = jnp.zeros_like(params["head"]["W"][:, 0])
    return ((zero,) * choices.cell.num_states,) * choices.layers


def _step(
    choices: Choices, params: Params, carry: tuple[State, ...], token: Int[Array, ""]
) -> tuple[tuple[State, ...], Float[Array, " V"]]:
    x, after = embed(params["embed"], token), []
    for name, state in zip(choices.names, carry, strict=True):
        layer = params[name]
        fresh = tuple(jnp.where(token == 0, 0, each) for each in state)
        products = dense(x, layer["W"], layer["b"])
        state, _ = choices.cell.advance(products, fresh, layer["U"])
        after.append(state)
        x = state[0]
    return tuple(after), dense(x, params["head"]["W"], params["head"]["b"])


def _inside(
    choices: Choices, params: Params, tokens: Int[Array, "... T"]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the outputs (..., T, H) of all layers, and their gates."""
    _, states, gates = _read(choices, params, tokens.reshape(-1, tokens.shape[-1]), None)
    outputs = {name: state[0] for name, state in states.items()}

    def in_rows(each: Float[Array, "T N H"]) -> Float[Array, "... T H"]:
        return jnp.swapaxes(each, 0, 1).reshape(*tokens.shape, -1)

    return jax.tree.map(in_rows, (outputs, gates))


def _first_products(
    params: Params,
    layer: Params,
    tokens: Int[Array, "T N"],
    key: Key[Array, ""] | None,
    rate: float,
) -> Float[Array, "T N W"]:
    """Return the products of the first layer's inputs: of each symbol once where that is less."""
    table = params["embed"]
    with jax.named_scope("embed"):
        if key is None and len(table) <= tokens.size:
            return embed(dense(table, layer["W"], layer["b"]), tokens)
        x = embed(table, tokens)
        if key is not None:
            x = dropout(key, x, rate)
        return dense(x, layer["W"], layer["b"])


def _scan(
    cell: Cell, products: Float[Array, "T N W"], is_first: Any, weight: Float[Array, "H W"]
) -> tuple[State, dict[str, Array]]:
    """Return the states and gates of one layer at all times."""

    def advance(state: State, inputs: tuple[Array, Array]) -> Any:
        x, first = inputs
        fresh = tuple(jnp.where(first, 0, each) for each in state)
        state, gates = cell.advance(x, fresh, weight)
        return state, (state, gates)

    zero = jnp.zeros((products.shape[1], weight.shape[0]), products.dtype)
    begin = (zero,) * cell.num_states
    return jax.lax.scan(advance, begin, (products, is_first))[1]


def _for_browser(choices: Choices, params: Params) -> ForBrowser:
    arrays = {"embed": params["embed"]}
    for i, name in enumerate(choices.names):
        arrays |= {f"{part}{i + 1}": params[name][part] for part in "WUb"}
    arrays |= {f"head{part}": params["head"][part] for part in "Wb"}
    numbers: dict[str, Any] = {"cell": choices.cell_name, "layers": choices.layers}
    return ForBrowser("recurrent", arrays, numbers, embedding="embed")


def rnn(vocab_size: int, **choices: Any) -> Model:
    """Return a simple recurrent net; ``choices`` are those of ``recurrent`` and RNNConfig."""
    return recurrent("rnn", vocab_size, **choices)


def gru(vocab_size: int, **choices: Any) -> Model:
    """Return a net of gated recurrent units; ``choices`` are those of ``recurrent``."""
    return recurrent("gru", vocab_size, **choices)


def lstm(vocab_size: int, **choices: Any) -> Model:
    """Return a net of long short-term memory; ``choices`` are those of ``recurrent``."""
    return recurrent("lstm", vocab_size, **choices)


def from_config(config: RecurrentConfig, vocab_size: int) -> Model:
    """Return the recurrent net that a config describes."""
    return recurrent(
        config.name,
        vocab_size,
        config.embed_dim,
        config.hidden_dim,
        config.layers,
        config.input_dropout,
        config.dropout,
        config.recurrent_dropout,
    )
