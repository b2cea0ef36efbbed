"""The Transformer: GPT-2's function and size, microgpt's losses, its cache and its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.models import TransformerConfig
from mm_jax.config.presets import PRESETS
from mm_jax.data.batches import rows
from mm_jax.models.base import num_params
from mm_jax.models.gpt2 import transformer_from_gpt2
from mm_jax.models.registry import build_model
from mm_jax.models.transformer import transformer
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import train_step
from tests.helpers import V, assert_trees_close, first_params, quick_jit
from tests.models import gpt2_numpy, microgpt_scalar
from tests.models.test_laws import LETTERS

SHAPE = {"vocab_size": 11, "positions": 9, "width": 12, "layers": 3}


def gpt2_of_test_shape(seed=0):
    arrays = gpt2_numpy.random_arrays(np.random.default_rng(seed), **SHAPE)
    return arrays, transformer(11, 9, layers=3, embed_dim=12, heads=3)


def test_the_smallest_gpt2_has_its_number_of_parameters():
    model = transformer(50257, 1024, layers=12, embed_dim=768, heads=12)
    assert num_params(jax.eval_shape(model.init, jax.random.key(0))) == 124_439_808


def test_it_is_the_function_of_gpt2():
    arrays, model = gpt2_of_test_shape()
    params = transformer_from_gpt2(arrays)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, first_params(model))
    # Without a boundary but at the front: there is none in GPT-2.
    tokens = np.random.default_rng(1).integers(1, 11, (4, 9), np.int32)
    tokens[0, 0] = 0
    with jax.default_matmul_precision("highest"):
        found = quick_jit(model.apply)(params, tokens)
    expected = gpt2_numpy.logits(arrays, tokens, heads=3)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_its_first_numbers_are_gpt2s():
    model = transformer(200, 100, layers=8, embed_dim=64, heads=4)
    params = first_params(model)
    stds = {"qkv": 0.02, "up": 0.02, "out": 0.02 / 4, "down": 0.02 / 4}  # sqrt(2 * 8) is 4
    for part, std in stds.items():
        assert np.std(params["layer3"][part]["W"]) == pytest.approx(std, rel=0.05)
        assert not np.any(params["layer3"][part]["b"])
    for name in ("wte", "wpe"):
        assert np.std(params[name]) == pytest.approx(0.02, rel=0.05)
    assert np.all(params["norm"]["scale"] == 1)


def test_microgpt_has_its_parameters_by_part():
    model = build_model(PRESETS["microgpt"].config.model, V)
    params = jax.eval_shape(model.init, jax.random.key(0))
    parts = {name: num_params({name: params[name]}) for name in params}
    assert parts == {"wte": 432, "wpe": 256, "head": 432, "layer1": 3072}
    assert sum(parts.values()) == 4192


def test_the_first_ten_steps_of_microgpt_are_those_of_scalar_python():
    preset = PRESETS["microgpt"].config
    assert (preset.steps, preset.batch_size) == (1000, 1)
    model = build_model(preset.model, V)
    params = first_params(model, seed=3)
    assert np.std(params["layer1"]["down"]["W"]) == pytest.approx(0.08, rel=0.1)
    names = [
        "emma",
        "olivia",
        "ava",
        "isabella",
        "sophia",
        "mia",
        "zoe",
        "al",
        "bea",
        "christopher",
    ]
    as_lists = {
        "wte": params["wte"].tolist(),
        "wpe": params["wpe"].tolist(),
        "head": params["head"]["W"].tolist(),
        "layer0": {part: each["W"].tolist() for part, each in params["layer1"].items()},
    }
    items = [[ord(letter) - 96 for letter in name] for name in names]
    expected = microgpt_scalar.train(as_lists, items, 4, num_steps=1000, stop_after=10)
    optimizer = make_optimizer(preset.optimizer, preset.steps)
    state = init_state(model, optimizer, jax.random.key(0), params=params)
    losses = []
    for name in names:
        batch = rows([name], LETTERS, context=None, length=15)
        state, metrics = train_step(model, optimizer, state, batch)
        losses.append(float(metrics["loss_nats"]))
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(losses, expected, atol=1e-5, rtol=0)


def test_the_cache_is_read_up_to_the_token_and_no_further():
    model = transformer(V, 8, layers=2, embed_dim=8, heads=2)
    params = first_params(model)
    step = quick_jit(model.step)
    carry, _ = step(params, model.start(params), jnp.int32(0))
    stale = jax.tree.map(lambda leaf: leaf if leaf.ndim == 0 else leaf.at[2:].set(1e3), carry)
    assert_trees_close(step(params, carry, jnp.int32(4))[1], step(params, stale, jnp.int32(4))[1])


def test_what_the_attention_weights_are():
    arrays, model = gpt2_of_test_shape()
    found = quick_jit(model.attention)(transformer_from_gpt2(arrays), jnp.arange(9)[None])
    assert set(found) == {"layer1", "layer2", "layer3"}
    assert found["layer1"].shape == (1, 3, 9, 9)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"heads": 3}, "--heads 3 does not divide --embed-dim 64; --heads 2 does"),
        ({"positions": 0}, "positions must be at least 1"),
        ({"norm": "batch"}, "--norm must be one of layer, rms, not 'batch'"),
        ({"dropout_rate": 1.0}, "--dropout must be at most 0.99"),
    ],
)
def test_what_no_transformer_can_be_is_refused(choices, words):
    with pytest.raises(InputError, match=words):
        transformer(**{"vocab_size": V, "positions": 16} | choices)


def test_positions_are_left_to_the_data_or_given():
    assert TransformerConfig().for_items(16).positions == 16
    assert TransformerConfig(positions=9).for_items(16).positions == 9
    with pytest.raises(InputError, match="positions is None"):
        build_model(TransformerConfig(), V)
