"""Softmax cross-entropy of many symbols, loss and gradient tile by tile: never all logits at once.

The last layer and the loss are one function. A tile is some predictions by all V symbols, whose
logits stay in the cache of a processor; the gradient is computed with the loss: three products in
all. Where even few predictions by all symbols are too many for that, a tile is more of them by some
of the symbols, and logits are computed twice: four products, and less memory that moves.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from mm_jax.models.base import at_least_float32
from mm_jax.models.layers import Head

CPU_TILE = 2**22  # numbers of a tile: 16 MB, which fit in the cache of a processor
TILE = 2**27  # elsewhere: 512 MB
MIN_ROWS, MAX_ROWS = 256, 1024  # predictions of a tile: by all symbols at least, by some at most
NO_LOGIT = -1e30  # of what is no symbol, or does not count


class Tiling(NamedTuple):
    """How M predictions by V symbols are cut: into R x C tiles, the last ones filled up."""

    rows: int  # R
    columns: int  # C
    num_rows: int  # tiles of rows
    num_columns: int  # tiles of columns


class Rows(NamedTuple):
    """Some predictions."""

    features: Float[Array, "R D"]
    targets: Int[Array, " R"]
    weights: Float[Array, " R"]


class Columns(NamedTuple):
    """Some symbols: their part of the last layer, or of its gradient."""

    weight: Float[Array, "D C"]
    bias: Float[Array, " C"]


def is_large(num_predictions: int, vocab_size: int) -> bool:
    """Check whether there are so many logits that they are worth tiles."""
    return num_predictions * vocab_size > CPU_TILE


def weighted_cross_entropy(
    head: Head,
    targets: Int[Array, "..."],
    weights: Float[Array, "..."],
    label_smoothing: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the sums of weight * loss and of weight * nats over all predictions.

    Those of optax.softmax_cross_entropy_with_integer_labels(head.logits, targets), the loss with
    ``label_smoothing`` as in training_loss. No derivative goes through the second sum, and none
    through the weights and the smoothing. Memory grows with the predictions and with the symbols,
    not with their product.
    """
    features = head.features.reshape(-1, head.features.shape[-1])
    bias = jnp.zeros(head.weight.shape[1]) if head.bias is None else head.bias
    rows = Rows(features, targets.reshape(-1), weights.reshape(-1))
    return _sums(rows, Columns(head.weight, bias), label_smoothing)


@jax.custom_vjp
def _sums(
    rows: Rows, columns: Columns, smoothing: Float[Array, ""] | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    return _forward(rows, columns, smoothing)[0]


def _forward(rows: Rows, columns: Columns, smoothing: Float[Array, ""] | None) -> tuple[Any, Any]:
    """Return both sums, and the gradient of the first one."""
    found = jax.lax.platform_dependent(
        *(rows, columns, smoothing),
        cpu=partial(_by_tiles, most=CPU_TILE),
        default=partial(_by_tiles, most=TILE),
    )
    return found[:2], found[2:]


def _backward(gradient: tuple[Any, Any], cotangents: tuple[Any, Any]) -> tuple[Any, Any, None]:
    def scaled(leaf: Array) -> Array:
        return (cotangents[0] * leaf.astype(cotangents[0].dtype)).astype(leaf.dtype)

    features, columns = jax.tree.map(scaled, gradient)
    return Rows(features, None, None), columns, None  # type: ignore[arg-type]


_sums.defvjp(_forward, _backward)


def tiling(num_predictions: int, vocab_size: int, most: int) -> Tiling:
    """Return tiles of at most about ``most`` numbers, of sizes that differ little."""
    has_all_symbols = MIN_ROWS * vocab_size <= most or num_predictions <= MIN_ROWS
    most_rows = max(1, most // vocab_size) if has_all_symbols else MAX_ROWS
    num_rows = math.ceil(num_predictions / most_rows)
    rows = math.ceil(num_predictions / num_rows)
    num_columns = 1 if has_all_symbols else math.ceil(rows * vocab_size / most)
    return Tiling(rows, math.ceil(vocab_size / num_columns), num_rows, num_columns)


def _by_tiles(
    rows: Rows, columns: Columns, smoothing: Float[Array, ""] | None, *, most: int
) -> tuple[Array, Array, Array, Columns]:
    """Return the loss, the nats, and the gradients of the features and of the columns."""
    num, vocab_size = len(rows.features), len(columns.bias)
    tiles = tiling(num, vocab_size, most)
    cut_rows = jax.tree.map(partial(_cut, size=tiles.rows, number=tiles.num_rows), rows)
    cut_columns = _cut_columns(columns, tiles)

    def of_rows(carry: Any, some: Rows) -> tuple[Any, Array]:
        loss, nats, gradient = carry
        log_total, own = _read(some, cut_columns)
        each = each_smooth = log_total - own
        if smoothing is not None:
            mean = some.features @ jnp.mean(columns.weight, 1) + jnp.mean(columns.bias)
            each_smooth = each + smoothing * (own - mean)
        loss += _weighted_sum(some.weights, each_smooth)
        nats += _weighted_sum(some.weights, each)
        of_features, gradient = _gradients(
            some, cut_columns, gradient, log_total, smoothing, vocab_size
        )
        return (loss, nats, gradient), of_features

    zero = jnp.zeros(())
    begin = (
        zero,
        zero,
        jax.tree.map(lambda leaf: at_least_float32(jnp.zeros_like(leaf)), cut_columns),
    )
    (loss, nats, gradient), of_features = _each(of_rows, begin, cut_rows)
    of_columns = Columns(
        jnp.swapaxes(gradient.weight, 0, 1).reshape(len(columns.weight), -1)[:, :vocab_size],
        gradient.bias.reshape(-1)[:vocab_size],
    )
    of_features = jnp.swapaxes(of_features, 0, 1).reshape(-1, rows.features.shape[1])[:num]
    return loss, nats, of_features, of_columns


def _cut(array: Num[Array, "M ..."], size: int, number: int) -> Num[Array, "number size ..."]:
    """Return the rows of each tile; row i * number + j is in tile j, what fills up is 0.

    Devices that share the rows then share those of each tile.
    """
    filled = jnp.pad(array, ((0, size * number - len(array)), *((0, 0),) * (array.ndim - 1)))
    return jnp.swapaxes(filled.reshape(size, number, *array.shape[1:]), 0, 1)


def _cut_columns(columns: Columns, tiles: Tiling) -> Columns:
    """Return the columns of each tile, on a leading axis."""
    number, size = tiles.num_columns, tiles.columns
    missing = number * size - len(columns.bias)
    weight = jnp.pad(columns.weight, ((0, 0), (0, missing)))
    bias = jnp.pad(columns.bias, (0, missing), constant_values=NO_LOGIT)
    return Columns(jnp.swapaxes(weight.reshape(-1, number, size), 0, 1), bias.reshape(number, size))


def _each(function: Callable[..., Any], carry: Any, inputs: Any) -> tuple[Any, Any]:
    """Return what jax.lax.scan does; of a single element without a loop."""
    if len(jax.tree.leaves(inputs)[0]) > 1:
        return jax.lax.scan(function, carry, inputs)
    carry, output = function(carry, jax.tree.map(lambda leaf: leaf[0], inputs))
    return carry, jax.tree.map(lambda leaf: leaf[None], output)


def _logits(some: Rows, columns: Columns) -> Float[Array, "R C"]:
    return at_least_float32(some.features @ columns.weight + columns.bias[None])


def _read(some: Rows, cut: Columns) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
    """Return the logarithm of the sum of exp(logit) of each row, and the target's logit."""
    size = cut.bias.shape[1]

    def part(carry: Any, at: tuple[Array, Columns]) -> tuple[Any, None]:
        highest, total, own = carry
        first, columns = at
        logits = _logits(some, columns)
        higher = jnp.maximum(highest, jnp.max(logits, 1))
        total = total * jnp.exp(highest - higher)
        total += jnp.sum(jnp.exp(logits - higher[:, None]), 1)
        place = some.targets - first
        found = jnp.take_along_axis(logits, jnp.clip(place, 0, size - 1)[:, None], 1)[:, 0]
        return (higher, total, jnp.where((place >= 0) & (place < size), found, own)), None

    zeros = jnp.zeros(len(some.targets))
    firsts = size * jnp.arange(len(cut.bias))
    (highest, total, own), _ = _each(part, (zeros - jnp.inf, zeros, zeros), (firsts, cut))
    return highest + jnp.log(total), own


def _gradients(
    some: Rows,
    cut: Columns,
    before: Columns,
    log_total: Float[Array, " R"],
    smoothing: Float[Array, ""] | None,
    vocab_size: int,
) -> tuple[Float[Array, "R D"], Columns]:
    """Return the gradient of the features, and that of the columns with what it was ``before``."""
    size, weights = cut.bias.shape[1], some.weights[:, None]
    own_share, share = (1.0, 0.0) if smoothing is None else (1 - smoothing, smoothing / vocab_size)

    def part(of_features: Array, at: tuple[Array, Columns, Columns]) -> tuple[Array, Columns]:
        first, columns, sums = at
        is_own = first + jnp.arange(size)[None] == some.targets[:, None]
        change = jnp.exp(_logits(some, columns) - log_total[:, None]) - share
        change = jnp.where(weights > 0, weights * (change - jnp.where(is_own, own_share, 0.0)), 0.0)
        narrow = change.astype(some.features.dtype)
        of_features += narrow @ columns.weight.T
        weight = sums.weight + some.features.T @ narrow
        return of_features, Columns(weight, sums.bias + jnp.sum(change, 0))

    firsts = size * jnp.arange(len(cut.bias))
    return _each(part, jnp.zeros_like(some.features), (firsts, cut, before))


def _weighted_sum(weights: Float[Array, " R"], each: Float[Array, " R"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(weights > 0, weights * each, 0.0))
