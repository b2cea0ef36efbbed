"""Any Model with the shares of repeated items that Good and Turing expect of the next item.

p(x) of an item is multiplied by a factor: one for items that were not in train, others for those
that were there once, twice and so on (training/item_repeats.py finds them). With W(prefix) the
mean factor of all items that begin so, p(s | prefix) is proportional to p(s | prefix) of the model
times W(prefix + s). W differs from the factor of new items only on prefixes of train, which stand
in a tree (data/prefix_tree.py). Good (1953), "The population frequencies of species and the
estimation of population parameters".
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mm_jax.models.base import Model, Params, built_once, vocab_size_of
from mm_jax.models.mixture import Members
from mm_jax.models.sparse_rows import find_symbol, unusable_arrays

CHUNK = 64  # edges whose factors are added to a row of logits at once
TREE = {"first": np.int32, "symbols": np.int32, "log_means": np.float32, "longest": np.int32}


@built_once
def good_turing(model: Model) -> Model:
    """Return a model whose items are as often those of train as Good and Turing expect.

    Its parameters are ``model``, those of the model itself, and ``tree`` of N edges and N + 2
    nodes, the last of which is every prefix that train has not: ``first`` (N + 3,), where the
    edges of each node begin in ``symbols`` (N,); ``log_means`` (N + 2,), the logarithm of W of each
    node; ``longest`` (), the most edges of a node. ``fit_good_turing`` finds them; those of
    ``init`` know no item. It reads whole rows, whatever the model reads.
    """
    members = Members((model,), whole_rows=True)

    def init(key: Key[Array, ""]) -> Params:
        tree = tree_params(np.zeros(1, np.int64), np.array([0, 1, 1]), np.zeros(3))
        return {"model": model.init(key), "tree": tree}

    def apply(params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "... T V"]:
        log_probs = members.log_probs(as_member(params["model"]), tokens)[0]
        nodes = read(params, tokens)
        adjust = jax.vmap(partial(_adjusted, params["tree"]))
        flat = adjust(nodes.reshape(-1), log_probs.reshape(-1, log_probs.shape[-1]))
        return flat.reshape(log_probs.shape)

    def read(params: Params, tokens: Int[Array, "... T"]) -> Int[Array, "... T"]:
        """Return the node after each token."""
        follow = partial(_next_nodes, params["tree"], vocab_size_of(model, params["model"]))

        def advance(nodes: Int[Array, "..."], symbols: Int[Array, "..."]) -> Any:
            nodes = follow(nodes, symbols)
            return nodes, nodes

        start = jnp.zeros(tokens.shape[:-1], jnp.int32)
        return jnp.moveaxis(jax.lax.scan(advance, start, jnp.moveaxis(tokens, -1, 0))[1], 0, -1)

    def start(params: Params) -> tuple[Any, Int[Array, ""]]:
        return members.start(as_member(params["model"])), jnp.int32(0)

    def step(
        params: Params, carry: tuple[Any, Int[Array, ""]], token: Int[Array, ""]
    ) -> tuple[tuple[Any, Int[Array, ""]], Float[Array, " V"]]:
        inner, log_probs = members.step(as_member(params["model"]), carry[0], token)
        tree = params["tree"]
        node = _next_nodes(tree, log_probs.shape[-1], carry[1], token)
        return (inner, node), _adjusted(tree, node, log_probs[0])

    return Model(init, apply, start, step, None, members.max_len, members.restarts)


def as_member(params: Params) -> Params:
    """Return parameters of a model as those of the only member of a mixture."""
    return {"members": {"0": params}}


def tree_params(
    symbols: np.ndarray, first: np.ndarray, log_means: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the parameters of a tree of N edges; ``first`` (N + 2,) is without the last node."""
    num_edges = len(symbols)
    arrays = {
        "first": np.append(first, num_edges),
        "symbols": symbols,
        "log_means": log_means,
        "longest": np.asarray(np.diff(first).max(initial=0)),
    }
    return {name: array.astype(TREE[name]) for name, array in arrays.items()}


def unusable_tree(arrays: Mapping[str, np.ndarray], vocab_size: int) -> str | None:
    """Return why arrays of a file are no tree; None where they are."""
    for name in sorted(TREE.keys() ^ arrays.keys()):
        return f"{name} is {'missing' if name in TREE else 'unknown'}"
    num_edges = len(np.atleast_1d(arrays["symbols"]))
    shapes: dict[str, tuple[int, ...]] = {"longest": ()}
    shapes |= {"first": (num_edges + 3,), "symbols": (num_edges,), "log_means": (num_edges + 2,)}
    ends = {"first": num_edges + 1, "symbols": vocab_size, "longest": num_edges + 1}
    if problem := unusable_arrays(arrays, TREE, shapes, ends):
        return problem
    return None if num_edges else "symbols is empty"


def _next_nodes(
    tree: Params, vocab_size: int, nodes: Int[Array, "..."], symbols: Int[Array, "..."]
) -> Int[Array, "..."]:
    """Return the node that each symbol leads to: from a boundary on, the empty prefix."""
    place, occurs = find_symbol(tree["first"], tree["symbols"], nodes, symbols, vocab_size)
    unknown = jnp.int32(len(tree["log_means"]) - 1)
    return jnp.where(symbols == 0, 0, jnp.where(occurs, place + 1, unknown))


def _adjusted(
    tree: Params, node: Int[Array, ""], log_probs: Float[Array, " V"]
) -> Float[Array, " V"]:
    """Return log p of all symbols after a node plus log W of the nodes that they lead to."""
    first, end = tree["first"][node], tree["first"][node + 1]
    chunk = min(CHUNK, log_probs.size)

    def put(number: Int[Array, ""], log_means: Float[Array, " V"]) -> Float[Array, " V"]:
        place = first + number * chunk + jnp.arange(chunk)
        symbol = jnp.where(place < end, tree["symbols"][place], log_probs.size)
        return log_means.at[symbol].set(tree["log_means"][place + 1], mode="drop")

    unknown = jnp.full(log_probs.shape, tree["log_means"][-1])
    log_means = jax.lax.fori_loop(0, -(-tree["longest"] // chunk), put, unknown)
    return log_probs + log_means
