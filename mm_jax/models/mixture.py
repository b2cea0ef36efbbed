"""Models of any kinds as one Model: a weighted mean of their probabilities, or of their logarithms.

linear: p = sum_k w_k p_k, with weights that sum to 1 (interpolation, Jelinek and Mercer 1980).
log-linear: p is proportional to prod_k p_k^w_k, with weights that are 0 or more (Klakow 1998).
frequency: linear, with weights for each bin of how often the last two tokens occurred in train
(Bengio et al. 2003, section 3.1, who take it from Jelinek and Mercer).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.data.host_or_device import since_boundary
from mm_jax.models.base import Model, Params, at_least_float32, built_once, vocab_size_of
from mm_jax.models.context_frequency import NUM_TOKENS, bins_after, empty_table

Kind: TypeAlias = Literal["linear", "log-linear", "frequency"]
KINDS: tuple[Kind, Kind, Kind] = ("linear", "log-linear", "frequency")
LINEAR, LOG_LINEAR, FREQUENCY = KINDS


class Members(NamedTuple):
    """The models of a mixture, which read the same tokens: its rows, or windows of its context."""

    models: tuple[Model, ...]
    whole_rows: bool = False  # also where all members read windows
    least_context: int = 1  # tokens that are needed, also where all members read fewer

    @property
    def context(self) -> int | None:
        """The longest context; None where a member reads whole rows."""
        if self.whole_rows:
            return None
        contexts = [model.context for model in self.models]
        known = [each for each in contexts if each is not None]
        return max(self.least_context, *known) if len(known) == len(contexts) else None

    @property
    def max_len(self) -> int | None:
        """The longest row that all members are right for."""
        return min((m.max_len for m in self.models if m.max_len is not None), default=None)

    @property
    def restarts(self) -> bool:
        """Whether all begin anew at a boundary: of those that read windows each one does."""
        return all(model.restarts or model.context is not None for model in self.models)

    def log_probs(self, params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "K ... P V"]:
        """Return log p of all symbols by each member."""
        logits = [
            model.apply(member, self._read_by(model, tokens)).reshape(*self._shape(tokens), -1)
            for model, member in self._pairs(params)
        ]
        return jnp.stack([jax.nn.log_softmax(at_least_float32(each)) for each in logits])

    def target_log_probs(
        self, params: Params, tokens: Int[Array, "... T"], targets: Int[Array, "... P"]
    ) -> Float[Array, "K ... P"]:
        """Return log p of the targets by each member, without all logits where it needs none."""

        def of_member(model: Model, member: Params) -> Float[Array, "... P"]:
            read, wanted = self._read_by(model, tokens), targets
            if self._takes_windows(model):
                wanted = targets[..., None]
            if model.target_log_probs is not None:
                found = model.target_log_probs(member, read, wanted)
            else:
                log_probs = jax.nn.log_softmax(at_least_float32(model.apply(member, read)))
                found = jnp.take_along_axis(log_probs, wanted[..., None], -1)
            return found.reshape(targets.shape)

        return jnp.stack([of_member(*pair) for pair in self._pairs(params)])

    def bins(self, params: Params, tokens: Int[Array, "... T"]) -> Int[Array, "... P"] | None:
        """Return the bin of the context of each prediction; None without a table of contexts."""
        before = jnp.concatenate([jnp.zeros_like(tokens[..., :1]), tokens[..., :-1]], -1)
        first = (self.context or 1) - 1
        return bins_of_pairs(params, before[..., first:], tokens[..., first:])

    def start(self, params: Params) -> tuple[Any, ...]:
        """Return the carry of each member."""
        return tuple(model.start(member) for model, member in self._pairs(params))

    def step(
        self, params: Params, carry: tuple[Any, ...], token: Int[Array, ""]
    ) -> tuple[tuple[Any, ...], Float[Array, "K V"]]:
        """Return the carry of each member after one more token, and log p of all symbols."""
        after, log_probs = [], []
        for (model, member), state in zip(self._pairs(params), carry, strict=True):
            if not model.restarts and model.context is not None:
                fresh = model.start(member)
                state = jax.tree.map(partial(jnp.where, token == 0), fresh, state)
            state, logits = model.step(member, state, token)
            after.append(state)
            log_probs.append(jax.nn.log_softmax(at_least_float32(logits)))
        return tuple(after), jnp.stack(log_probs)

    def _pairs(self, params: Params) -> list[tuple[Model, Params]]:
        members = params["members"]
        return [(model, members[str(i)]) for i, model in enumerate(self.models)]

    def _takes_windows(self, model: Model) -> bool:
        """Check whether a model of windows is given rows, where items share a row."""
        return self.context is None and model.context is not None

    def _read_by(self, model: Model, tokens: Int[Array, "... T"]) -> Int[Array, "..."]:
        """Return what a member reads: the tokens it needs, or a window for each token of rows."""
        if not self._takes_windows(model):
            return tokens if self.context is None else tokens[..., self.context - model.lead :]
        length, context = tokens.shape[-1], model.lead
        padded = jnp.pad(tokens, ((0, 0),) * (tokens.ndim - 1) + ((context - 1, 0),))
        places = jnp.arange(length)[:, None] + jnp.arange(context)[None]
        return since_boundary(jnp, padded[..., places])

    def _shape(self, tokens: Int[Array, "... T"]) -> tuple[int, ...]:
        """Return (..., P), the shape of the predictions."""
        return (*tokens.shape[:-1], tokens.shape[-1] - (self.context or 1) + 1)


@built_once
def mixture(models: tuple[Model, ...], kind: Kind = "log-linear") -> Model:
    """Return models of one vocabulary as one Model.

    Its parameters are ``weights`` (K,) and ``members``, a dict of the parameters of each model by
    its number, "0" and so on. With the kind "frequency" ``weights`` are (bins, K), and
    ``frequency`` is a table of contexts (context_frequency.py). ``init`` gives each model the
    weight 1 / K; ``fit_mixture`` fits the weights on text. A log-linear mixture needs the logits of
    all members for every prediction. One model alone is raised to the power of its weight. Raises
    InputError for none.
    """
    if not models:
        raise InputError("a mixture needs a model or more")
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r} of a mixture; choose one of {', '.join(KINDS)}")
    members, mix = members_of(models, kind), MIXES[kind]

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, len(models))
        drawn = [model.init(each) for model, each in zip(models, keys, strict=True)]
        weights = jnp.full(len(models), 1 / len(models))
        if kind != FREQUENCY:
            return mixture_params(weights, drawn)
        table = empty_table(vocab_size_of(models[0], drawn[0]))
        return mixture_params(weights[None], drawn, table)

    def weights_at(params: Params, bins: Int[Array, "..."] | None) -> Float[Array, "K ..."]:
        return params["weights"] if bins is None else jnp.moveaxis(params["weights"][bins], -1, 0)

    def apply(params: Params, tokens: Int[Array, "... T"]) -> Float[Array, "... P V"]:
        weights = weights_at(params, members.bins(params, tokens))
        return mix(weights, members.log_probs(params, tokens))

    def start(params: Params) -> tuple[Any, Int[Array, ""]]:
        return members.start(params), jnp.int32(0)

    def step(
        params: Params, carry: tuple[Any, Int[Array, ""]], token: Int[Array, ""]
    ) -> tuple[tuple[Any, Int[Array, ""]], Float[Array, " V"]]:
        inner, log_probs = members.step(params, carry[0], token)
        weights = weights_at(params, bins_of_pairs(params, carry[1], token))
        return (inner, token.astype(jnp.int32)), mix(weights, log_probs)

    def target_log_probs(
        params: Params, tokens: Int[Array, "... T"], targets: Int[Array, "... P"]
    ) -> Float[Array, "... P"]:
        weights = weights_at(params, members.bins(params, tokens))
        return mix_linear(weights, members.target_log_probs(params, tokens, targets))

    return Model(
        init,
        apply,
        start,
        step,
        members.context,
        members.max_len,
        members.restarts,
        target_log_probs=None if kind == LOG_LINEAR else target_log_probs,
    )


def members_of(models: tuple[Model, ...], kind: Kind) -> Members:
    """Return the models of a mixture, which by frequency read two tokens or more."""
    return Members(models, least_context=NUM_TOKENS if kind == FREQUENCY else 1)


def mixture_params(
    weights: Any, members: Sequence[Params], table: Mapping[str, Any] | None = None
) -> Params:
    """Return the parameters of a mixture: the weights, and those of each member by number.

    ``table`` is that of the contexts, of a mixture by frequency.
    """
    named = {str(i): params for i, params in enumerate(members)}
    params = {"weights": jnp.asarray(weights, jnp.float32), "members": named}
    if table is not None:
        params["frequency"] = {name: jnp.asarray(array) for name, array in table.items()}
    return params


def bins_of_pairs(
    params: Params, before: Int[Array, "..."], last: Int[Array, "..."]
) -> Int[Array, "..."] | None:
    """Return the bin of each pair of tokens, None without a table: all have the same weights."""
    if "frequency" not in params:
        return None
    return bins_after(params["frequency"], before, last, len(params["weights"]) - 1)


def mix_linear(
    weights: Float[Array, "K ..."], log_probs: Float[Array, "K ..."]
) -> Float[Array, "..."]:
    """Return the logarithm of the weighted sum of probabilities."""
    return jax.nn.logsumexp(log_probs + _as_tall(jnp.log(weights), log_probs), axis=0)


def mix_log_linear(
    weights: Float[Array, "K ..."], log_probs: Float[Array, "K ..."]
) -> Float[Array, "..."]:
    """Return the weighted sum of log p, logits: what a weight of 0 rules out stays possible."""
    tall = _as_tall(weights, log_probs)
    return jnp.sum(jnp.where(tall == 0, 0.0, tall * log_probs), axis=0)


MIXES: dict[str, Callable[..., Any]] = {
    LINEAR: mix_linear,
    LOG_LINEAR: mix_log_linear,
    FREQUENCY: mix_linear,
}


def _as_tall(weights: Float[Array, "K ..."], like: Float[Array, "K ..."]) -> Float[Array, "K ..."]:
    return weights.reshape(*weights.shape, *(1,) * (like.ndim - weights.ndim))
