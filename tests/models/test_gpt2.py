"""GPT-2's arrays <-> our parameters: there and back, and what is refused."""

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.models.gpt2 import transformer_from_gpt2, transformer_to_gpt2
from mm_jax.models.transformer import transformer
from tests.helpers import V, first_params
from tests.models import gpt2_numpy


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return gpt2_numpy.random_arrays(rng, vocab_size=7, positions=5, width=8, layers=2)


def test_there_and_back_is_the_same(arrays):
    back = transformer_to_gpt2(transformer_from_gpt2(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(back[name], array), name


def test_what_files_have_beside_the_parameters_is_left_out(arrays):
    published = {f"transformer.{name}": array for name, array in arrays.items()}
    published["transformer.h.0.attn.bias"] = np.ones((1, 1, 5, 5))
    published["transformer.h.1.attn.masked_bias"] = np.float32(-1e4)
    published["lm_head.weight"] = arrays["wte.weight"]
    assert transformer_to_gpt2(transformer_from_gpt2(published)).keys() == arrays.keys()


def test_an_array_that_is_missing_unknown_or_of_another_shape_is_named(arrays):
    for name in arrays:
        with pytest.raises(InputError, match=rf"{name} is missing"):
            transformer_from_gpt2({other: arrays[other] for other in arrays if other != name})
    with pytest.raises(InputError, match=r"h\.1\.rotary is unknown"):
        transformer_from_gpt2(arrays | {"h.1.rotary": np.ones(3)})
    for name, array in arrays.items():
        if name in ("wte.weight", "wpe.weight", "ln_f.bias"):  # these decide the shapes
            continue
        with pytest.raises(InputError, match=rf"{name} is .* should be"):
            transformer_from_gpt2(arrays | {name: array[..., :3]})
    with pytest.raises(InputError, match=r"of 0 layers: .* is missing"):
        transformer_from_gpt2({})


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"tied": False}, r"head\.W is not GPT-2's"),
        ({"bias": False}, r"layer1\.down\.b is missing"),
        ({"norm": "rms"}, r"layer1\.norm1\.scale is missing"),
    ],
)
def test_parameters_of_another_kind_are_not_gpt2s(choices, words):
    model = transformer(V, 4, layers=1, embed_dim=8, heads=2, **choices)
    with pytest.raises(InputError, match=words):
        transformer_to_gpt2(first_params(model))
