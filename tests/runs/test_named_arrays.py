"""Trees as arrays by name, and back, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.runs.named_arrays import check_arrays, from_arrays, named_leaves, spec_of, to_arrays
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from tests.helpers import assert_trees_identical, bigram


def state():
    optimizer = make_optimizer(OptimizerConfig("adam", learning_rate=0.1), 10)
    return init_state(bigram(), optimizer, jax.random.key(3), average_decay=0.9)


def test_a_state_comes_back_from_its_arrays_bit_for_bit():
    arrays, spec = to_arrays(state()), spec_of(state)
    assert {"params.W", "average.W", "average_decay", "key", "step"} <= arrays.keys()
    assert any(name.startswith("opt_state.") for name in arrays)
    assert (arrays["key"].dtype, arrays["key"].shape) == (np.uint32, (2,))
    assert all(type(array) is np.ndarray for array in arrays.values())
    check_arrays(arrays, spec.leaves, "here", "there")
    assert_trees_identical(from_arrays(arrays, spec), state())
    assert_trees_identical(jax.jit(lambda a: from_arrays(a, spec))(arrays), state())


def test_a_population_comes_back_too():
    both = {name: np.stack([array, array]) for name, array in to_arrays(state()).items()}
    population = from_arrays(both, spec_of(state))
    assert population.key.shape == population.step.shape == (2,)
    assert_trees_identical(jax.tree.map(lambda leaf: leaf[1], population), state())


def test_another_implementation_of_keys_is_kept():
    def tree():
        return {"key": jax.random.key(1, impl="rbg"), "x": jnp.zeros(2)}

    again = from_arrays(to_arrays(tree()), spec_of(tree))
    assert jax.random.key_impl(again["key"]) == jax.random.key_impl(tree()["key"])
    assert_trees_identical(again, tree())


def test_a_spec_is_traced_and_nothing_is_computed():
    def tree():
        x = jnp.ones((3, 2)) @ jnp.ones((2, 2**40))  # more than any machine holds
        return {"b": x, "a": [jax.random.key(0), jnp.int32(1)]}

    spec = spec_of(tree)
    assert list(spec.leaves) == ["a.0", "a.1", "b"]
    assert (spec.leaves["b"].shape, spec.leaves["b"].dtype) == ((3, 2**40), jnp.float32)
    assert (spec.leaves["a.0"].shape, spec.leaves["a.0"].dtype) == ((2,), jnp.uint32)
    assert list(spec.keys) == ["a.0"]


def test_leaves_are_named_wherever_they_are():
    tree = {"W": jnp.ones(2), "layers": [{"b": jnp.zeros(3)}]}
    assert list(named_leaves(tree)) == ["W", "layers.0.b"]
    assert named_leaves(tree)["W"] is tree["W"]
    shapes = jax.eval_shape(named_leaves, tree)
    assert shapes["layers.0.b"].shape == (3,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W": None}, r"W is None, should be float32\[2\]"),
        ({"x": np.zeros(1, np.int32)}, r"x is int32\[1\], should be None"),
        ({"W": np.zeros((2, 1), np.float32)}, r"W is float32\[2, 1\], should be float32\[2\]"),
        ({"W": np.zeros(2, np.float16)}, r"W is float16\[2\], should be float32\[2\]"),
        ({"step": np.zeros(1, np.int32)}, r"step is int32\[1\], should be int32\[\]"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, words):
    leaves = spec_of(lambda: {"W": jnp.ones(2), "step": jnp.int32(1)}).leaves
    arrays = {"W": np.ones(2, np.float32), "step": np.array(7, np.int32)}
    check_arrays(arrays, leaves, "a.safetensors", "config.json")
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    with pytest.raises(InputError, match=rf"^a\.safetensors does not fit config\.json: {words}$"):
        check_arrays(arrays, leaves, "a.safetensors", "config.json")


def test_arrays_in_another_precision_say_which_flag_they_need():
    leaves = spec_of(lambda: {"W": jnp.ones(2)}).leaves
    with pytest.raises(InputError, match=r"was made with JAX_ENABLE_X64, .* only where that is on"):
        check_arrays({"W": np.ones(2, np.float64)}, leaves, "a.safetensors", "config.json")
    with jax.enable_x64(True):
        leaves = spec_of(lambda: {"W": jnp.ones(2)}).leaves
    with pytest.raises(InputError, match=r"made without JAX_ENABLE_X64, .* only where that is off"):
        check_arrays({"W": np.ones(2, np.float32)}, leaves, "a.safetensors", "config.json")
