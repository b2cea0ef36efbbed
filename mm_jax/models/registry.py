"""Every model by its name, and how to build it from its config."""

from collections.abc import Callable

from mm_jax.config.models import ModelConfig
from mm_jax.models import bigram as _bigram
from mm_jax.models import bow as _bow
from mm_jax.models import interpolated as _interpolated
from mm_jax.models import kneser_ney as _kneser_ney
from mm_jax.models import mlp as _mlp
from mm_jax.models import ngram as _ngram
from mm_jax.models import recurrent as _recurrent
from mm_jax.models import transformer as _transformer
from mm_jax.models import wavenet as _wavenet
from mm_jax.models.base import Model

MODELS: dict[str, Callable[..., Model]] = {
    "ngram": _ngram.from_config,
    "kneser-ney": _kneser_ney.from_config,
    "interpolated": _interpolated.from_config,
    "bigram": _bigram.from_config,
    "mlp": _mlp.from_config,
    "bow": _bow.from_config,
    "wavenet": _wavenet.from_config,
    "rnn": _recurrent.from_config,
    "gru": _recurrent.from_config,
    "lstm": _recurrent.from_config,
    "transformer": _transformer.from_config,
}


def build_model(config: ModelConfig, vocab_size: int) -> Model:
    """Return the Model that ``config`` describes, for a vocabulary of V symbols."""
    return MODELS[config.name](config, vocab_size)
