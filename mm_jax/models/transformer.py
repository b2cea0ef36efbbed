"""The Transformer of GPT-2 (Radford et al. 2019): its block exactly, and that of microgpt.

Pre-layer-norm, learned positions, causal multi-head attention, GELU of tanh form, a final layer
norm, a head that is tied to the embedding. A boundary begins a new item: positions begin anew, and
nothing before it is read, so items may share a row.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import TransformerConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once
from mm_jax.models.bow import required_positions
from mm_jax.models.layers import (
    Head,
    dense,
    dropout,
    embed,
    item_places,
    layer_norm,
    normals,
    rms_norm,
)

Cache = tuple[Float[Array, "P heads d"], Float[Array, "P heads d"]]  # keys and values of a layer
STDS = {"gpt2": 0.02, "microgpt": 0.08}
ACTIVATIONS: dict[str, Any] = {"gelu": partial(jax.nn.gelu, approximate=True), "relu": jax.nn.relu}


class Choices(NamedTuple):
    """The choices of a Transformer; those of ``transformer``."""

    vocab_size: int
    positions: int
    layers: int
    embed_dim: int
    heads: int
    norm: str
    activation: str
    bias: bool
    tied: bool
    init: str
    dropout_rate: float

    @property
    def names(self) -> list[str]:
        """The names of the layers."""
        return [f"layer{i + 1}" for i in range(self.layers)]


@built_once
def transformer(
    vocab_size: int,
    positions: int,
    layers: int = TransformerConfig.layers,
    embed_dim: int = TransformerConfig.embed_dim,
    heads: int = TransformerConfig.heads,
    *,
    norm: str = TransformerConfig.norm,
    activation: str = TransformerConfig.activation,
    bias: bool = True,
    tied: bool = True,
    init: str = TransformerConfig.init,
    dropout_rate: float = TransformerConfig.dropout,
) -> Model:
    """Return the Transformer for items of up to ``positions`` tokens, the boundary included.

    Parameters: wte (V, D), wpe (positions, D); layer1 with norm1, qkv (D, 3D), out (D, D), norm2,
    up (D, 4D) and down (4D, D), layer2 and so on; norm; and head (D, V) where it is not ``tied``.
    A product has W and, with ``bias``, b; a norm has scale and, with ``bias``, shift. With 12
    layers, 768 wide, 12 heads, 1,024 positions and V = 50,257 they are the 124,439,808 of GPT-2.

    ``norm="rms"`` is microgpt's: RMSNorm without parameters, on the embedding and before each part,
    none at the end. ``init="gpt2"``: normal of 0.02, divided by sqrt(2 layers) in out and down;
    ``"microgpt"``: 0.08 throughout. Raises InputError for heads that do not divide the width.
    """
    if min(vocab_size, positions) < 1:
        raise InputError("vocab_size and positions must be at least 1")
    check: Any = TransformerConfig  # raises InputError
    rest = {"init": init, "dropout": dropout_rate}
    check(layers, embed_dim, heads, positions, norm, activation, **rest)
    sizes = vocab_size, positions, layers, embed_dim, heads
    choices = Choices(*sizes, norm, activation, bias, tied, init, dropout_rate)
    apply, head = partial(_apply, choices), partial(_head, choices)
    return Model(
        partial(_first_params, choices),
        partial(apply, key=None),
        partial(_start, choices),
        partial(_step, choices),
        context=None,
        max_len=positions,
        restarts=True,
        apply_train=apply if dropout_rate else None,
        head=lambda params, *args: head(params, _read(choices, params, *args)[0]),
        attention=lambda params, tokens: _read(choices, params, tokens, None)[1],
        embedding=lambda params: params["wte"],
        for_browser=partial(_for_browser, choices),
    )


def _first_params(choices: Choices, key: Key[Array, ""]) -> Params:
    """Return the first parameters: normal numbers, and norms that change nothing."""
    width, names = choices.embed_dim, choices.names
    products = {
        "qkv": (width, 3 * width),
        "out": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }
    shapes = {"wte": (choices.vocab_size, width), "wpe": (choices.positions, width)}
    if not choices.tied:
        shapes["head"] = (width, choices.vocab_size)
    for name in names:
        shapes |= {f"{name}.{part}": shape for part, shape in products.items()}
    std = STDS[choices.init]
    drawn = {name: std * each for name, each in normals(key, shapes).items()}

    def product(name: str, part: str) -> Params:
        into_stream = choices.init == "gpt2" and part in ("out", "down")
        weight = drawn[f"{name}.{part}"] / (2 * choices.layers if into_stream else 1) ** 0.5
        return {"W": weight} | ({"b": jnp.zeros(weight.shape[1])} if choices.bias else {})

    def no_change() -> Params:
        return {"scale": jnp.ones(width)} | ({"shift": jnp.zeros(width)} if choices.bias else {})

    params: Params = {name: drawn[name] for name in ("wte", "wpe")}
    for name in names:
        params[name] = {part: product(name, part) for part in products}
        if choices.norm == "layer":
            params[name] |= {"norm1": no_change(), "norm2": no_change()}
    if choices.norm == "layer":
        params["norm"] = no_change()
    return params if choices.tied else params | {"head": {"W": drawn["head"]}}


def _apply(
    choices: Choices, params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
) -> Float[Array, "... T V"]:
    return _head(choices, params, _read(choices, params, tokens, key)[0]).logits


def _read(
    choices: Choices, params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
) -> tuple[Float[Array, "... T D"], dict[str, Float[Array, "... heads T T"]]]:
    """Return what comes out of the last block, and the attention of all."""
    places, allowed = item_places(tokens)
    count = choices.layers + 1
    keys = [None] * count if key is None else list(jax.random.split(key, count))
    x = _dropped(_embedded(choices, params, tokens, places), keys[-1], choices.dropout_rate)
    attention = {}
    for name, key_layer in zip(choices.names, keys, strict=False):
        with jax.named_scope(name):
            x, attention[name] = _block(choices, params[name], x, allowed, key_layer)
    return x, attention


def _embedded(
    choices: Choices, params: Params, tokens: Int[Array, "..."], places: Int[Array, "..."]
) -> Float[Array, "... D"]:
    with jax.named_scope("embed"):
        x = embed(params["wte"], tokens) + embed(params["wpe"], places)
        return x if choices.norm == "layer" else rms_norm(x)


def _head(choices: Choices, params: Params, x: Float[Array, "... D"]) -> Head:
    if choices.norm == "layer":
        x = _normed(params["norm"], x)
    return Head(x, params["wte"].T if choices.tied else params["head"]["W"])


def _start(choices: Choices, params: Params) -> tuple[Int[Array, ""], tuple[Cache, ...]]:
    length, width = params["wpe"].shape
    zeros = jnp.zeros((length, choices.heads, width // choices.heads), params["wpe"].dtype)
    return jnp.int32(0), ((zeros, zeros),) * choices.layers


def _step(
    choices: Choices,
    params: Params,
    carry: tuple[Int[Array, ""], tuple[Cache, ...]],
    token: Int[Array, ""],
) -> tuple[Any, Float[Array, " V"]]:
    place, caches = carry
    place = jnp.where(token == 0, 0, place)
    x, after = _embedded(choices, params, token, place), []
    for name, each in zip(choices.names, caches, strict=True):
        x, each = _block_step(choices, params[name], x, place, each)
        after.append(each)
    return (place + 1, tuple(after)), _head(choices, params, x).logits


def _normed(layer: Params | None, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Return x normalised, by the layer norm of these parameters, or without any."""
    return rms_norm(x) if layer is None else layer_norm(x, layer["scale"], layer.get("shift"))


def _product(layer: Params, x: Float[Array, "... D"]) -> Float[Array, "... H"]:
    return dense(x, layer["W"], layer.get("b"))


def _dropped(x: Array, key: Key[Array, ""] | None, rate: float) -> Array:
    return x if key is None or not rate else dropout(key, x, rate)


def _heads(choices: Choices, layer: Params, x: Float[Array, "... D"]) -> Any:
    """Return queries, keys and values (..., heads, d) of what a block reads."""
    qkv = _product(layer["qkv"], _normed(layer.get("norm1"), x))
    qkv = qkv.reshape(*x.shape[:-1], 3, choices.heads, -1)
    return qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]


def _weights(scores: Float[Array, "..."], allowed: Bool[Array, "..."]) -> Float[Array, "..."]:
    """Return the softmax of scores along the last axis, 0 where reading is not allowed."""
    return jax.nn.softmax(jnp.where(allowed, scores, jnp.finfo(scores.dtype).min))


def _block(
    choices: Choices,
    layer: Params,
    x: Float[Array, "... T D"],
    allowed: Bool[Array, "... T T"],
    key: Key[Array, ""] | None,
) -> tuple[Float[Array, "... T D"], Float[Array, "... heads T T"]]:
    """Return what a block makes of whole rows, and its attention."""
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    rate = choices.dropout_rate
    with jax.named_scope("attention"):
        query, keys_read, values = _heads(choices, layer, x)
        scores = jnp.einsum("...qhd,...khd->...hqk", query, keys_read) * query.shape[-1] ** -0.5
        attention = _weights(scores, allowed[..., None, :, :])
        dropped = _dropped(attention, keys[0], rate)
        mixed = jnp.einsum("...hqk,...khd->...qhd", dropped, values).reshape(x.shape)
        x += _dropped(_product(layer["out"], mixed), keys[1], rate)
    return x + _dropped(_net(choices, layer, x), keys[2], rate), attention


def _block_step(
    choices: Choices,
    layer: Params,
    x: Float[Array, " D"],
    place: Int[Array, ""],
    read: Cache,
) -> tuple[Float[Array, " D"], Cache]:
    """Return what a block makes of one token, and the keys and values with its own."""
    query, *own = _heads(choices, layer, x)
    keys, values = (
        jax.lax.dynamic_update_index_in_dim(each, new, place, 0)
        for each, new in zip(read, own, strict=True)
    )
    scores = jnp.einsum("hd,khd->hk", query, keys) * query.shape[-1] ** -0.5
    attention = _weights(scores, (jnp.arange(len(keys)) <= place)[None, :])
    x += _product(layer["out"], jnp.einsum("hk,khd->hd", attention, values).reshape(x.shape))
    return x + _net(choices, layer, x), (keys, values)


def _net(choices: Choices, layer: Params, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Return what the two-layer net of a block adds."""
    with jax.named_scope("net"):
        h = ACTIVATIONS[choices.activation](_product(layer["up"], _normed(layer.get("norm2"), x)))
        return _product(layer["down"], h)


def _for_browser(choices: Choices, params: Params) -> ForBrowser:
    arrays: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        arrays[".".join(entry.key for entry in path)] = leaf
    numbers: dict[str, Any] = {
        "layers": choices.layers,
        "heads": choices.heads,
        "norm": choices.norm,
        "activation": choices.activation,
    }
    return ForBrowser("transformer", arrays, numbers, embedding="wte")


def from_config(config: TransformerConfig, vocab_size: int) -> Model:
    """Return the Transformer that a TransformerConfig describes."""
    return transformer(
        vocab_size,
        required_positions(config.positions),
        config.layers,
        config.embed_dim,
        config.heads,
        norm=config.norm,
        activation=config.activation,
        bias=config.bias == "yes",
        tied=config.tied == "yes",
        init=config.init,
        dropout_rate=config.dropout,
    )
