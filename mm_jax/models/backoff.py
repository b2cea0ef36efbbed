"""A back-off model as an automaton: its states are the contexts that occur, and few numbers each.

p(s | state) = share(state, s) + gamma(state) p(s | parent of the state), where the parent is the
context without its oldest symbol, and the share of a symbol that never came there is 0. State 0 is
the empty context, and the only one with a number for each of the V symbols.

Where there are few states and symbols, all p are computed beforehand: S x V of them.

Parameters of S states and N n-grams: ``logits`` (1, V), log p of each symbol in state 0; ``next``
(1, V), the state that each symbol leads to from there; ``parents`` and ``gammas`` (S,); ``first``
(S + 1,), where the n-grams of each state begin in ``symbols``, ``shares`` and ``following`` (N,),
the state each leads to, sorted by symbol; ``longest`` (), the most n-grams that a state and all
those above it have. If everything is computed beforehand, ``logits`` and ``next`` (S, V) are all.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, Int64

from mm_jax.config.base import InputError
from mm_jax.models.base import ForBrowser, Model, Params, windowed
from mm_jax.models.sparse_rows import find_symbol, unusable_arrays

MAX_CELLS = 2**21  # of S x V, up to which all p are computed beforehand: 17 MB
TOLERANCE = 1e-5  # of a ratio of two p in float32
CHUNK = 64  # n-grams whose shares are added to a row at once
DTYPES = {"gammas": np.float32, "shares": np.float32, "logits": np.float32}  # others: int32
SPARSE = ("parents", "gammas", "first", "symbols", "shares", "following", "longest")


class States(NamedTuple):
    """The states of one order, and their n-grams, sorted by state and symbol."""

    gammas: Float64[np.ndarray, " states"]
    parents: Int64[np.ndarray, " states"]  # the place of each one's parent in the order below
    rows: Int64[np.ndarray, " ngrams"]  # the place of the state of each n-gram
    symbols: Int64[np.ndarray, " ngrams"]
    shares: Float64[np.ndarray, " ngrams"]
    following: Int64[np.ndarray, " ngrams"]  # the number, among all states, that each leads to


def dense_params(vocab_size: int, levels: list[States]) -> dict[str, np.ndarray]:
    """Return the parameters with all p computed beforehand."""
    probs, following = np.full((1, vocab_size), 1 / vocab_size), np.zeros((1, vocab_size), np.int32)
    logits, next_states = [], []
    for level in levels:
        probs, following = level.gammas[:, None] * probs[level.parents], following[level.parents]
        probs[level.rows, level.symbols] += level.shares
        following[level.rows, level.symbols] = level.following
        logits.append(np.log(probs).astype(np.float32))
        next_states.append(following)
    return {"logits": np.concatenate(logits), "next": np.concatenate(next_states)}


def sparse_params(vocab_size: int, levels: list[States]) -> dict[str, np.ndarray]:
    """Return the parameters of which only state 0 has a number for each symbol."""
    params = dense_params(vocab_size, levels[:1])
    parents, num_ngrams, totals = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], np.zeros(1)
    first_state = longest = 0  # the first of the order below, and the most n-grams
    for level in levels[1:]:
        num_ngrams.append(np.bincount(level.rows, minlength=len(level.parents)))
        totals = num_ngrams[-1] + totals[level.parents]
        parents.append(level.parents + first_state)
        first_state += len(parents[-2])
        longest = max(longest, int(totals.max(initial=0)))
    arrays = {
        "parents": np.concatenate(parents),
        "gammas": np.concatenate([np.ones(1), *(level.gammas for level in levels[1:])]),
        "first": np.append(0, np.cumsum(np.concatenate(num_ngrams))),
        "longest": np.asarray(longest),
    }
    arrays |= {
        name: np.concatenate([getattr(level, name) for level in levels[1:]])
        for name in ("symbols", "shares", "following")
    }
    return params | {
        name: array.astype(DTYPES.get(name, np.int32)) for name, array in arrays.items()
    }


def to_sparse(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the sparse form of parameters, also of those with all p computed beforehand.

    Those have lost which n-grams occurred: they are found again as the symbols that are likelier
    than the parent of a state gives them, by more than rounding.
    """
    if "parents" in params:
        return dict(params)
    logits, following = np.asarray(params["logits"], np.float64), np.asarray(params["next"])
    num_states, vocab_size = logits.shape
    found, first = np.unique(following, return_index=True)  # by whom each state is reached first
    before, symbol = np.divmod(first[found > 0], vocab_size)
    parents, level = np.zeros(num_states, np.int64), np.zeros(num_states, np.int64)
    for state, shorter, newest in zip(found[found > 0], before, symbol, strict=True):
        parents[state] = following[parents[shorter], newest] if shorter else 0
        level[state] = level[shorter] + 1
    rise = logits - logits[parents]
    gammas = np.exp(rise.min(1))
    gammas[0] = 1
    occurs = np.exp(rise) > gammas[:, None] * (1 + TOLERANCE)
    states, symbols = np.nonzero(occurs | (following != following[parents]))
    states, symbols = states[states > 0], symbols[states > 0]
    lower = np.exp(logits[parents[states], symbols])
    shares = np.exp(logits[states, symbols]) - gammas[states] * lower
    num_ngrams = np.bincount(states, minlength=num_states)
    totals = num_ngrams.copy()
    for state in np.argsort(level, kind="stable").tolist():
        totals[state] += totals[parents[state]] if state else 0
    arrays = {
        "logits": params["logits"][:1],
        "next": following[:1],
        "parents": parents,
        "gammas": gammas,
        "first": np.append(0, np.cumsum(num_ngrams)),
        "symbols": symbols,
        "shares": shares,
        "following": following[states, symbols],
        "longest": totals.max(),
    }
    return {name: np.asarray(array, DTYPES.get(name, np.int32)) for name, array in arrays.items()}


def backoff(vocab_size: int, order: int) -> Model:
    """Return the model of such parameters, whose states are contexts of up to order - 1 symbols.

    ``init`` returns the empty context alone, in which all symbols are alike. Raises InputError for
    an order below 2, or no symbols.
    """
    if vocab_size < 1 or order < 2:
        raise InputError(f"there are orders from 2, not {order}, of a symbol or more")
    context = order - 1

    def init(key: Array) -> Params:
        del key
        shape = (1, vocab_size)
        return {"logits": jnp.zeros(shape), "next": jnp.zeros(shape, jnp.int32)}

    def read(params: Params, windows: Int[Array, "... T"]) -> Int[Array, "..."]:
        """Return the state after the symbols of each window."""
        states = jnp.zeros(windows.shape[:-1], jnp.int32)
        for place in range(windows.shape[-1]):
            states = _next_states(params, states, windows[..., place])
        return states

    def predict(params: Params, windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        return _logits(params, read(params, windows), context)

    def target_log_probs(
        params: Params, windows: Int[Array, "... C"], targets: Int[Array, "..."]
    ) -> Float[Array, "..."]:
        states = read(params, windows)
        if "parents" not in params:
            return params["logits"][states, targets]
        each = jax.vmap(partial(_log_prob, params, context))
        return each(states.reshape(-1), targets.reshape(-1)).reshape(targets.shape)

    def start(params: Params) -> Int[Array, ""]:
        return read(params, jnp.zeros(context - 1, jnp.int32))

    def step(
        params: Params, state: Int[Array, ""], token: Int[Array, ""]
    ) -> tuple[Int[Array, ""], Float[Array, " V"]]:
        state = _next_states(params, state, token)
        return state, _logits(params, state, context)

    model = windowed(init, predict, context, target_log_probs=target_log_probs)
    return model._replace(
        start=start,
        step=step,
        restarts=False,
        unusable=_make_check(vocab_size),
        for_browser=_for_browser,
    )


def _for_browser(params: Params) -> ForBrowser:
    arrays = to_sparse(jax.tree.map(np.asarray, params))
    del arrays["longest"]
    return ForBrowser("backoff", arrays, {})


def _next_states(
    params: Params, states: Int[Array, "..."], symbols: Int[Array, "..."]
) -> Int[Array, "..."]:
    """Return the state that each symbol leads to: the longest known context at its end."""
    if "parents" not in params:
        return params["next"][states, symbols]

    def follow(state: Int[Array, ""], symbol: Int[Array, ""]) -> Int[Array, ""]:
        def is_open(carry: tuple[Array, Any, Any]) -> Bool[Array, ""]:
            state, _, occurs = carry
            return (state > 0) & ~occurs

        def look(carry: tuple[Array, Any, Any]) -> tuple[Array, Any, Any]:
            state, _, _ = carry
            place, occurs = _find(params, state, symbol)
            return jnp.where(occurs, state, params["parents"][state]), place, occurs

        found = jax.lax.while_loop(is_open, look, (state, jnp.int32(0), jnp.bool_(False)))
        _, place, occurs = found
        return jnp.where(occurs, params["following"][place], params["next"][0, symbol])

    return jax.vmap(follow)(states.reshape(-1), symbols.reshape(-1)).reshape(states.shape)


def _find(
    params: Params, state: Int[Array, ""], symbol: Int[Array, ""]
) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Return the place of the n-gram of a state and a symbol, and whether it occurs."""
    vocab_size = params["logits"].shape[-1]
    return find_symbol(params["first"], params["symbols"], state, symbol, vocab_size)


def _chain(
    params: Params, state: Int[Array, ""], context: int
) -> tuple[Int[Array, " C"], Float[Array, " C"], Float[Array, ""]]:
    """Return a state and those above it, the weight of each one's shares, and that of state 0."""

    def rise(
        carry: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        state, weight = carry
        return (params["parents"][state], weight * params["gammas"][state]), carry

    one = jnp.ones((), params["gammas"].dtype)
    (_, rest), (states, weights) = jax.lax.scan(rise, (state, one), length=context)
    return states, weights, rest


def _log_prob(
    params: Params, context: int, state: Int[Array, ""], symbol: Int[Array, ""]
) -> Float[Array, ""]:
    """Return log p of one symbol in a state."""
    states, weights, rest = _chain(params, state, context)
    places, occur = jax.vmap(partial(_find, params), in_axes=(0, None))(states, symbol)
    shares = jnp.where(occur, params["shares"][places], 0)
    return jnp.log(weights @ shares + rest * jnp.exp(params["logits"][0, symbol]))


def _logits(params: Params, states: Int[Array, "..."], context: int) -> Float[Array, "... V"]:
    """Return log p of all symbols in each state."""
    if "parents" not in params:
        return params["logits"][states]

    def row(state: Int[Array, ""]) -> Float[Array, " V"]:
        states, weights, rest = _chain(params, state, context)
        begins = params["first"][states]
        ends = jnp.cumsum(params["first"][states + 1] - begins)  # in a list of all their n-grams

        def add(chunk: Int[Array, ""], probs: Float[Array, " V"]) -> Float[Array, " V"]:
            number = chunk * CHUNK + jnp.arange(CHUNK)
            level = jnp.minimum(jnp.sum(number[:, None] >= ends[None], 1), context - 1)
            place = begins[level] + number - jnp.where(level > 0, ends[level - 1], 0)
            symbol = jnp.where(number < ends[-1], params["symbols"][place], probs.size)
            return probs.at[symbol].add(weights[level] * params["shares"][place], mode="drop")

        num_chunks = -(-params["longest"] // CHUNK)
        probs = rest * jnp.exp(params["logits"][0])
        return jnp.log(jax.lax.fori_loop(0, num_chunks, add, probs))

    return jax.vmap(row)(states.reshape(-1)).reshape(*states.shape, -1)


def _make_check(vocab_size: int) -> Callable[[Mapping[str, np.ndarray]], str | None]:
    """Return the function that says why arrays of a file are no parameters; None where they are."""

    def unusable(arrays: Mapping[str, np.ndarray]) -> str | None:
        is_sparse = "parents" in arrays
        expected = {"logits", "next", *(SPARSE if is_sparse else ())}
        for name in sorted(expected ^ arrays.keys()):
            return f"{name} is {'missing' if name in expected else 'unknown'}"
        num_states = len(arrays["parents" if is_sparse else "logits"])
        num_ngrams = len(arrays["symbols"]) if is_sparse else 0
        shape = (1 if is_sparse else num_states, vocab_size)
        shapes = {"logits": shape, "next": shape, "first": (num_states + 1,), "longest": ()}
        shapes |= dict.fromkeys(("parents", "gammas"), (num_states,))
        ends = {"next": num_states, "parents": num_states, "following": num_states}
        ends |= {"first": num_ngrams + 1, "symbols": vocab_size, "longest": num_ngrams + 1}
        dtypes = {name: DTYPES.get(name, np.int32) for name in arrays}
        wanted = {name: shapes.get(name, (num_ngrams,)) for name in arrays}
        if problem := unusable_arrays(arrays, dtypes, wanted, ends):
            return problem
        for name, array in arrays.items():
            if not array.size and not is_sparse:
                return f"{name} is empty"
        return None

    return unusable
