import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.models.layers import MAX_TRANSPOSED_SIZE, matmul
from tests.helpers import assert_trees_close, quick_jit

SHAPES = [(5, 3, 7), (5, 7, 3), (4, 6, 6), (1, 1, 1)]  # wide, tall, square, and all alike


def pieces(shape, seed=0):
    n, d, h = shape
    shapes = [(n, d), (d, h), (n, d), (d, h), (n, h)]
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(each), jnp.float32) for each in shapes]


def derivatives(product, x, weight, x_dot, weight_dot, g):
    """All that is made of a product: forward, reverse, and one of the other."""

    def scalar(x, weight):
        return jnp.sum(g * jnp.tanh(product(x, weight)))

    slopes = jax.grad(scalar, (0, 1))
    return {
        "product": product(x, weight),
        "forward": jax.jvp(product, (x, weight), (x_dot, weight_dot)),
        "along x alone": jax.jvp(lambda x: product(x, weight), (x,), (x_dot,)),
        "reverse": jax.vjp(product, x, weight)[1](g),
        "gradient": slopes(x, weight),
        "forward over reverse": jax.jvp(slopes, (x, weight), (x_dot, weight_dot)),
        "reverse over reverse": jax.grad(
            lambda x, w: jnp.sum(slopes(x, w)[1] * weight_dot), (0, 1)
        )(x, weight),
        "hessian": jax.hessian(scalar, (0, 1))(x, weight),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_of_any_kind_are_those_of_the_plain_product(shape):
    given = pieces(shape)
    ours = quick_jit(lambda *args: derivatives(matmul, *args))(*given)
    plain = quick_jit(lambda *args: derivatives(jnp.matmul, *args))(*given)
    assert_trees_close(ours, plain)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_those_of_many_models_at_once_too(shape):
    given = [jnp.stack(each) for each in zip(pieces(shape), pieces(shape, 1), strict=True)]
    ours = quick_jit(jax.vmap(lambda *args: derivatives(matmul, *args)))(*given)
    plain = quick_jit(jax.vmap(lambda *args: derivatives(jnp.matmul, *args)))(*given)
    assert_trees_close(ours, plain)


@pytest.mark.parametrize(
    ("shape", "special"), [((8, 3, 7), True), ((8, 7, 3), True), ((1, 1, MAX_TRANSPOSED_SIZE + 1), False)]
)
def test_small_products_alone_have_a_backward_pass_of_their_own(shape, special):
    x, weight, _, _, g = pieces(shape)
    backward = jax.make_jaxpr(lambda x, w: jax.vjp(matmul, x, w)[1](g))(x, weight)
    assert ("optimization_barrier" in str(backward)) == (special and jax.default_backend() == "cpu")
