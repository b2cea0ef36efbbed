import math
import random

import numpy as np
import pytest

from mm_jax.experiments.statistics import spread_of


@pytest.mark.parametrize(  # two-sided 95% quantiles of Student's t, from any table of it
    ("num", "quantile"), [(2, 12.706), (3, 4.303), (8, 2.365), (16, 2.131)]
)
def test_the_interval_is_students(num, quantile):
    losses = [random.Random(num).gauss(2, 0.1) for _ in range(num)]
    mean, half = spread_of(losses)
    assert mean == pytest.approx(np.mean(losses), rel=1e-12)
    assert half == pytest.approx(quantile * np.std(losses, ddof=1) / num**0.5, rel=1e-4)


def test_one_loss_has_no_interval_and_one_that_diverged_no_mean():
    assert spread_of([2.0]) == (2.0, None)
    assert spread_of([2.0, math.nan]) == (math.inf, None)
