"""The multilayer perceptron of Bengio, Ducharme, Vincent and Jauvin (2003), over symbols.

Embed the last C symbols with a shared table, concatenate, tanh, logits (their equation 1, without
the direct connections). The names of the arrays are the second makemore lecture's.
"""

from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import MLPConfig
from mm_jax.models.base import Model, Params, windowed
from mm_jax.models.layers import dense, dropout, embed, normals

TANH_GAIN = 5 / 3  # torch.nn.init.calculate_gain("tanh"): makes up for what tanh shrinks


@cache
def mlp(
    vocab_size: int,
    context: int = MLPConfig.context,
    embed_dim: int = MLPConfig.embed_dim,
    hidden_dim: int = MLPConfig.hidden_dim,
    init: str = MLPConfig.init,
    dropout_rate: float = MLPConfig.dropout,
) -> Model:
    """Return the MLP with parameters C (V, D), W1 (C*D, H), b1 (H,), W2 (H, V) and b2 (V,).

    ``init="lecture"`` draws every array from a standard normal. ``init="scaled"`` multiplies W1 by
    the gain of tanh / sqrt(fan-in), makes W2 small and the biases zero: the first prediction is
    then near uniform, its loss near ln V. ``dropout_rate`` is the share of hidden units that each
    training step leaves out.
    """
    if min(vocab_size, context, embed_dim, hidden_dim) < 1:
        raise InputError("vocab_size, context, embed_dim and hidden_dim must be at least 1")
    if init not in ("lecture", "scaled"):
        raise InputError(f"unknown init {init!r}; choose one of lecture, scaled")
    if not 0 <= dropout_rate < 1:
        raise InputError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate}")

    def init_params(key: Key[Array, ""]) -> Params:
        shapes = {
            "C": (vocab_size, embed_dim),
            "W1": (context * embed_dim, hidden_dim),
            "b1": (hidden_dim,),
            "W2": (hidden_dim, vocab_size),
            "b2": (vocab_size,),
        }
        params = normals(key, shapes)
        if init == "scaled":
            params["W1"] *= TANH_GAIN / (context * embed_dim) ** 0.5
            params["W2"] *= 0.1 / hidden_dim**0.5
            params["b1"] = jnp.zeros_like(params["b1"])
            params["b2"] = jnp.zeros_like(params["b2"])
        return params

    def hidden(params: Params, windows: Int[Array, "... C"]) -> dict[str, Float[Array, "... H"]]:
        with jax.named_scope("embed"):
            emb = embed(params["C"], windows)  # (..., C, D)
            x = emb.reshape(*windows.shape[:-1], context * embed_dim)
        with jax.named_scope("hidden"):
            return {"h": jnp.tanh(dense(x, params["W1"], params["b1"]))}

    def logits(params: Params, h: Float[Array, "... H"]) -> Float[Array, "... V"]:
        with jax.named_scope("logits"):
            return dense(h, params["W2"], params["b2"])

    def predict(params: Params, windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        return logits(params, hidden(params, windows)["h"])

    def predict_train(
        params: Params, windows: Int[Array, "... C"], key: Key[Array, ""]
    ) -> Float[Array, "... V"]:
        h = hidden(params, windows)["h"]
        return logits(params, dropout(key, h, dropout_rate))

    return windowed(
        init_params,
        predict,
        context,
        predict_train=predict_train if dropout_rate else None,
        hidden=hidden,
    )


def from_config(config: MLPConfig, vocab_size: int) -> Model:
    """Return the MLP that a MLPConfig describes."""
    return mlp(
        vocab_size, config.context, config.embed_dim, config.hidden_dim, config.init, config.dropout
    )
