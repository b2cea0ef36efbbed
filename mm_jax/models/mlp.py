"""The multilayer perceptron of Bengio, Ducharme, Vincent and Jauvin (2003), over symbols.

Embed the last C symbols with a shared table, concatenate, tanh, logits (their equation 1). The
names of the arrays are the second makemore lecture's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import MLPConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once, windowed
from mm_jax.models.layers import TANH_GAIN, Head, dense, dropout, embed, layer_norm, normals


@built_once
def mlp(
    vocab_size: int,
    context: int = MLPConfig.context,
    embed_dim: int = MLPConfig.embed_dim,
    hidden_dim: int = MLPConfig.hidden_dim,
    init: str = MLPConfig.init,
    dropout_rate: float = MLPConfig.dropout,
    layers: int = MLPConfig.layers,
    norm: str = MLPConfig.norm,
    direct: bool = MLPConfig.direct,
) -> Model:
    """Return the MLP with parameters C (V, D), W1 (C*D, H), b1 (H,), W2 (H, V) and b2 (V,).

    With more ``layers`` W2 and so on are (H, H), and the last one makes the logits; with none W1 is
    (C*D, V). ``direct`` adds x @ W to the logits, x (C*D,) being what the first layer reads and W
    (C*D, V): y = b + Wx + U tanh(d + Hx) in the paper, where W2 is U, W1 is H and b1 is d.
    ``init="lecture"`` draws every array from a standard normal. ``init="scaled"`` multiplies the
    weights by the gain of tanh / sqrt(fan-in), makes the last ones small and the biases zero: the
    first prediction is then near uniform, its loss near ln V. With ``norm="layer"`` what enters
    each tanh is normalised, then scaled by g1 (H,) and shifted by b1. ``dropout_rate`` is the share
    of hidden units that each training step leaves out.
    """
    if min(vocab_size, context, embed_dim, hidden_dim) < 1 or layers < 0:
        raise InputError(
            "vocab_size, context, embed_dim and hidden_dim must be at least 1, layers at least 0"
        )
    if init not in ("lecture", "scaled"):
        raise InputError(f"unknown init {init!r}; choose one of lecture, scaled")
    if norm not in ("none", "layer"):
        raise InputError(f"unknown norm {norm!r}; choose one of none, layer")
    if not 0 <= dropout_rate < 1:
        raise InputError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate}")
    if direct and not layers:
        raise InputError("without layers all connections are direct: leave out direct")
    last = layers + 1  # the number of the weights that make the logits

    def init_params(key: Key[Array, ""]) -> Params:
        shapes: dict[str, tuple[int, ...]] = {"C": (vocab_size, embed_dim)}
        for i in range(1, last + 1):
            fan_in = hidden_dim if i > 1 else context * embed_dim
            fan_out = vocab_size if i == last else hidden_dim
            shapes |= {f"W{i}": (fan_in, fan_out), f"b{i}": (fan_out,)}
        if direct:
            shapes["W"] = (context * embed_dim, vocab_size)
        params = normals(key, shapes)
        if init == "scaled":
            for i in range(1, last + 1):
                gain = 0.1 if i == last else TANH_GAIN
                params[f"W{i}"] *= gain / shapes[f"W{i}"][0] ** 0.5
                params[f"b{i}"] = jnp.zeros_like(params[f"b{i}"])
            if direct:
                params["W"] *= 0.1 / shapes["W"][0] ** 0.5
        if norm == "layer":
            params |= {f"g{i}": jnp.ones(hidden_dim) for i in range(1, last)}
        return params

    def read(
        params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "... D"], dict[str, Float[Array, "... H"]]]:
        """Return what the logits are made from, and the activations of each layer."""
        with jax.named_scope("embed"):
            emb = embed(params["C"], windows)  # (..., C, D)
            first = x = emb.reshape(*windows.shape[:-1], context * embed_dim)
        activations = {}
        for i in range(1, last):
            with jax.named_scope("hidden"):
                if norm == "layer":
                    x = layer_norm(dense(x, params[f"W{i}"]), params[f"g{i}"], params[f"b{i}"])
                else:
                    x = dense(x, params[f"W{i}"], params[f"b{i}"])
                x = jnp.tanh(x)
                activations["h" if layers == 1 else f"h{i}"] = x
                if key is not None:
                    x = dropout(jax.random.fold_in(key, i) if i > 1 else key, x, dropout_rate)
        return jnp.concatenate([x, first], -1) if direct else x, activations

    def head(params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None) -> Head:
        weight = params[f"W{last}"]
        if direct:
            weight = jnp.concatenate([weight, params["W"]])
        return Head(read(params, windows, key)[0], weight, params[f"b{last}"])

    def predict(
        params: Params, windows: Int[Array, "... C"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "... V"]:
        return head(params, windows, key).logits

    model = windowed(
        init_params,
        predict,
        context,
        predict_train=predict if dropout_rate else None,
        hidden=(lambda params, windows: read(params, windows)[1]) if layers else None,
        head=head,
    )
    return model._replace(
        embedding=lambda params: params["C"],
        for_browser=lambda params: ForBrowser(
            "mlp", dict(params), {"layers": layers}, embedding="C"
        ),
    )


def from_config(config: MLPConfig, vocab_size: int) -> Model:
    """Return the MLP that a MLPConfig describes."""
    return mlp(
        vocab_size,
        config.context,
        config.embed_dim,
        config.hidden_dim,
        config.init,
        config.dropout,
        config.layers,
        config.norm,
        config.direct,
    )
