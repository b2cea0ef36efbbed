"""Keys -> lines: new lines from any Model, one symbol at a time, many at once on the device.

The i-th line comes from fold_in(key, i) alone, so it is the same in a batch of one or of thousands.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mm_jax.choices import InputError
from mm_jax.config import MAX_LEN
from mm_jax.model import Model, Params


def filter_logits(
    logits: Float[Array, " V"], top_k: Int[Array, ""], top_p: Float[Array, ""]
) -> Float[Array, " V"]:
    """Set to -inf all but the ``top_k`` likeliest symbols, then all outside the nucleus.

    The nucleus is the smallest set of likeliest symbols whose probability reaches ``top_p``
    (Holtzman et al. 2020), taken among what top_k left; it holds at least one symbol. Of equal
    logits the lower id comes first.
    """
    order = jnp.argsort(-logits)
    ranked = jnp.where(jnp.arange(logits.size) < jnp.maximum(top_k, 1), logits[order], -jnp.inf)
    probs = jax.nn.softmax(ranked)
    before = jnp.cumsum(probs) - probs
    within = (before < top_p) | (top_p >= 1)  # rounding can lift what comes before up to 1
    kept = jnp.where(within, ranked, -jnp.inf).at[0].set(ranked[0])
    return jnp.zeros_like(logits).at[order].set(kept)


@partial(jax.jit, static_argnames=("model", "num", "max_len"))
def sample(
    model: Model,
    params: Params,
    key: Key[Array, ""],
    *,
    num: int,
    max_len: int = MAX_LEN,
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | Int[Array, ""] | None = None,
    top_p: float | Float[Array, ""] | None = None,
    prefix: Int[Array, " prefix"] | None = None,
    first: int | Int[Array, ""] = 0,
) -> tuple[Int[Array, "num max_len"], Bool[Array, " num"]]:
    """Draw ``num`` lines: ids (num, max_len), 0 after a line's end, and whether each line ended.

    A line begins with the ids of ``prefix`` and ends at the boundary; one that reaches ``max_len``
    symbols is cut there, and its second value is False. ``temperature`` divides the logits; 0 is
    greedy: always the likeliest symbol. ``top_k`` and ``top_p``: see filter_logits. Lines are
    numbered from ``first`` on, so that a large number can be drawn in parts.

    Raises InputError where the model is not right for rows of ``max_len``, or the prefix is longer.
    """
    given = 0 if prefix is None else len(prefix)
    if model.max_len is not None and max_len + model.context > model.max_len:
        raise InputError(f"the model reads at most {model.max_len - model.context} symbols a line")
    if given > max_len:
        raise InputError(f"the prefix has {given} symbols, more than max_len, {max_len}")
    greedy = jnp.asarray(temperature) == 0

    def draw(key: Key[Array, ""], logits: Float[Array, " V"]) -> Int[Array, ""]:
        scaled = logits / jnp.where(greedy, 1, temperature)
        if top_k is not None or top_p is not None:
            k = logits.size if top_k is None else top_k
            p = 1.0 if top_p is None else top_p
            scaled = filter_logits(scaled, jnp.asarray(k), jnp.asarray(p))
        token = jnp.where(greedy, jnp.argmax(logits), jax.random.categorical(key, scaled))
        return token.astype(jnp.int32)

    def next_token(
        key_line: Key[Array, ""], carry: Any, token: Int[Array, ""], place: Int[Array, ""]
    ) -> tuple[Any, Int[Array, ""]]:
        carry, logits = model.step(params, carry, token)
        return carry, draw(jax.random.fold_in(key_line, place), logits)

    carry, last = model.start(params), jnp.int32(0)
    tokens = jnp.zeros((num, max_len), jnp.int32)
    for place in range(given):
        carry, _ = model.step(params, carry, last)
        last = jnp.asarray(prefix)[place].astype(jnp.int32)
        tokens = tokens.at[:, place].set(last)

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (num, *leaf.shape))

    lines = jnp.arange(num) + first
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, lines)

    def unfinished(loop: tuple) -> Bool[Array, ""]:
        place, _, _, _, ended = loop
        return (place < max_len) & ~jnp.all(ended)

    def body(loop: tuple) -> tuple:
        place, carry, last, tokens, ended = loop
        carry, token = jax.vmap(next_token, in_axes=(0, 0, 0, None))(keys, carry, last, place)
        token = jnp.where(ended, 0, token)
        return place + 1, carry, token, tokens.at[:, place].set(token), ended | (token == 0)

    start = (jnp.int32(given), jax.tree.map(repeat, carry), repeat(last), tokens)
    loop = jax.lax.while_loop(unfinished, body, (*start, jnp.zeros(num, bool)))
    return loop[3], loop[4]
