"""Named runs: the lectures' own, and what beats them, with the command that found each.

Imports no jax.
"""

from typing import NamedTuple

from mm_jax.config import BigramConfig, MLPConfig, OptimizerConfig, RunConfig


class Preset(NamedTuple):
    """A named run: what it is for, and its choices."""

    help: str
    config: RunConfig


PRESETS = {
    "lecture": Preset("the last MLP of the second makemore lecture; the default", RunConfig()),
    "bigram": Preset(
        "the net of the first lecture: all bigrams at every step, at a rate of 50",
        RunConfig(
            model=BigramConfig(),
            optimizer=OptimizerConfig(learning_rate=50.0, schedule="constant"),
            steps=200,
            full_batch=True,
        ),
    ),
    "modern": Preset(
        "fewer parameters and a lower loss: scaled init, adamw, cosine",
        RunConfig(
            model=MLPConfig(context=6, embed_dim=6, hidden_dim=150, init="scaled"),
            optimizer=OptimizerConfig(
                optimizer="adamw", learning_rate=4e-3, schedule="cosine", warmup_steps=500
            ),
            steps=80_000,
            batch_size=128,
        ),
    ),
}
