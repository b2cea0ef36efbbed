"""makemore's bag of words: the mean of all symbols of an item so far, then a two-layer net.

Token and position embeddings; a causal mean in place of attention; logits. The order of the symbols
reaches the net through the positions alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import BowConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once
from mm_jax.models.layers import Head, dense, dropout, embed, item_places, normals


@built_once
def bow(
    vocab_size: int,
    positions: int,
    embed_dim: int = BowConfig.embed_dim,
    hidden_dim: int = BowConfig.hidden_dim,
    dropout_rate: float = BowConfig.dropout,
) -> Model:
    """Return the bag of words for items of up to ``positions`` tokens, the boundary included.

    Parameters: C (V, D), P (positions, D), W1 (D, H), b1 (H,), W2 (H, D), b2 (D,), W3 (D, V) and
    b3 (V,). ``x`` is symbol plus position; then x += mean of x so far; then x += tanh(x @ W1 + b1)
    @ W2 + b2; the logits are x @ W3 + b3. Source: makemore's BoW.
    """
    if min(vocab_size, positions, embed_dim, hidden_dim) < 1:
        raise InputError("vocab_size, positions, embed_dim and hidden_dim must be at least 1")

    def init(key: Key[Array, ""]) -> Params:
        shapes = {
            "C": (vocab_size, embed_dim),
            "P": (positions, embed_dim),
            "W1": (embed_dim, hidden_dim),
            "W2": (hidden_dim, embed_dim),
            "W3": (embed_dim, vocab_size),
        }
        params = normals(key, shapes)
        params["W1"] *= 1 / embed_dim**0.5
        params["W2"] *= 1 / hidden_dim**0.5
        params["W3"] *= 0.1 / embed_dim**0.5
        for name, size in (("b1", hidden_dim), ("b2", embed_dim), ("b3", vocab_size)):
            params[name] = jnp.zeros(size)
        return params

    def read(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None
    ) -> dict[str, Float[Array, "... T H"]]:
        """Return what the tanh layer reads, "x", and its activations, "h"."""
        places, allowed = item_places(tokens)
        with jax.named_scope("embed"):
            x = embed(params["C"], tokens) + embed(params["P"], places)
            if key is not None:
                x = dropout(jax.random.fold_in(key, 0), x, dropout_rate)
        with jax.named_scope("mean"):
            shares = allowed / jnp.sum(allowed, -1, keepdims=True)
            x += jnp.einsum("...qk,...kd->...qd", shares.astype(x.dtype), x)
        with jax.named_scope("hidden"):
            h = jnp.tanh(dense(x, params["W1"], params["b1"]))
            if key is not None:
                h = dropout(jax.random.fold_in(key, 1), h, dropout_rate)
            return {"x": x, "h": h}

    def last(params: Params, layers: dict[str, Float[Array, "... H"]]) -> Head:
        x = layers["x"] + dense(layers["h"], params["W2"], params["b2"])
        return Head(x, params["W3"], params["b3"])

    def head(params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None) -> Head:
        return last(params, read(params, tokens, key))

    def apply(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""] | None = None
    ) -> Float[Array, "... T V"]:
        return head(params, tokens, key).logits

    def start(params: Params) -> tuple[Float[Array, " D"], Int[Array, ""]]:
        return jnp.zeros_like(params["b2"]), jnp.int32(0)

    def step(
        params: Params, carry: tuple[Float[Array, " D"], Int[Array, ""]], token: Int[Array, ""]
    ) -> tuple[Any, Float[Array, " V"]]:
        total, count = (jnp.where(token == 0, 0, each) for each in carry)
        x = embed(params["C"], token) + embed(params["P"], count)
        total, count = total + x, count + 1
        x = x + total / count
        h = jnp.tanh(dense(x, params["W1"], params["b1"]))
        return (total, count), last(params, {"x": x, "h": h}).logits

    return Model(
        init,
        apply,
        start,
        step,
        context=None,
        max_len=positions,
        restarts=True,
        apply_train=apply if dropout_rate else None,
        head=head,
        hidden=lambda params, tokens: {"h": read(params, tokens, None)["h"]},
        embedding=lambda params: params["C"],
        for_browser=lambda params: ForBrowser("bow", dict(params), {}, embedding="C"),
    )


def from_config(config: BowConfig, vocab_size: int) -> Model:
    """Return the bag of words that a BowConfig describes."""
    positions = required_positions(config.positions)
    return bow(vocab_size, positions, config.embed_dim, config.hidden_dim, config.dropout)


def required_positions(positions: int | None) -> int:
    """Return the number of positions. Raises InputError where it is left to the data."""
    if positions is None:
        raise InputError("positions is None, as many as the data need; give a number, or data")
    return positions
