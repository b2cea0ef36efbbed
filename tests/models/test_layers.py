import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.models.layers import MAX_TRANSPOSED_SIZE, dense, dropout, embed, matmul
from tests.helpers import V, as64, assert_trees_close, quick_jit

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
    ("shape", "special"),
    [((8, 3, 7), True), ((8, 7, 3), True), ((1, 1, MAX_TRANSPOSED_SIZE + 1), False)],
)
def test_small_products_alone_have_a_backward_pass_of_their_own(shape, special):
    x, weight, _, _, g = pieces(shape)
    backward = jax.make_jaxpr(lambda x, w: jax.vjp(matmul, x, w)[1](g))(x, weight)
    assert ("optimization_barrier" in str(backward)) == (special and jax.default_backend() == "cpu")


def test_the_embedding_is_the_product_with_one_hot_rows_in_values_and_gradients():
    draw = np.random.default_rng(0).standard_normal
    table, direction = draw((V, 2), np.float32), draw((2, 3, 2), np.float32)
    tokens = np.array([[5, 13, 13], [1, 0, 5]], np.int32)

    def product(table, tokens):
        return jnp.einsum("ntv,vd->ntd", jax.nn.one_hot(tokens, V), table)

    def value_and_gradient(function):
        values, pull = jax.vjp(lambda table: function(table, jnp.asarray(tokens)), table)
        return values, pull(direction)

    one, other = quick_jit(lambda: [value_and_gradient(f) for f in (embed, product)])()
    assert_trees_close(one, other)


def test_dense_is_the_matrix_product_whatever_the_leading_axes():
    draw = np.random.default_rng(0).standard_normal
    weight, bias = draw((4, 6), np.float32), draw(6, np.float32)
    for leading in (), (5,), (2, 3), (2, 1, 3):
        x = draw((*leading, 4), np.float32)
        expected = as64(x) @ as64(weight) + as64(bias)
        assert_trees_close(np.asarray(quick_jit(dense)(x, weight, bias)), expected)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.99])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    x = jnp.ones((100, 1003))  # no multiple of the four that a random word decides for
    y = np.asarray(quick_jit(dropout, static_argnums=2)(jax.random.key(0), x, rate))
    share = round(256 * rate) / 256
    sigma = (share * (1 - share) / x.size) ** 0.5
    assert abs((y == 0).mean() - share) < 5 * sigma
    kept = y[y != 0]
    np.testing.assert_allclose(kept, 1 / (1 - share), rtol=1e-6)
    assert abs(y.mean() - 1) < 5 * sigma / (1 - share)


def test_what_is_dropped_does_not_hang_together():
    """Neighbours, along both axes, are dropped together as often as chance says."""
    y = np.asarray(dropout(jax.random.key(1), jnp.ones((512, 512)), 0.5)) == 0
    for a, b in ((y[1:], y[:-1]), (y[:, 1:], y[:, :-1]), (y[:, 4:], y[:, :-4])):
        assert abs((a & b).mean() - 0.25) < 5 * (0.25 * 0.75 / a.size) ** 0.5
