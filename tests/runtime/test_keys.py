import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.runtime.keys import as_key


def test_a_key_is_a_key_and_one_of_the_old_kind_the_same():
    key = jax.random.key(7)
    assert as_key(key, "key") is key
    keys = jax.random.split(key, 3)
    assert as_key(keys, "key") is keys
    assert as_key(jax.random.PRNGKey(7), "key") == key
    assert (as_key(jax.random.key_data(keys), "key") == keys).all()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (3, "the number 3"),
        (0.5, "the number 0.5"),
        (np.zeros(2), r"float64\[2\]"),
        (np.uint32(3), r"uint32\[\]"),
        (np.zeros(3, np.uint32), r"uint32\[3\]"),
        ("seed", "a str"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_key_is_told(value, what):
    with pytest.raises(InputError, match=f"^name is {what}; it should be a random key, as "):
        as_key(value, "name")
