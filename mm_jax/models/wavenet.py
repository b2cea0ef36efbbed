"""The hierarchical net of the fifth makemore lecture, after WaveNet (van den Oord et al. 2016).

Each layer fuses neighbours in pairs, so that a context of 8 symbols becomes 4, 2 and 1 vectors.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import WaveNetConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once, windowed
from mm_jax.models.layers import TANH_GAIN, Head, dense, dropout, embed, layer_norm, normals


@built_once
def wavenet(
    vocab_size: int,
    context: int = WaveNetConfig.context,
    embed_dim: int = WaveNetConfig.embed_dim,
    hidden_dim: int = WaveNetConfig.hidden_dim,
    norm: str = WaveNetConfig.norm,
    dropout_rate: float = WaveNetConfig.dropout,
) -> Model:
    """Return the net with parameters C (V, D), for each layer W1 (2D, H), b1 (H,) and so on.

    There are log2(context) layers; the last W and b make the logits. With ``norm="layer"`` each
    layer has a scale g1 (H,), and what enters its tanh is normalised. The lecture normalises over
    the batch instead, which makes a prediction depend on its neighbours. Raises InputError for a
    context that is no power of two.
    """
    if min(vocab_size, embed_dim, hidden_dim) < 1:
        raise InputError("vocab_size, embed_dim and hidden_dim must be at least 1")
    check: Any = WaveNetConfig  # raises InputError
    check(context, embed_dim, hidden_dim, norm, dropout_rate)
    num_layers = context.bit_length() - 1
    widths = [embed_dim, *[hidden_dim] * num_layers]

    def init(key: Key[Array, ""]) -> Params:
        shapes = {"C": (vocab_size, embed_dim)}
        for i in range(num_layers):
            shapes[f"W{i + 1}"] = (2 * widths[i], hidden_dim)
        shapes[f"W{num_layers + 1}"] = (hidden_dim, vocab_size)
        params = normals(key, shapes)
        for i in range(num_layers):
            params[f"W{i + 1}"] *= TANH_GAIN / (2 * widths[i]) ** 0.5
            params[f"b{i + 1}"] = jnp.zeros(hidden_dim)
            if norm == "layer":
                params[f"g{i + 1}"] = jnp.ones(hidden_dim)
        params[f"W{num_layers + 1}"] *= 0.1 / hidden_dim**0.5
        params[f"b{num_layers + 1}"] = jnp.zeros(vocab_size)
        return params

    def hidden(
        params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None = None
    ) -> dict[str, Float[Array, "... H"]]:
        """Return the activations of each layer, those of all places side by side."""
        with jax.named_scope("embed"):
            x = embed(params["C"], windows)  # (..., C, D)
        layers = {}
        for i in range(1, num_layers + 1):
            with jax.named_scope(f"layer{i}"):
                x = x.reshape(*x.shape[:-2], x.shape[-2] // 2, -1)
                if norm == "layer":
                    x = layer_norm(dense(x, params[f"W{i}"]), params[f"g{i}"], params[f"b{i}"])
                else:
                    x = dense(x, params[f"W{i}"], params[f"b{i}"])
                x = jnp.tanh(x)
                if key is not None:
                    x = dropout(jax.random.fold_in(key, i), x, dropout_rate)
                layers[f"h{i}"] = x.reshape(*x.shape[:-2], -1)
        return layers

    def head(params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None) -> Head:
        h = hidden(params, windows, key)[f"h{num_layers}"]
        return Head(h, params[f"W{num_layers + 1}"], params[f"b{num_layers + 1}"])

    def predict(
        params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "... V"]:
        return head(params, windows, key).logits

    model = windowed(
        init,
        partial(predict, key=None),
        context,
        predict_train=predict if dropout_rate else None,
        hidden=hidden,
        head=head,
    )
    return model._replace(
        embedding=lambda params: params["C"],
        for_browser=lambda params: ForBrowser(
            "wavenet",
            dict(params),
            {"layers": num_layers, "context": context, "norm": norm},
            embedding="C",
        ),
    )


def from_config(config: WaveNetConfig, vocab_size: int) -> Model:
    """Return the net that a WaveNetConfig describes."""
    return wavenet(
        vocab_size,
        config.context,
        config.embed_dim,
        config.hidden_dim,
        config.norm,
        config.dropout,
    )
