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
    """The choices that the block itself makes."""

    heads: int
    norm: str
    activation: str
    dropout_rate: float


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
    choices = Choices(heads, norm, activation, dropout_rate)
    names = [f"layer{i + 1}" for i in range(layers)]

    def init_params(key: Key[Array, ""]) -> Params:
        products = {
            "qkv": (embed_dim, 3 * embed_dim),
            "out": (embed_dim, embed_dim),
            "up": (embed_dim, 4 * embed_dim),
            "down": (4 * embed_dim, embed_dim),
        }
        shapes = {"wte": (vocab_size, embed_dim), "wpe": (positions, embed_dim)}
        if not tied:
            shapes["head"] = (embed_dim, vocab_size)
        for name in names:
            shapes |= {f"{name}.{part}": shape for part, shape in products.items()}
        drawn = {name: STDS[init] * each for name, each in normals(key, shapes).items()}

        def product(name: str, part: str) -> Params:
            into_stream = init == "gpt2" and part in ("out", "down")
            weight = drawn[f"{name}.{part}"] / (2 * layers if into_stream else 1) ** 0.5
            zeros = {"b": jnp.zeros(weight.shape[1])} if bias else {}
            return {"W": weight} | zeros

        def no_change() -> Params:
            shift = {"shift": jnp.zeros(embed_dim)} if bias else {}
            return {"scale": jnp.ones(embed_dim)} | shift

        params: Params = {name: drawn[name] for name in ("wte", "wpe")}
        for name in names:
            params[name] = {part: product(name, part) for part in products}
            if norm == "layer":
                params[name] |= {"norm1": no_change(), "norm2": no_change()}
        if norm == "layer":
            params["norm"] = no_change()
        return params if tied else params | {"head": {"W": drawn["head"]}}

    def embedded(params: Params, tokens: Array, places: Array) -> Float[Array, "... D"]:
        with jax.named_scope("embed"):
            x = embed(params["wte"], tokens) + embed(params["wpe"], places)
            return x if norm == "layer" else rms_norm(x)

    def logits(params: Params, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        with jax.named_scope("logits"):
            if norm == "layer":
                x = _normed(params["norm"], x)
            return dense(x, params["wte"].T if tied else params["head"]["W"])

    def read(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "... T D"], dict[str, Float[Array, "... heads T T"]]]:
        """Return what comes out of the last block, and the attention of all."""
        places, allowed = item_places(tokens)
        keys = [None] * (layers + 1) if key is None else list(jax.random.split(key, layers + 1))
        x, attention = _dropped(embedded(params, tokens, places), keys[-1], dropout_rate), {}
        for name, key_layer in zip(names, keys, strict=False):
            with jax.named_scope(name):
                x, attention[name] = _block(choices, params[name], x, allowed, key_layer)
        return x, attention

    def apply(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "... T V"]:
        return logits(params, read(params, tokens, key)[0])

    def start(params: Params) -> tuple[Int[Array, ""], tuple[Cache, ...]]:
        length, width = params["wpe"].shape
        zeros = jnp.zeros((length, heads, width // heads), params["wpe"].dtype)
        return jnp.int32(0), ((zeros, zeros),) * layers

    def step(
        params: Params, carry: tuple[Int[Array, ""], tuple[Cache, ...]], token: Int[Array, ""]
    ) -> tuple[Any, Float[Array, " V"]]:
        place, caches = carry
        place = jnp.where(token == 0, 0, place)
        x, after = embedded(params, token, place), []
        for name, each in zip(names, caches, strict=True):
            x, each = _block_step(choices, params[name], x, place, each)
            after.append(each)
        return (place + 1, tuple(after)), logits(params, x)

    return Model(
        init_params,
        partial(apply, key=None),
        start,
        step,
        context=None,
        max_len=positions,
        restarts=True,
        apply_train=apply if dropout_rate else None,
        attention=lambda params, tokens: read(params, tokens, None)[1],
        embedding=lambda params: params["wte"],
        for_browser=partial(_for_browser, choices, layers),
    )


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


def _for_browser(choices: Choices, layers: int, params: Params) -> ForBrowser:
    arrays: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        arrays[".".join(entry.key for entry in path)] = leaf
    numbers: dict[str, Any] = {
        "layers": layers,
        "heads": choices.heads,
        "norm": choices.norm,
        "activation": choices.activation,
    }
    return ForBrowser("transformer", arrays, numbers)


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
