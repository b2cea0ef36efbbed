"""Figures, by matplotlib: each function takes results and returns a Figure; ``save`` writes it.

style.py has their style. Nothing here is imported before a figure is drawn.
"""

from mm_jax.reports.plots.curves import losses, ratios, training
from mm_jax.reports.plots.embeddings import (
    MAX_NEIGHBOUR_ROWS,
    embedding,
    embedding_text,
    neighbours,
    spread,
)
from mm_jax.reports.plots.histograms import activations, gradients
from mm_jax.reports.plots.inside import attention, gates
from mm_jax.reports.plots.ladder import ladder
from mm_jax.reports.plots.searches import choices, lr_range
from mm_jax.reports.plots.style import check_path, save, to_page
from mm_jax.reports.plots.symbols import (
    bigram_table,
    difference_table,
    one_hot,
    probability_table,
    samples,
)

__all__ = [
    "MAX_NEIGHBOUR_ROWS",
    "activations",
    "attention",
    "bigram_table",
    "check_path",
    "choices",
    "difference_table",
    "embedding",
    "embedding_text",
    "gates",
    "gradients",
    "ladder",
    "losses",
    "lr_range",
    "neighbours",
    "one_hot",
    "probability_table",
    "ratios",
    "samples",
    "save",
    "spread",
    "to_page",
    "training",
]
