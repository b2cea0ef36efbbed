"""The weights of a mixture, fitted on text that its members were not trained on.

Linear weights by expectation maximisation (Dempster, Laird and Rubin 1977), log-linear ones by
L-BFGS-B with weights of 0 or more (Byrd et al. 1995). Both losses are convex: one least value.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float64

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.data.corpus import Corpus
from mm_jax.data.examples import evenly, gather, is_on_host
from mm_jax.models.base import Model, Params, vocab_size_of
from mm_jax.models.mixture import LINEAR, Kind, Members, mix_log_linear, mixture
from mm_jax.training.data import read_by
from mm_jax.training.evaluate import block_size, grouped_sum

MAX_PREDICTIONS = 2**18  # that weights are fitted on
MAX_NUMBERS = 2**28  # of log p that are kept meanwhile: 1 GB
BATCH_SIZE = 4096
EM_STEPS, MAX_ROUNDS = 20, 200  # of so many steps each
TOLERANCE = 1e-8  # of the loss, in nats, between two rounds
LEAST_LOG_PROB = -1e4  # of a symbol that a member rules out, while weights are fitted

Weights: TypeAlias = Float64[np.ndarray, " K"]


class MixtureFit(NamedTuple):
    """What fitting the weights of a mixture gives."""

    params: Params  # of the mixture
    loss: float  # nats per symbol on what the weights were fitted on
    halved_loss: float  # the same with the weights fitted on the other half of it
    num_predictions: int  # that they were fitted on


class Scored(NamedTuple):
    """What the members of a mixture say of n predictions."""

    log_probs: Any  # of the targets (n, K), or of all symbols (n, K, V)
    targets: Any  # (n,)
    counts: Any  # (n,), how often each prediction counts

    @property
    def halves(self) -> tuple["Scored", "Scored"]:
        """Two that count one half of the predictions each."""
        is_first = np.arange(len(self.counts)) < len(self.counts) // 2
        first, second = (self._replace(counts=self.counts * half) for half in (is_first, ~is_first))
        return first, second


def fit_mixture(
    models: Sequence[Model], params: Sequence[Params], corpus: Corpus, kind: Kind = "log-linear"
) -> MixtureFit:
    """Return the parameters of ``mixture(models, kind)`` with the weights of the least loss.

    ``params`` are those of each model. The corpus should be held out: a member that knows it by
    heart gets too much weight. Of a large one at most 262,144 predictions are used, evenly spread.
    Raises InputError where a member of a log-linear mixture rules out a symbol that occurs, or
    there is but one prediction.
    """
    members = {str(i): each for i, each in enumerate(params)}
    equal = {"weights": jnp.full(len(models), 1 / len(models)), "members": members}
    scored = _score(tuple(models), equal, corpus, kind)
    fit, measure = WAYS[kind]
    weights = fit(scored)
    first, second = scored.halves
    crosswise = measure(first, fit(second)), measure(second, fit(first))
    sizes = [half.counts.sum() for half in (first, second)]
    return MixtureFit(
        {"weights": jnp.asarray(weights, jnp.float32), "members": members},
        measure(scored, weights),
        float(np.average(crosswise, weights=sizes)),
        len(scored.counts),
    )


# What the members say


def _score(models: tuple[Model, ...], params: Params, corpus: Corpus, kind: Kind) -> Scored:
    """Return what the members say of predictions that are evenly spread over the corpus."""
    model = mixture(models, kind)
    examples: Any = read_by(model, corpus, params, packed=True)
    numbers = len(models) * (1 if kind == LINEAR else vocab_size_of(model, params))
    most = min(MAX_PREDICTIONS, max(1, MAX_NUMBERS // numbers))
    examples = evenly(examples, corpus.num_predictions, most).exact
    size, parts = block_size(model, params, examples, BATCH_SIZE), []
    for batch in _batches(examples, size):
        flat = _read(models, kind, params, batch)
        parts.append([np.asarray(each)[np.asarray(flat.counts) > 0] for each in flat])
    scored = Scored(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    if len(scored.counts) < 2:
        raise InputError("weights are fitted on two predictions or more, and the text has one")
    if kind != LINEAR:
        _check_possible(scored)
    return scored


@partial(jax.jit, static_argnames=("models", "kind"))
def _read(models: tuple[Model, ...], kind: Kind, params: Params, batch: Batch) -> Scored:
    members, lead = Members(models), batch.tokens.shape[:-1]
    if kind == LINEAR:
        targets = batch.targets.reshape(*lead, -1)
        log_probs = members.target_log_probs(params, batch.tokens, targets)
        log_probs = log_probs.reshape(len(models), -1)
    else:
        log_probs = members.log_probs(params, batch.tokens)
        log_probs = log_probs.reshape(len(models), -1, log_probs.shape[-1])
    flat = jnp.moveaxis(log_probs, 0, 1)
    return Scored(flat, batch.targets.reshape(-1), batch.weights.reshape(-1))


def _batches(examples: Any, size: int) -> Iterator[Batch]:
    """Yield all examples in batches of one size; what fills up the last one has weight 0."""
    take = gather if is_on_host(examples) else jax.jit(lambda some, numbers: some.take(numbers))
    for first in range(0, examples.num_examples, size):
        numbers = np.arange(first, first + size)
        batch = take(examples, np.minimum(numbers, examples.num_examples - 1))
        is_one = (numbers < examples.num_examples).reshape(-1, *(1,) * (batch.weights.ndim - 1))
        yield Batch(batch.tokens, batch.targets, np.where(is_one, batch.weights, 0))


def _check_possible(scored: Scored) -> None:
    """Raise InputError where a member rules out a symbol that occurs."""
    own = np.take_along_axis(scored.log_probs, scored.targets[:, None, None], -1)[..., 0]
    impossible = np.isneginf(own).sum(0)
    for i in np.flatnonzero(impossible)[:1]:
        raise InputError(
            f"model {i + 1} gives {impossible[i]:,} of {len(own):,} symbols of the held-out text "
            "no probability: leave it out, or mix linear"
        )


# Linear


def _linear_loss(scored: Scored, weights: Weights) -> float:
    counted = scored.counts > 0  # of others the nats can be infinite
    probs = np.exp(scored.log_probs[counted].astype(np.float64))
    with np.errstate(divide="ignore"):
        nats = -np.log(probs @ weights)
    return float(np.average(nats, weights=scored.counts[counted]))


def _em(scored: Scored) -> Weights:
    """Return the weights of the least loss: each becomes the share of p that it gives, on average.

    What no member gives any probability tells nothing of the weights.
    """
    probs = np.exp(scored.log_probs.astype(np.float64))
    tells = probs.any(1) & (scored.counts > 0)
    probs, counts = probs[tells], scored.counts[tells] / max(1, scored.counts[tells].sum())
    weights, before = np.full(probs.shape[1], 1 / probs.shape[1]), -np.inf
    for _ in range(MAX_ROUNDS if len(counts) else 0):
        for _ in range(EM_STEPS):
            weights *= (counts / (probs @ weights)) @ probs
            weights /= weights.sum()
        mean_log = counts @ np.log(probs @ weights)
        if mean_log - before < TOLERANCE:
            break
        before = mean_log
    return weights


# Log-linear


@jax.jit
def _log_linear_nats(
    weights: Float[Array, " K"], log_probs: Any, targets: Any, counts: Any
) -> Float[Array, ""]:
    logits = mix_log_linear(weights, jnp.moveaxis(log_probs, 1, 0))
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return grouped_sum(counts * nats) / grouped_sum(counts)


_log_linear_slope = jax.jit(jax.value_and_grad(_log_linear_nats))


def _log_linear_loss(scored: Scored, weights: Weights) -> float:
    return float(_log_linear_nats(jnp.asarray(weights, jnp.float32), *scored))


def _descend(scored: Scored) -> Weights:
    """Return the weights of the least loss, none below 0."""
    import scipy.optimize

    possible = np.maximum(scored.log_probs, LEAST_LOG_PROB)  # 0 times infinity is no number
    fixed = jax.device_put(scored._replace(log_probs=possible))

    def loss(weights: Weights) -> tuple[float, Weights]:
        value, slope = _log_linear_slope(jnp.asarray(weights, jnp.float32), *fixed)
        return float(value), np.asarray(slope, np.float64)

    num = scored.log_probs.shape[1]
    found = scipy.optimize.minimize(
        loss,
        np.full(num, 1 / num),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * num,
        options={"ftol": 1e-8, "gtol": 1e-6},
    )
    return np.asarray(found.x)


Fit: TypeAlias = Callable[[Scored], Weights]
WAYS: dict[str, tuple[Fit, Callable[[Scored, Weights], float]]] = {
    "linear": (_em, _linear_loss),
    "log-linear": (_descend, _log_linear_loss),
}
