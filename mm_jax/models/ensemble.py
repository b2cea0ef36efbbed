"""Several models of one kind as one Model: the mean of their probabilities."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.models.base import ForBrowser, Model, Params, at_least_float32


@cache
def ensemble(model: Model, num: int) -> Model:
    """Return ``num`` members as one Model: its probabilities are the mean of theirs.

    Its parameters are theirs, stacked. Its loss is at most the mean of their losses (Jensen).
    """

    def mean(logits: Float[Array, "P ... V"]) -> Float[Array, "... V"]:
        log_probs = jax.nn.log_softmax(at_least_float32(logits))
        return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(jnp.float32(len(logits)))

    def init(key: Key[Array, ""]) -> Params:
        return jax.vmap(model.init)(jax.random.split(key, num))

    def apply(params: Params, tokens: Int[Array, "..."]) -> Float[Array, "..."]:
        return mean(jax.vmap(model.apply, in_axes=(0, None))(params, tokens))

    def step(params: Params, carry: Any, token: Int[Array, ""]) -> tuple[Any, Float[Array, " V"]]:
        carry, logits = jax.vmap(model.step, in_axes=(0, 0, None))(params, carry, token)
        return carry, mean(logits)

    def for_browser(params: Params) -> ForBrowser:
        assert model.for_browser is not None
        of_member = model.for_browser
        first = of_member(jax.tree.map(lambda leaf: leaf[0], params))
        arrays = jax.vmap(lambda member: of_member(member).arrays)(params)
        return first._replace(arrays=arrays, members=num, embedding=None)  # each has its own

    start = jax.vmap(model.start)
    return Model(
        init,
        apply,
        start,
        step,
        model.context,
        model.max_len,
        model.restarts,
        for_browser=for_browser if model.for_browser else None,
    )
