"""makemore's models in PyTorch are of ours' sizes, and learn."""

import jax
import pytest

from mm_jax.bench.models import NAMES
from mm_jax.bench.torch_models import names_in_pytorch, steps_in_pytorch
from mm_jax.config.models import TRAINED
from mm_jax.models.base import num_params
from mm_jax.models.registry import build_model


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_size_of_ours_and_learns(name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    result = steps_in_pytorch(name, 30)
    model = build_model(TRAINED[name]().for_items(16), 27)
    size = num_params(jax.eval_shape(model.init, jax.random.key(0)))
    # makemore's head is not tied: 64 x 27 more.
    assert result["num_params"] - size in (0, 64 * 27)
    assert result["losses"][1] < result["losses"][0]


def test_it_samples_as_many_names_as_it_is_asked_for():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    result = names_in_pytorch(20)
    assert result["names"] == pytest.approx(20 / result["seconds"])
