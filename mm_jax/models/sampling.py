"""Keys -> lines: new lines from any Model, one symbol at a time, many at once on the device.

The i-th line comes from fold_in(key, i) alone, so it is the same in a batch of one or of thousands.
Lines end at different places: where one ends, the next begins at once, so no place stands idle.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import MAX_LEN
from mm_jax.models.base import Model, Params
from mm_jax.runtime.hardware import num_cores

CPU_SLOTS = 2048  # lines that are drawn side by side; on a CPU twice as many are no faster
ACCELERATOR_SLOTS = 2**16  # on a GPU or TPU, where few lines are a wait for each step
MAX_CHUNK_SYMBOLS = 2**23  # that one part of a large number of lines may have: 32 MiB


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


def likeliest(scores: Float[Array, " V"]) -> Int[Array, ""]:
    """Return the first id of the highest score, as argmax does; on a CPU in less time.

    With scores of logits plus Gumbel noise that is a draw from their softmax.
    """
    scores = jax.lax.optimization_barrier(scores)  # or a CPU makes the noise twice
    ids = jnp.arange(scores.size, dtype=jnp.int32)
    highest = (scores == jnp.max(scores)) | jnp.isnan(scores)
    return jnp.min(jnp.where(highest, ids, scores.size - 1))


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
    if given == max_len:
        row = jnp.asarray(prefix, jnp.int32)[None, :]
        return jnp.broadcast_to(row, (num, max_len)), jnp.zeros(num, bool)
    greedy = jnp.asarray(temperature) == 0

    def draw(key: Key[Array, ""], logits: Float[Array, " V"]) -> Int[Array, ""]:
        scaled = logits / jnp.where(greedy, 1, temperature)
        if top_k is not None or top_p is not None:
            k = logits.size if top_k is None else top_k
            p = 1.0 if top_p is None else top_p
            scaled = filter_logits(scaled, jnp.asarray(k), jnp.asarray(p))
        noise = jax.random.gumbel(key, logits.shape, logits.dtype)
        return likeliest(jnp.where(greedy, logits, scaled + noise))

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

    slots = min(num, CPU_SLOTS if jax.default_backend() == "cpu" else ACCELERATOR_SLOTS)
    start = (carry, last, jnp.int32(given))  # of every line

    def unfinished(loop: tuple) -> Bool[Array, ""]:
        return jnp.any(loop[0] < num)

    def body(loop: tuple) -> tuple:
        line, (carry, last, place), tokens, ended, begun = loop
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, line + first)
        carry, token = jax.vmap(next_token)(keys, carry, last, place)
        tokens = tokens.at[line, place].set(token, mode="drop")  # of a line that there is
        at_boundary = token == 0
        ended = ended.at[line].max(at_boundary, mode="drop")
        done = at_boundary | (place + 1 == max_len)
        free = jnp.cumsum(done)
        line = jnp.where(done, begun + free - 1, line)

        def renewed(anew: Array, now: Array) -> Array:
            return jnp.where(jnp.expand_dims(done, range(1, now.ndim)), anew[None], now)

        state = jax.tree.map(renewed, start, (carry, token, place + 1))
        return line, state, tokens, ended, begun + free[-1]

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (slots, *leaf.shape))

    states = jax.tree.map(repeat, start)
    loop = (jnp.arange(slots), states, tokens, jnp.zeros(num, bool), jnp.int32(slots))
    _, _, tokens, ended, _ = jax.lax.while_loop(unfinished, body, loop)
    return tokens, ended


def sample_in_chunks(
    model: Model,
    params: Params,
    key: Key[Array, ""],
    *,
    num: int,
    max_len: int = MAX_LEN,
    **options: Any,
) -> Iterator[tuple[Int[np.ndarray, "part max_len"], Bool[np.ndarray, " part"]]]:
    """Draw the lines of ``sample`` in parts that fit in memory, on a CPU a part on each core.

    Takes the options of ``sample`` and yields what it returns, ``num`` lines in all.
    """
    workers = num_cores() if jax.default_backend() == "cpu" and num > CPU_SLOTS else 1
    part = min(-(-num // workers), max(1, MAX_CHUNK_SYMBOLS // max_len))
    options |= {"num": part, "max_len": max_len}
    draw = sample.lower(model, params, key, first=jnp.int32(0), **options).compile()
    given = {name: each for name, each in options.items() if name not in ("num", "max_len")}

    def take(first: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = min(part, num - first)
        tokens, ended = jax.device_get(draw(params, key, first=jnp.int32(first), **given))
        return tokens[:wanted], ended[:wanted]

    firsts, ahead = range(0, num, part), 2 * workers  # what is drawn, but not asked for, is held
    with ThreadPoolExecutor(workers) as pool:
        for i in range(0, len(firsts), ahead):
            yield from pool.map(take, firsts[i : i + ahead])
