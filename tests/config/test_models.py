import dataclasses

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import (
    COUNTED,
    MODEL_CONFIGS,
    TRAINED,
    BigramConfig,
    InterpolatedConfig,
    KneserNeyConfig,
    MLPConfig,
    NgramConfig,
)


def test_every_model_is_counted_or_trained_and_found_by_its_name():
    assert MODEL_CONFIGS == COUNTED | TRAINED
    assert not COUNTED.keys() & TRAINED.keys()
    for name, config in MODEL_CONFIGS.items():
        assert config.name == name
    assert {"ngram", "kneser-ney"} <= set(COUNTED)
    assert {"bigram", "mlp"} <= set(TRAINED)


def test_the_default_mlp_is_that_of_the_lecture():
    """Block of 3, 10 dimensions, 200 units: 27*10 + 30*200 + 200 + 200*27 + 27 = 11,897."""
    config = MLPConfig()
    assert (config.context, config.embed_dim, config.hidden_dim) == (3, 10, 200)
    assert config.init == "lecture"
    assert config.dropout == 0


def test_the_kind_of_a_model_is_no_choice():
    for config in MODEL_CONFIGS.values():
        assert "name" not in {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (NgramConfig, {"order": 0}, "--order must be at least 1"),
        (NgramConfig, {"order": 31}, "--order must be at most 30"),
        (NgramConfig, {"smoothing": -0.5}, "--smoothing must be at least 0"),
        (NgramConfig, {"smoothing": 1e-31}, "--smoothing must be 0 or at least 1e-30"),
        (KneserNeyConfig, {"order": 1}, "--order must be at least 2"),
        (KneserNeyConfig, {"order": 31}, "--order must be at most 30"),
        (InterpolatedConfig, {"order": 1}, "--order must be at least 2"),
        (BigramConfig, {"init": "other"}, "--init must be one of lecture, scaled"),
        (MLPConfig, {"context": 0}, "--context must be at least 1"),
        (MLPConfig, {"dropout": 1.0}, "--dropout must be at most 0.99"),
    ],
)
def test_wrong_values_are_refused(config, values, message):
    with pytest.raises(InputError, match=message):
        config(**values)


def test_a_smoothing_that_float32_holds_is_accepted():
    for k in (0, 1e-30, 1e30):
        assert NgramConfig(smoothing=k).smoothing == k
