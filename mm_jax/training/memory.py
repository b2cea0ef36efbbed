"""How large the arrays are that a program makes on its way: found by tracing, without computing."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from mm_jax.data.batches import Batch
from mm_jax.data.examples import is_on_host
from mm_jax.models.base import Model, Params
from mm_jax.training.loss import nats


def intermediates(jaxpr: Any) -> Iterator[Any]:
    """Yield the shape and dtype of each array that a program computes."""
    for equation in jaxpr.eqns:
        yield from (var.aval for var in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from intermediates(inner)


def numbers_per_example(model: Model, params: Params, examples: Any) -> int:
    """Return how much the largest array of a loss grows with each example, in numbers.

    That is the logits of a large alphabet, or the attention of a long row.
    """
    if is_on_host(examples):
        example = examples.take(np.zeros(1, np.int64))
    else:
        example = jax.eval_shape(examples.take, jnp.arange(1))
    leaves, structure = jax.tree.flatten((params, example))
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return _numbers_per_example(model, structure, shapes)


@lru_cache(maxsize=1024)
def _numbers_per_example(model: Model, structure: Any, shapes: tuple[Any, ...]) -> int:
    leaves = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    params, example = jax.tree.unflatten(structure, leaves)

    def sizes(count: int) -> list[int]:
        def several(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype)

        batch: Batch = jax.tree.map(several, example)
        jaxpr = jax.make_jaxpr(lambda params, batch: nats(model, params, batch))(params, batch)
        return [array.size for array in intermediates(jaxpr.jaxpr)]

    # Arrays of the parameters alone do not grow. One example alone may be computed in another way.
    pairs = zip(sizes(3), sizes(2), strict=False)
    return max([1, *(more - fewer for more, fewer in pairs)])
