"""The hierarchical net against its equations in float64."""

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import WaveNetConfig
from mm_jax.models.registry import build_model
from mm_jax.models.wavenet import wavenet
from tests.helpers import V, as64, assert_trees_close, first_params, moved, quick_jit


def wavenet64(params, window, norm):
    """Logits of one window, pair by pair."""
    p, level, i = as64(params), [], 1
    level = [p["C"][token] for token in window]
    while len(level) > 1:
        pairs = [np.concatenate(level[j : j + 2]) for j in range(0, len(level), 2)]
        sums = [pair @ p[f"W{i}"] for pair in pairs]
        if norm == "layer":
            sums = [(x - x.mean()) / np.sqrt(x.var() + 1e-5) * p[f"g{i}"] for x in sums]
        level = [np.tanh(x + p[f"b{i}"]) for x in sums]
        i += 1
    return level[0] @ p[f"W{i}"] + p[f"b{i}"]


@pytest.mark.parametrize("norm", ["layer", "none"])
@pytest.mark.parametrize("context", [2, 8])
def test_it_computes_its_equations(context, norm):
    model = wavenet(V, context, 5, 7, norm)
    params = moved(first_params(model))
    windows = np.random.default_rng(0).integers(0, V, (4, context), np.int32)
    logits = quick_jit(model.apply)(params, windows)[:, 0]
    assert_trees_close(logits, np.array([wavenet64(params, each, norm) for each in windows]))


def test_activations_of_all_places_stand_side_by_side():
    model = wavenet(V, 8, 5, 7)
    found = quick_jit(model.hidden)(first_params(model), np.zeros((2, 9), np.int32))
    assert {name: each.shape for name, each in found.items()} == {
        "h1": (2, 2, 4 * 7),
        "h2": (2, 2, 2 * 7),
        "h3": (2, 2, 7),
    }


@pytest.mark.parametrize("context", [3, 6, 12, 1023])
def test_a_context_that_is_no_power_of_two_is_refused(context):
    below = 2 ** (len(f"{context:b}") - 1)
    words = f"must be a power of two, such as {below} or {2 * below}, not {context}"
    with pytest.raises(InputError, match=words):
        WaveNetConfig(context=context)
    with pytest.raises(InputError, match=words):
        wavenet(V, context)


def test_a_config_describes_it():
    assert build_model(WaveNetConfig(), V) is wavenet(V, 8, 24, 128, "layer", 0.0)
    with pytest.raises(InputError, match="--context must be at least 2"):
        WaveNetConfig(context=1)
