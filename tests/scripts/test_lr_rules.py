"""The rules of others against curves whose answer is known, and ours on bowls with a best rate."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mm_jax.config.training import LRRangeConfig
from tests.helpers import ROOT, assert_trees_close


@pytest.fixture(scope="module")
def rules():
    spec = importlib.util.spec_from_file_location("lr_rules", ROOT / "scripts" / "lr_rules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bowls_closed_form_is_what_its_formula_does_on_average(rules):
    """The model, its gradient and the expected losses against a simulation in float64."""
    drawn = rules.draw(0)
    model, data = rules.bowl(), rules.data()
    x = np.random.default_rng(0).standard_normal(rules.SIZE)
    params = {"x": x, "h": drawn.h, "noise": np.array([drawn.noise])}
    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}

    def mean(params, tokens):
        logits = model.apply(params, tokens)
        targets = jnp.zeros(logits.shape[:-1], int)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    loss, grads = jax.jit(jax.value_and_grad(mean))(params, data.tokens)
    expected = 1 + (drawn.h * (x**2 + drawn.noise**2)).sum() / 2  # e has mean 0 and variance 1
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert_trees_close(grads["x"], jnp.asarray(drawn.h * x, jnp.float32))
    assert not grads["h"].any()
    assert not grads["noise"].any()

    generator = np.random.default_rng(1)
    rates, num, steps = np.array([0.02, 0.2]), 4000, 30
    simulated = []
    for rate in rates:
        x = generator.standard_normal((num, rules.SIZE))
        for _ in range(steps):
            e = generator.standard_normal((num, rules.SIZE)) / math.sqrt(rules.BATCH)
            x = x - rate * drawn.h * (x - drawn.noise * e)
        simulated.append(1 + (drawn.h * (x**2 + drawn.noise**2)).sum(1).mean() / 2)
    closed = rules.expected_losses(drawn, rates, np.array([steps]))[:, 0]
    np.testing.assert_allclose(closed, simulated, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        LRRangeConfig("sweep", min=1e-4, max=1e2, seeds=16),
        LRRangeConfig("grid", min=1e-4, max=1e2, seeds=4, steps=200),
    ],
    ids=lambda config: config.mode,
)
def test_the_suggestion_is_within_a_factor_of_two_in_95_percent(rules, config, monkeypatch):
    monkeypatch.setattr(rules, "PEERS", {})
    num = 20 if config.mode == "sweep" else 10
    ratios = next(iter(rules.measure(config, num).values()))
    near = [ratio is not None and 0.5 <= ratio <= 2 for ratio in ratios]
    assert len(near) == num
    assert sum(near) >= 0.95 * num


def test_the_peers_rules_do_what_their_documentation_says(rules, monkeypatch):
    monkeypatch.setattr(rules, "moving_average", lambda lrs, losses: (lrs, losses))
    lrs = np.geomspace(1e-4, 1, 400)
    x = np.log10(lrs)
    falls = 3 - 1 / (1 + np.exp(-8 * (x + 2)))  # steepest in log rate at 0.01
    assert rules.fastai_steep(lrs, falls) == pytest.approx(0.01, rel=0.05)
    # d loss / d rate is steepest where the falling logistic in x, over the rate, is: left of it
    assert rules.lightning(lrs, falls) < 0.01
    assert rules.lightning(lrs, falls, over_rate=False) == pytest.approx(0.01, rel=0.05)
    bowl = np.abs(x + 1)  # falls from the first rate looked at, place 40, to place 300
    assert rules.fastai_valley(lrs, bowl) == pytest.approx(lrs[40 + 260 // 2], rel=0.05)
