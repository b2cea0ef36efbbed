"""The Model contract: a bundle of pure functions, all that the package needs of a model.

A model with a ``context`` of C reads windows of C tokens: its ``apply`` is a valid convolution
along time, T tokens give T - C + 1 predictions. One without reads whole rows: T predictions, each
from all tokens since the last boundary (0). ``start`` and ``step`` compute the same, one token at a
time. An author writes whichever half is natural, and ``windowed`` or ``scanned`` derives the other.
"""

import inspect
from collections.abc import Callable
from functools import cache, lru_cache, partial, wraps
from typing import Any, NamedTuple, ParamSpec, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError

Params: TypeAlias = dict[str, Any]  # nested dicts of arrays
P = ParamSpec("P")


def at_least_float32(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return logits in a dtype that a softmax needs: bfloat16 and float16 become float32."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


class ForBrowser(NamedTuple):
    """A model as a page in a browser runs it: by web/models/KIND.js."""

    kind: str
    arrays: dict[str, Any]  # by name; of whole numbers too, as float32
    numbers: dict[str, float | int | str | bool]  # sizes and choices that the script needs
    members: int | None = None  # of an ensemble, on axis 0 of each array; None: no such axis
    embedding: str | None = None  # the array that is the embedding, as Model.embedding returns it


class Model(NamedTuple):
    """A language model over V symbols. It holds functions, so it is static: close over it."""

    init: Callable[..., Any]  # (key) -> params
    apply: Callable[..., Any]  # (params, tokens (..., T)) -> logits (..., T - lead + 1, V)
    start: Callable[..., Any]  # (params) -> carry, after lead - 1 boundaries
    step: Callable[..., Any]  # (params, carry, token ()) -> (carry, logits (V,))
    context: int | None  # tokens that a prediction reads; None: all since the last boundary
    max_len: int | None  # most tokens of an item, its boundary included; None: any number
    # Whether a boundary makes step, and apply where there is no context, begin anew: items can then
    # share a row, and a carry need not be replaced between two items.
    restarts: bool = False
    # (params, tokens, key) -> logits as from apply, with dropout; None: training uses apply
    apply_train: Callable[..., Any] | None = None
    # (params, tokens, key or None) -> Head (layers.py), of apply's logits, or of apply_train's
    head: Callable[..., Any] | None = None
    # (key) -> Drawn (training/sampled_softmax.py), the symbols of a step's loss; None: all V
    draw_symbols: Callable[..., Any] | None = None
    # (params, tokens) -> {name: activations (..., T - lead + 1, H) of a hidden layer}, -1 to 1
    hidden: Callable[..., Any] | None = None
    # (params, tokens) -> {name: gates (..., T, H) of a layer}, 0 to 1
    gates: Callable[..., Any] | None = None
    # (params, tokens) -> {name: attention (..., heads, T, T) of a layer}, each row sums to 1
    attention: Callable[..., Any] | None = None
    # (params) -> the embedding (V, D) of the symbols
    embedding: Callable[..., Any] | None = None
    # (params) -> logits (V, V) of each symbol after each one, where that one alone decides
    bigram_logits: Callable[..., Any] | None = None
    # (params) -> ForBrowser
    for_browser: Callable[..., Any] | None = None
    # (params, tokens, targets (..., T - lead + 1)) -> log p(target), without all logits at once
    target_log_probs: Callable[..., Any] | None = None
    # (arrays of a file by name) -> why they are no parameters; None: they have init's shapes
    unusable: Callable[..., Any] | None = None

    @property
    def lead(self) -> int:
        """How many boundaries a row begins with, before its first symbol."""
        return 1 if self.context is None else self.context


def built_once(constructor: Callable[P, Model]) -> Callable[P, Model]:
    """Make a constructor return the same Model for equal choices, however they are given.

    A model is static, so that another one of equal choices would be compiled again.
    """
    signature, build = inspect.signature(constructor), cache(constructor)

    @wraps(constructor)
    def build_once(*args: P.args, **kwargs: P.kwargs) -> Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return build(*bound.args, **bound.kwargs)

    return build_once


def windowed(
    init: Callable[..., Any],
    predict: Callable[..., Any],
    context: int,
    predict_train: Callable[..., Any] | None = None,
    hidden: Callable[..., Any] | None = None,
    target_log_probs: Callable[..., Any] | None = None,
    head: Callable[..., Any] | None = None,
) -> Model:
    """Build a Model from ``predict(params, windows (N, C)) -> logits (N, V)``.

    ``apply`` slides the window along time; the carry of ``step`` is the last C tokens. Where
    ``predict`` takes a single window (C,) as well, ``step`` is faster. Optional:
    ``predict_train(params, windows, key)``, which training uses in place of ``predict``, and
    ``hidden(params, windows) -> {name: (..., H)}``, the activations of the hidden layers, and
    ``target_log_probs(params, windows, targets (...)) -> (...)``, for which not all V logits are
    needed, and ``head(params, windows, key) -> Head``, with features (..., D).
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
        carry = jnp.append(jnp.where(token == 0, 0, carry)[1:], token.astype(carry.dtype))
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

    def slide_head(params: Params, tokens: Int[Array, "... T"], key: Any) -> Any:
        assert head is not None
        return head(params, slide(tokens), key)

    return Model(
        init,
        apply,
        start,
        step,
        context,
        max_len=None,
        restarts=True,
        apply_train=apply_train if predict_train else None,
        head=slide_head if head else None,
        hidden=slide_hidden if hidden else None,
        target_log_probs=slide_targets if target_log_probs else None,
    )


def scanned(
    init: Callable[..., Any],
    start: Callable[..., Any],
    step: Callable[..., Any],
    max_len: int | None = None,
    step_train: Callable[..., Any] | None = None,
) -> Model:
    """Build a Model of whole rows from its recurrence; ``apply`` scans ``step`` along time.

    Where a boundary is read, the carry begins anew with ``start``. Optional:
    ``step_train(params, carry, token, key)``, which training uses in place of ``step``; each place
    of each row has a key of its own.
    """

    def anew_at_boundary(params: Params, carry: Any, token: Int[Array, ""]) -> Any:
        begin = start(params)
        return jax.tree.map(lambda new, old: jnp.where(token == 0, new, old), begin, carry)

    def read_rows(params: Params, tokens: Int[Array, "... T"], read: Any) -> Float[Array, "... V"]:
        """Return what ``read(carry, (number of the place, token))`` makes of all rows."""

        def read_row(first: Int[Array, ""], row: Int[Array, " T"]) -> Float[Array, "T V"]:
            begin = start(params)
            check_carry(begin, jax.eval_shape(read, begin, (first, row[0]))[0])
            return jax.lax.scan(read, begin, (first + jnp.arange(row.size), row))[1]

        rows = tokens.reshape(-1, tokens.shape[-1])
        logits = jax.vmap(read_row)(jnp.arange(len(rows)) * tokens.shape[-1], rows)
        return logits.reshape(*tokens.shape, -1)

    def restarting_step(params: Params, carry: Any, token: Int[Array, ""]) -> Any:
        return step(params, anew_at_boundary(params, carry, token), token)

    def apply(params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "... T V"]:
        return read_rows(params, tokens, lambda carry, at: restarting_step(params, carry, at[1]))

    def apply_train(
        params: Params, tokens: Int[Array, "... T"], key: Key[Array, ""]
    ) -> Float[Array, "... T V"]:
        assert step_train is not None
        train = step_train

        def read(carry: Any, at: tuple[Array, Array]) -> Any:
            carry = anew_at_boundary(params, carry, at[1])
            return train(params, carry, at[1], jax.random.fold_in(key, at[0]))

        return read_rows(params, tokens, read)

    return Model(
        init,
        apply,
        start,
        restarting_step,
        context=None,
        max_len=max_len,
        restarts=True,
        apply_train=apply_train if step_train else None,
    )


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
