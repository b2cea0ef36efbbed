"""The Model contract: a bundle of pure functions, all that the package needs of a model.

A model with a ``context`` of C reads windows of C tokens: its ``apply`` is a valid convolution
along time, T tokens give T - C + 1 predictions. One without reads whole rows: T predictions, each
from all tokens up to it. ``start`` and ``step`` compute the same, one token at a time. An author
writes whichever half is natural, and ``windowed`` or ``scanned`` derives the other.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError

Params: TypeAlias = dict[str, Any]  # nested dicts of arrays


def at_least_float32(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return logits in a dtype that a softmax needs: bfloat16 and float16 become float32."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


class Model(NamedTuple):
    """A language model over V symbols. It holds functions, so it is static: close over it."""

    init: Callable[..., Any]  # (key) -> params
    apply: Callable[..., Any]  # (params, tokens (..., T)) -> logits (..., T - lead + 1, V)
    start: Callable[..., Any]  # (params) -> carry, after lead - 1 boundaries
    step: Callable[..., Any]  # (params, carry, token ()) -> (carry, logits (V,))
    context: int | None  # tokens that a prediction reads; None: all since the row began
    max_len: int | None  # longest row that apply and step are right for; None: any
    # (params, tokens, key) -> logits as from apply, with dropout; None: training uses apply
    apply_train: Callable[..., Any] | None = None
    # (params, tokens) -> {name: activations (..., T - lead + 1, H) of a hidden layer}, -1 to 1
    hidden: Callable[..., Any] | None = None
    # (params, tokens, targets (..., T - lead + 1)) -> log p(target), without all logits at once
    target_log_probs: Callable[..., Any] | None = None
    # (arrays of a file by name) -> why they are no parameters; None: they have init's shapes
    unusable: Callable[..., Any] | None = None

    @property
    def lead(self) -> int:
        """How many boundaries a row begins with, before its first symbol."""
        return 1 if self.context is None else self.context


def windowed(
    init: Callable[..., Any],
    predict: Callable[..., Any],
    context: int,
    predict_train: Callable[..., Any] | None = None,
    hidden: Callable[..., Any] | None = None,
    target_log_probs: Callable[..., Any] | None = None,
) -> Model:
    """Build a Model from ``predict(params, windows (N, C)) -> logits (N, V)``.

    ``apply`` slides the window along time; the carry of ``step`` is the last C tokens. Where
    ``predict`` takes a single window (C,) as well, ``step`` is faster. Optional:
    ``predict_train(params, windows, key)``, which training uses in place of ``predict``, and
    ``hidden(params, windows) -> {name: (..., H)}``, the activations of the hidden layers, and
    ``target_log_probs(params, windows, targets (...)) -> (...)``, for which not all V logits are
    needed.
    """

    def slide(tokens: Int[Array, "... T"]) -> Int[Array, "... P C"]:
        places = jnp.arange(tokens.shape[-1] - context + 1)[:, None] + jnp.arange(context)[None]
        return tokens[..., places]

    def of_windows(read: Callable[..., Any], windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        """Return the logits of windows, which ``read`` reads in a row."""
        flat = windows.reshape(-1, context)
        logits = read(flat)
        if logits.ndim != 2 or len(logits) != len(flat):
            raise InputError(
                f"predict gave logits of shape {logits.shape} for windows of shape {flat.shape}; "
                f"it should be ({len(flat)}, V)"
            )
        return logits.reshape(*windows.shape[:-1], -1)

    def apply(params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "... P V"]:
        return of_windows(partial(predict, params), slide(tokens))

    def apply_train(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""]
    ) -> Float[Array, "... P V"]:
        assert predict_train is not None
        train = predict_train
        return of_windows(lambda windows: train(params, windows, key), slide(tokens))

    def start(params: Params) -> Int[Array, " C"]:
        del params
        return jnp.zeros(context, jnp.int32)

    def step(
        params: Params, carry: Int[Array, " C"], token: Int[Array, ""]
    ) -> tuple[Int[Array, " C"], Float[Array, " V"]]:
        carry = jnp.append(carry[1:], token.astype(carry.dtype))
        try:
            single = jax.eval_shape(predict, params, carry).ndim == 1
        except (TypeError, ValueError, IndexError):  # it reads windows in a row only
            single = False
        if single:
            return carry, predict(params, carry)
        return carry, of_windows(partial(predict, params), carry[None])[0]

    def slide_hidden(params: Params, tokens: Int[Array, "... T"]) -> dict[str, Array]:
        assert hidden is not None
        return hidden(params, slide(tokens))

    def slide_targets(
        params: Params, tokens: Int[Array, "... T"], targets: Int[Array, "... P"]
    ) -> Float[Array, "... P"]:
        assert target_log_probs is not None
        return target_log_probs(params, slide(tokens), targets)

    return Model(
        init,
        apply,
        start,
        step,
        context,
        max_len=None,
        apply_train=apply_train if predict_train else None,
        hidden=slide_hidden if hidden else None,
        target_log_probs=slide_targets if target_log_probs else None,
    )


def scanned(
    init: Callable[..., Any],
    start: Callable[..., Any],
    step: Callable[..., Any],
    max_len: int | None = None,
) -> Model:
    """Build a Model of whole rows from its recurrence; ``apply`` scans ``step`` along time."""

    def apply(params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "... T V"]:
        def read_row(row: Int[Array, " T"]) -> Float[Array, "T V"]:
            begin = start(params)
            check_carry(begin, jax.eval_shape(step, params, begin, row[0])[0])
            return jax.lax.scan(lambda c, t: step(params, c, t), begin, row)[1]

        logits = jax.vmap(read_row)(tokens.reshape(-1, tokens.shape[-1]))
        return logits.reshape(*tokens.shape, -1)

    return Model(init, apply, start, step, None, max_len)


def vocab_size_of(model: Model, params: Params) -> int:
    """Return V, the number of logits of a model with such parameters, or their shapes."""
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return _vocab_size_of(model, structure, shapes)


@lru_cache(maxsize=1024)
def _vocab_size_of(model: Model, structure: Any, shapes: tuple[Any, ...]) -> int:
    leaves = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    tokens = jax.ShapeDtypeStruct((model.lead,), jnp.int32)
    params = jax.tree.unflatten(structure, leaves)
    return jax.eval_shape(model.apply, params, tokens).shape[-1]


def check_ids(name: str, ids: Any, vocab_size: int) -> None:
    """Raise InputError for ids outside of the vocabulary, where a program is not being traced.

    JAX reads another row in place of one that does not exist, and says nothing.
    """
    try:
        lowest, highest = (int(each) for each in _extremes(jnp.asarray(ids)))
    except jax.errors.ConcretizationTypeError:  # within a program no number is known
        return
    if lowest < 0 or highest >= vocab_size:
        wrong = lowest if lowest < 0 else highest
        raise InputError(
            f"{name} have the id {wrong}, and the model has logits of 0 to {vocab_size - 1}"
        )


@jax.jit
def _extremes(ids: Int[Array, "..."]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    return jnp.min(ids, initial=0), jnp.max(ids, initial=0)


def check_carry(before: Any, after: Any) -> None:
    """Raise InputError where ``step`` gives back another carry than it took."""

    def describe(carry: Any) -> str:
        leaves, structure = jax.tree.flatten(carry)
        kinds = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in map(jax.typeof, leaves))
        return str(jax.tree.unflatten(structure, kinds)).replace("'", "")

    took, gave = describe(before), describe(after)
    if took != gave:
        raise InputError(
            f"step takes a carry of {took} and gives {gave}; it should give back what it takes, "
            "and start what step gives"
        )


def num_params(params: Params) -> int:
    """Return the number of scalar parameters in ``params``."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
