"""How often something came, as one of a few bins on a logarithmic scale. Imports no jax.

Bengio et al. (2003), section 3.1: the bin of a context is ceil(-log((1 + its count) / T)).
"""

import math

import numpy as np
from jaxtyping import Int64, Integer


def frequency_bins(counts: Integer[np.ndarray, " n"], total: int) -> Int64[np.ndarray, " n"]:
    """Return the bin of each count, of ``total`` predictions: 0 of the most frequent.

    >>> frequency_bins(np.array([100, 36, 1, 0]), 100).tolist()
    [0, 1, 4, 5]
    """
    return np.ceil(np.log(total) - np.log1p(counts)).astype(np.int64)


def num_bins(total: int) -> int:
    """Return how many bins there are; the last one is that of what never came."""
    return 1 + math.ceil(math.log(total))
