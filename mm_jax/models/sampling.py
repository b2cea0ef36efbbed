"""Sample new lines from any Model, one symbol at a time, many lines at once on the device.

The i-th line comes from fold_in(key, i) alone, so it is the same in a batch of one or of thousands.
Lines end at different places: where one ends, the next begins at once, so no slot stands idle.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.config.models import MAX_LEN
from mm_jax.models.base import Model, Params, at_least_float32, check_ids, vocab_size_of
from mm_jax.runtime.hardware import num_cores
from mm_jax.runtime.keys import as_key

CPU_SLOTS = 2048  # lines drawn side by side; on a CPU twice as many are no faster
ACCELERATOR_SLOTS = 2**16  # on a GPU or TPU, where a step of few lines takes as long as of many
CPU_CARRY_BYTES = 2**22  # of the carries of all slots, which stay in a CPU's cache then
ACCELERATOR_CARRY_BYTES = 2**32
MIN_SLOTS = 64  # fewer at once are slow, however large their carries are
MAX_LOGITS = 2**24  # of all slots together: 64 MB, so fewer lines of many symbols side by side
MAX_CHUNK_SYMBOLS = 2**23  # in one chunk of a large number of lines: 32 MiB


def filter_logits(
    logits: Float[Array, " V"], top_k: Int[Array, ""], top_p: Float[Array, ""]
) -> Float[Array, " V"]:
    """Set to -inf all but the ``top_k`` likeliest symbols, then all outside the nucleus.

    The nucleus is the smallest set of likeliest symbols whose probability reaches ``top_p``
    (Holtzman et al. 2020), among those that ``top_k`` left; it holds at least one symbol. Of equal
    logits the lower id comes first.
    """
    order = jnp.argsort(-logits)
    ranked = jnp.where(jnp.arange(logits.size) < jnp.maximum(top_k, 1), logits[order], -jnp.inf)
    probs = jax.nn.softmax(ranked)
    before = jnp.cumsum(probs) - probs
    within = (before < top_p) | (top_p >= 1)  # rounding can raise the sum before up to 1
    kept = jnp.where(within, ranked, -jnp.inf).at[0].set(ranked[0])
    return jnp.zeros_like(logits).at[order].set(kept)


def likeliest(scores: Float[Array, " V"]) -> Int[Array, ""]:
    """Return the first id of the highest score, as argmax does, but faster on a CPU.

    Where the scores are logits plus Gumbel noise, that is a draw from their softmax.
    """
    scores = jax.lax.optimization_barrier(scores)  # else a CPU computes the noise twice
    ids = jnp.arange(scores.size, dtype=jnp.int32)
    highest = (scores == jnp.max(scores)) | jnp.isnan(scores)
    return jnp.min(jnp.where(highest, ids, jnp.int32(scores.size - 1)))


def sample(
    model: Model,
    params: Params,
    key: Key[Array, ""],
    *,
    num: int,
    max_len: int = MAX_LEN,
    endless: bool = False,
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | Int[Array, ""] | None = None,
    top_p: float | Float[Array, ""] | None = None,
    prefix: Int[Array, " prefix"] | None = None,
    first: int | Int[Array, ""] = 0,
) -> tuple[Int[Array, "num max_len"], Bool[Array, " num"]]:
    """Draw ``num`` lines: ids (num, max_len), 0 after a line's end, and whether each line ended.

    A line begins with the ids of ``prefix`` and ends at the boundary; one that reaches ``max_len``
    symbols is cut there, and its second value is False. ``endless`` lines, as of a document, do not
    draw the boundary and go on to ``max_len``. ``temperature`` divides the logits; 0 is
    greedy: always the likeliest symbol. ``top_k`` and ``top_p``: see filter_logits. Lines are
    numbered from ``first`` on, so that a large number can be drawn in chunks.

    Raises InputError for a number out of its range, a prefix that is longer or has ids that the
    model does not know, or a ``max_len`` whose rows the model is not right for.
    """
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "prefix": prefix}
    _check(model, params, num=num, max_len=max_len, **options)
    sizes = {"num": num, "max_len": max_len, "endless": endless}
    return _sample(model, params, as_key(key, "key"), **sizes, **options, first=first)


def _check(
    model: Model,
    params: Params,
    *,
    num: int,
    max_len: int,
    prefix: Any = None,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = None,
) -> None:
    """Raise InputError for what no line can be drawn with."""
    for name, number in {"num": num, "max_len": max_len, "top_k": top_k}.items():
        if isinstance(number, int) and number < 1:
            raise InputError(f"{name} is {number}; it should be at least 1")
    if isinstance(temperature, int | float) and not temperature >= 0:
        raise InputError(f"temperature is {temperature}; it should be at least 0")
    if isinstance(top_p, int | float) and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}; it should be above 0 and at most 1")
    if model.max_len is not None and max_len > model.max_len:
        raise InputError(
            f"max_len is {max_len}, and the model makes at most {model.max_len} symbols"
        )
    if prefix is not None and len(prefix) > max_len:
        raise InputError(f"the prefix has {len(prefix)} symbols, more than max_len, {max_len}")
    if prefix is not None:
        check_ids("the ids of prefix", prefix, vocab_size_of(model, params))


@partial(jax.jit, static_argnames=("model", "num", "max_len", "endless"))
def _sample(
    model: Model,
    params: Params,
    key: Key[Array, ""],
    *,
    num: int,
    max_len: int,
    endless: bool,
    first: int | Int[Array, ""],
    prefix: Int[Array, " prefix"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | Int[Array, ""] | None = None,
    top_p: float | Float[Array, ""] | None = None,
) -> tuple[Int[Array, "num max_len"], Bool[Array, " num"]]:
    prefix_len = 0 if prefix is None else len(prefix)
    if prefix_len == max_len:
        row = jnp.asarray(prefix, jnp.int32)[None, :]
        return jnp.broadcast_to(row, (num, max_len)), jnp.zeros(num, bool)
    draw = _make_draw(temperature, top_k, top_p, endless=endless)
    start, tokens = _read_prefix(model, params, prefix, jnp.zeros((num, max_len), jnp.int32))

    def next_token(
        key_line: Key[Array, ""], carry: Any, token: Int[Array, ""], place: Int[Array, ""]
    ) -> tuple[Any, Int[Array, ""]]:
        carry, logits = model.step(params, carry, token)
        return carry, draw(jax.random.fold_in(key_line, place), logits)

    def advance(slots: _Slots) -> _Slots:
        """Draw a symbol in each slot; where that ends its line, begin the next line there."""
        line, (carry, last, place), tokens, ended, num_begun = slots
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, line + first)
        carry, token = jax.vmap(next_token)(keys, carry, last, place)
        tokens = tokens.at[line, place].set(token, mode="drop")  # drops lines past the last one
        at_boundary = token == 0
        ended = ended.at[line].max(at_boundary, mode="drop")
        done = at_boundary | (place + 1 == max_len)
        num_done = jnp.cumsum(done, dtype=jnp.int32)
        line = jnp.where(done, num_begun + num_done - 1, line)

        def restart(new: Array, current: Array) -> Array:
            return jnp.where(jnp.expand_dims(done, range(1, current.ndim)), new[None], current)

        state = (carry, token, place + 1)
        if prefix is None and model.restarts:  # it begins anew at the boundary that comes next
            state = (carry, *jax.tree.map(restart, start[1:], state[1:]))
        else:
            state = jax.tree.map(restart, start, state)
        return _Slots(line, state, tokens, ended, num_begun + num_done[-1])

    slots = _first_lines(start, tokens, vocab_size_of(model, params))
    slots = jax.lax.while_loop(lambda slots: jnp.any(slots.line < num), advance, slots)
    return slots.tokens, slots.ended


class _Slots(NamedTuple):
    """What sampling carries from symbol to symbol; S slots each write one line at a time."""

    line: Int[Array, " S"]  # the number of the line that each slot writes
    state: tuple[Any, Int[Array, " S"], Int[Array, " S"]]  # model carry, last token, next place
    tokens: Int[Array, "num max_len"]
    ended: Bool[Array, " num"]
    num_begun: Int[Array, ""]  # lines begun so far


def _make_draw(
    temperature: float | Float[Array, ""],
    top_k: int | Int[Array, ""] | None,
    top_p: float | Float[Array, ""] | None,
    *,
    endless: bool,
) -> Callable[[Key[Array, ""], Float[Array, " V"]], Int[Array, ""]]:
    """Return the function (key, logits) -> id of the next symbol."""
    greedy = jnp.asarray(temperature) == 0

    def draw(key: Key[Array, ""], logits: Float[Array, " V"]) -> Int[Array, ""]:
        logits = at_least_float32(logits)
        if endless:
            logits = logits.at[0].set(-jnp.inf)
        scaled = logits / jnp.where(greedy, 1, temperature)
        if top_k is not None or top_p is not None:
            k = logits.size if top_k is None else top_k
            p = 1.0 if top_p is None else top_p
            scaled = filter_logits(scaled, jnp.asarray(k), jnp.asarray(p))
        noise = jax.random.gumbel(key, logits.shape, logits.dtype)
        return likeliest(jnp.where(greedy, logits, scaled + noise))

    return draw


def _read_prefix(
    model: Model,
    params: Params,
    prefix: Int[Array, " prefix"] | None,
    tokens: Int[Array, "num max_len"],
) -> tuple[tuple[Any, Int[Array, ""], Int[Array, ""]], Int[Array, "num max_len"]]:
    """Return the state that every line starts from, and the tokens with the prefix in each row."""
    carry, last = model.start(params), jnp.int32(0)
    prefix_len = 0 if prefix is None else len(prefix)
    for place in range(prefix_len):
        carry, _ = model.step(params, carry, last)
        last = jnp.asarray(prefix)[place].astype(jnp.int32)
        tokens = tokens.at[:, place].set(last)
    return (carry, last, jnp.int32(prefix_len)), tokens


def _first_lines(
    start: tuple[Any, Int[Array, ""], Int[Array, ""]],
    tokens: Int[Array, "num max_len"],
    vocab_size: int,
) -> _Slots:
    """Return the slots at the first symbol of their first lines."""
    is_cpu, num = jax.default_backend() == "cpu", len(tokens)
    carry_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(start))
    fitting = (CPU_CARRY_BYTES if is_cpu else ACCELERATOR_CARRY_BYTES) // max(1, carry_bytes)
    most = min(CPU_SLOTS if is_cpu else ACCELERATOR_SLOTS, max(MIN_SLOTS, fitting))
    count = min(num, most, max(1, MAX_LOGITS // vocab_size))

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (count, *leaf.shape))

    states = jax.tree.map(repeat, start)
    return _Slots(
        jnp.arange(count, dtype=jnp.int32), states, tokens, jnp.zeros(num, bool), jnp.int32(count)
    )


def sample_in_chunks(
    model: Model,
    params: Params,
    key: Key[Array, ""],
    *,
    num: int,
    max_len: int = MAX_LEN,
    endless: bool = False,
    **options: Any,
) -> Iterator[tuple[Int[np.ndarray, "chunk max_len"], Bool[np.ndarray, " chunk"]]]:
    """Draw the lines of ``sample`` in chunks that fit in memory, on a CPU one chunk per core.

    Takes the options of ``sample`` and yields what it returns, ``num`` lines in all.
    """
    _check(model, params, num=num, max_len=max_len, **options)
    workers = num_cores() if jax.default_backend() == "cpu" and num > CPU_SLOTS else 1
    chunk = min(-(-num // workers), max(1, MAX_CHUNK_SYMBOLS // max_len))
    sizes = {"num": chunk, "max_len": max_len, "endless": endless}
    draw = _sample.lower(model, params, key, first=jnp.int32(0), **options, **sizes).compile()

    def draw_chunk(first: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = min(chunk, num - first)
        tokens, ended = jax.device_get(draw(params, key, first=jnp.int32(first), **options))
        return tokens[:wanted], ended[:wanted]

    firsts, batch = range(0, num, chunk), 2 * workers  # bounds the chunks waiting to be taken
    with ThreadPoolExecutor(workers) as pool:
        for i in range(0, len(firsts), batch):
            yield from pool.map(draw_chunk, firsts[i : i + batch])
