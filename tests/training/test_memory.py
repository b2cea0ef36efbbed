"""How large arrays grow with each example, from shapes alone."""

import jax
import jax.numpy as jnp
import pytest

from mm_jax.data.batches import rows, windows
from mm_jax.data.corpus import encode_corpus
from mm_jax.data.examples import examples_of
from mm_jax.data.vocab import Vocab
from mm_jax.models.mlp import mlp
from mm_jax.models.recurrent import gru
from mm_jax.models.transformer import transformer
from mm_jax.training.memory import intermediates, numbers_per_example

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))
CORPUS = encode_corpus(["emma", "isabella", "ava"], LETTERS)  # rows of 9 tokens
LONG = {"layers": 1, "embed_dim": 4, "heads": 2}


@pytest.mark.parametrize(
    ("model", "examples", "expected"),
    [
        (mlp(27, 3, 4, 5), examples_of(CORPUS, 3), 27),  # logits
        (mlp(27, 3, 4, 50), examples_of(CORPUS, 3), 50),  # units
        (gru(500, embed_dim=4, hidden_dim=3), rows(CORPUS), 9 * 500),  # not the table of symbols
        (transformer(27, 100, **LONG), examples_of(CORPUS, None, 100), 2 * 100 * 100),  # attention
        (transformer(27, 9, **LONG), rows(CORPUS), 9 * 27),
    ],
)
def test_the_largest_array_is_found(model, examples, expected):
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert numbers_per_example(model, params, examples) == expected


def test_arrays_of_inner_programs_are_counted_too():
    def program(x):
        return jax.lax.scan(lambda c, y: (c + jnp.outer(y, y), 2 * y), jnp.zeros((3, 3)), x)

    jaxpr = jax.make_jaxpr(program)(jnp.ones((7, 3)))
    sizes = {array.size for array in intermediates(jaxpr.jaxpr)}
    assert {9, 21} <= sizes


def test_windows_of_a_batch_are_examples_too():
    model = mlp(27, 3, 4, 5)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert numbers_per_example(model, params, windows(CORPUS, context=3)) == 27
