"""The bigram as a net of one linear layer: the first makemore lecture's second half.

A one-hot symbol times W is a row of W, and that row is the logits. Training brings softmax(W) to
the normalised counts; with W = log(counts) the net is the count model (models/ngram.py).
"""

import jax
from jaxtyping import Array, Float, Int

from mm_jax.config.base import InputError
from mm_jax.config.models import BigramConfig
from mm_jax.models.base import ForBrowser, Model, Params, built_once, windowed
from mm_jax.models.layers import embed, normals


@built_once
def bigram(vocab_size: int, init: str = BigramConfig.init) -> Model:
    """Return the neural bigram with the parameter W (V, V).

    ``init="lecture"`` draws W from a standard normal, ``init="scaled"`` a tenth of that: the first
    prediction is then near uniform, its loss near ln V.
    """
    if vocab_size < 1:
        raise InputError("vocab_size must be at least 1")
    if init not in ("lecture", "scaled"):
        raise InputError(f"unknown init {init!r}; choose one of lecture, scaled")

    def init_params(key: Array) -> Params:
        params = normals(key, {"W": (vocab_size, vocab_size)})
        return params if init == "lecture" else {"W": 0.1 * params["W"]}

    def predict(params: Params, windows: Int[Array, "... C"]) -> Float[Array, "... V"]:
        with jax.named_scope("embed"):
            return embed(params["W"], windows[..., 0])

    return windowed(init_params, predict, context=1)._replace(
        bigram_logits=lambda params: params["W"],
        for_browser=lambda params: ForBrowser("table", {"logits": params["W"]}, {"context": 1}),
    )


def from_config(config: BigramConfig, vocab_size: int) -> Model:
    """Return the neural bigram that a BigramConfig describes."""
    return bigram(vocab_size, config.init)
