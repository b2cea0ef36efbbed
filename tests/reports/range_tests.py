"""A range test with a known valley, for tests of charts and figures."""

import math

import numpy as np

from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import suggest

LRS = np.geomspace(1e-3, 1, 200)


def make_range_test(explode=math.inf, best=0.05, num_seeds=4, lrs=LRS):
    """A range test with a valley at ``best`` that explodes at a rate."""
    curve = 3 - np.exp(-0.5 * (np.log10(lrs / best) / 0.5) ** 2)
    noise = 0.03 * np.random.default_rng(0).standard_normal((num_seeds, len(lrs)))
    losses = np.where(lrs < explode, curve + noise, np.nan).astype(np.float32)
    return RangeTest("sweep", lrs, losses, np.full(num_seeds, 3.0), suggest(lrs, losses))


def refused_test(loss):
    """A range test of two seeds whose losses are all NaN or infinite: no suggestion."""
    losses = np.full((2, len(LRS)), loss, np.float32)
    return RangeTest("grid", LRS, losses, np.ones(2), suggest(LRS, losses))
