"""Lines of diagnostics: how often, and of which step."""

import jax
import numpy as np
import pytest

from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.experiments.run_diagnostics import diagnostics_line
from mm_jax.models.mlp import mlp
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from mm_jax.training.step import fit
from tests.helpers import FIVE_NAMES, V

BATCH = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 3)
MODEL = mlp(V, 3, 4, 20)
SGD = make_optimizer(OptimizerConfig(learning_rate=0.5, schedule="constant"), 10)


@pytest.mark.parametrize("batch_size", [4, None])
def test_a_line_is_of_the_step_to_come_with_its_own_minibatch(batch_size):
    state = init_state(MODEL, SGD, jax.random.key(0))
    state, _ = fit(MODEL, SGD, state, BATCH, num_steps=3, batch_size=batch_size)
    line = diagnostics_line(MODEL, SGD, state, BATCH, batch_size)
    after, _ = fit(MODEL, SGD, state, BATCH, num_steps=1, batch_size=batch_size)
    assert line["step"] == 3
    for name, leaf in state.params.items():
        update = np.asarray(after.params[name], np.float64) - np.asarray(leaf)
        ratio = update.std() / np.asarray(leaf).std()
        assert line["update_to_data"][name] == pytest.approx(ratio, rel=1e-2), name
    assert 0 < line["saturated"]["h"] < 1
