"""The layers that models are built from: each a pure function of its arrays."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

MAX_TRANSPOSED_SIZE = 2**18  # of a weight that matmul transposes; with a million that costs 5%
TANH_GAIN = 5 / 3  # torch.nn.init.calculate_gain("tanh"): makes up for what tanh shrinks


def normals(key: Key[Array, ""], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return an array of standard normals for each name, cut in order from a single draw.

    Every use of a key costs 0.2 s of compilation on a CPU, so one draw serves them all.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    flat = jnp.split(jax.random.normal(key, (sum(sizes),)), ends)
    pairs = zip(shapes.items(), flat, strict=True)
    return {name: numbers.reshape(shape) for (name, shape), numbers in pairs}


def embed(table: Float[Array, "V D"], tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Return row ``token`` of the table for each token: the product of a one-hot row and it."""
    return table[tokens]


def dropout(key: Key[Array, ""], x: Float[Array, "..."], rate: float) -> Float[Array, "..."]:
    """Return ``x`` with each number set to 0 with probability ``rate``, the others scaled up.

    The expected value is that of ``x``. Eight random bits decide for each number, at a third of
    the cost of jax.random.bernoulli, so ``rate`` is rounded to 1/256. Source: Srivastava et al.
    (2014).
    """
    dropped = round(256 * rate)
    words = jax.random.bits(key, (-(-x.size // 4),), jnp.uint32)
    random_bytes = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size]
    return jnp.where(random_bytes.reshape(x.shape) >= dropped, x * (256 / (256 - dropped)), 0.0)


@jax.custom_jvp
def matmul(x: Float[Array, "N D"], weight: Float[Array, "D H"]) -> Float[Array, "N H"]:
    """Return x @ weight; derivatives of any order are those of x @ weight.

    On a CPU a small product is fastest where both factors are read row by row. To get such products
    in the backward pass too, the smaller factor or the result is transposed first: a step of the
    lecture's MLP takes a seventh less time.
    """
    return x @ weight


def _along_x(
    x_dot: Float[Array, "N D"], _y: Array, _x: Array, weight: Float[Array, "D H"]
) -> Float[Array, "N H"]:
    """Return the derivative along ``x_dot``; for a wide weight as (weight @ g.T).T."""
    if _is_tall(weight) or not _is_small(weight):
        return x_dot @ weight
    return jax.lax.dot_general(_written_out(x_dot.T), weight, (((0,), (0,)), ((), ())))


def _along_weight(
    weight_dot: Float[Array, "D H"], _y: Array, x: Float[Array, "N D"], weight: Array
) -> Float[Array, "N H"]:
    """Return the derivative along ``weight_dot``: x.T @ g, for a tall weight as (g.T @ x).T."""
    if not _is_small(weight):
        return x @ weight_dot
    if _is_tall(weight):
        rows = jax.lax.dot_general(_written_out(weight_dot.T), x, (((1,), (1,)), ((), ())))
        return _written_out(rows).T
    return jax.lax.dot_general(_written_out(x.T), weight_dot, (((0,), (0,)), ((), ())))


matmul.defjvps(_along_x, _along_weight)


def _is_small(weight: Float[Array, "D H"]) -> bool:
    return weight.size <= MAX_TRANSPOSED_SIZE and jax.default_backend() == "cpu"


def _is_tall(weight: Float[Array, "D H"]) -> bool:
    return weight.shape[0] > weight.shape[1]


def _written_out(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the array as one in memory; XLA would else fold its transpose into the product."""
    return jax.lax.optimization_barrier(x)


def dense(
    x: Float[Array, "... D"],
    weight: Float[Array, "D H"],
    bias: Float[Array, " H"] | None = None,
) -> Float[Array, "... H"]:
    """Return x @ weight + bias as a single matmul, whatever the leading axes are."""
    flat = matmul(x.reshape(-1, x.shape[-1]), weight)
    if bias is not None:
        flat = flat + bias[None, :]
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


class Head(NamedTuple):
    """The last layer of a model, before its product: what training needs in place of all logits."""

    features: Float[Array, "... D"]
    weight: Float[Array, "D V"]
    bias: Float[Array, " V"] | None = None

    @property
    def logits(self) -> Float[Array, "... V"]:
        """The product."""
        with jax.named_scope("logits"):
            return dense(*self)


def layer_norm(
    x: Float[Array, "... D"],
    scale: Float[Array, " D"],
    shift: Float[Array, " D"] | None = None,
    epsilon: float = 1e-5,
) -> Float[Array, "... D"]:
    """Return x with mean 0 and variance 1 along its last axis, then scaled and shifted.

    Source: Ba, Kiros and Hinton (2016).
    """
    centered = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(centered**2, -1, keepdims=True)
    normed = centered * jax.lax.rsqrt(variance + epsilon) * along_last(scale, x)
    return normed if shift is None else normed + along_last(shift, x)


def rms_norm(x: Float[Array, "... D"], epsilon: float = 1e-5) -> Float[Array, "... D"]:
    """Return x with a mean square of 1 along its last axis (Zhang and Sennrich 2019)."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + epsilon)


def along_last(vector: Float[Array, " D"], x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Return a vector with as many axes as ``x``, to be added to it or multiplied with it."""
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))


def item_places(tokens: Int[Array, "... T"]) -> tuple[Int[Array, "... T"], Bool[Array, "... T T"]]:
    """Return the position of each token in its item, and which tokens each one may read.

    An item begins at a boundary (0), or at the beginning of the row; a token may read itself and
    those before it in its item.
    """
    places = jnp.arange(tokens.shape[-1]).reshape((1,) * (tokens.ndim - 1) + (-1,))
    begins = jax.lax.cummax(jnp.where(tokens == 0, places, 0), axis=tokens.ndim - 1)
    read, reader = places[..., None, :], places[..., :, None]
    return places - begins, (read <= reader) & (read >= begins[..., :, None])
