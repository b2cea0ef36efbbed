"""Arrays of a file as a model: of each kind of run, and what does not fit is named."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MixtureConfig, MLPConfig
from mm_jax.config.training import MixConfig, RunConfig
from mm_jax.models.ensemble import ensemble
from mm_jax.models.good_turing import good_turing
from mm_jax.models.mixture import mixture
from mm_jax.models.registry import build_model
from mm_jax.runs.stored_models import num_members_of, stored_model
from tests.helpers import assert_trees_identical, first_params

V, FILE = 5, Path("params.safetensors")
NET = RunConfig(model=MLPConfig(context=2, embed_dim=2, hidden_dim=3, init="scaled"))
TWO = RunConfig(model=NET.model, seeds=2)
MLP = build_model(NET.model, V)
PAIR = mixture((MLP, MLP))


def mixed(**choices):
    data, runs = DataConfig("a.txt"), (NET, NET)
    return MixConfig(data, MixtureConfig(**choices), runs, ("x", "y"))


KINDS = {
    "a net": (NET, MLP),
    "two seeds": (TWO, ensemble(MLP, 2)),
    "a mixture": (mixed(), PAIR),
    "with good-turing": (mixed(good_turing=True), good_turing(PAIR)),
}


def arrays_of(model):
    return {name: np.array(a) for name, a in flatten_dict(first_params(model), sep=".").items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_run_of_each_kind_has_its_model_and_its_parameters(name):
    config, model = KINDS[name]
    arrays = arrays_of(model)
    num_members = num_members_of(arrays) if config is TWO else 1
    found, params = stored_model(config, V, arrays, FILE, num_members)
    assert found is model or config is TWO
    assert_trees_identical(params, first_params(model))
    tokens = np.zeros((2, 4), np.int32)
    shapes = [jax.eval_shape(each.apply, params, tokens).shape for each in (found, model)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_too_much_or_too_little_is_named(name):
    config, model = KINDS[name]
    for change in (lambda a: a.update(other=np.zeros(2, np.float32)), lambda a: a.pop(max(a))):
        arrays = arrays_of(model)
        change(arrays)
        with pytest.raises(InputError, match=r"params\.safetensors"):
            stored_model(config, V, arrays, FILE, 2)
