"""Every config builds its model."""

import pytest

from mm_jax.config.models import (
    MODEL_CONFIGS,
    BigramConfig,
    InterpolatedConfig,
    KneserNeyConfig,
    MLPConfig,
    NgramConfig,
)
from mm_jax.models.bigram import bigram
from mm_jax.models.interpolated import interpolated
from mm_jax.models.kneser_ney import kneser_ney
from mm_jax.models.mlp import mlp
from mm_jax.models.ngram import ngram
from mm_jax.models.registry import MODELS, build_model


def test_every_config_has_its_model():
    assert MODELS.keys() == MODEL_CONFIGS.keys()


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (BigramConfig("scaled"), bigram(5, "scaled")),
        (MLPConfig(2, 3, 4, "scaled", 0.5), mlp(5, 2, 3, 4, "scaled", 0.5)),
        (NgramConfig(3, 0.25), ngram(5, 3, 0.25)),
        (KneserNeyConfig(4), kneser_ney(5, 4)),
        (InterpolatedConfig(4), interpolated(5, 4)),
    ],
)
def test_a_model_has_the_choices_of_its_config(config, model):
    assert build_model(config, 5) is model
