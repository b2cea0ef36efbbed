"""The laws of models under the flags of JAX that people turn on to hunt a mistake.

jax_numpy_rank_promotion is "raise" in all tests, and so in all laws.
"""

import contextlib

import jax
import pytest

from tests.helpers import init_of
from tests.models import test_laws as laws

pytestmark = pytest.mark.slow
FLAGS = {
    "jax_debug_nans": lambda: jax.debug_nans(True),
    "jax_debug_infs": lambda: jax.debug_infs(True),
    "jax_enable_x64": lambda: jax.enable_x64(True),
    "jax_check_tracer_leaks": jax.checking_leaks,
}
# Of two forms of one model one is enough. Laws that take long and compute nothing new are left out.
FORMS = {*laws.VARIANTS, "microgpt", "rnn", "lstm"}
FORMS |= {name for name in laws.ALL if "by probability" in name}
NAMES = [name for name in laws.ALL if name not in FORMS]
LEFT_OUT = (
    *(laws.law_of_overfitting, laws.law_of_causality, laws.law_of_the_latest_token),
    *(laws.law_of_leading_axes, laws.law_of_what_is_inside),
)
LAWS = [law for law in (*laws.READING, *laws.LEARNING) if law not in LEFT_OUT]


@pytest.fixture(params=FLAGS)
def _flag(request):
    with contextlib.ExitStack() as stack:
        stack.callback(jax.clear_caches)
        stack.enter_context(FLAGS[request.param]())
        for cached in (laws.changed_at, init_of):
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        yield


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("_flag")
def test_the_laws_hold(name):
    for law in LAWS:
        if law in laws.READING or name in laws.TRAINABLE:
            law(laws.ALL[name])
