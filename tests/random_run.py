"""Small runs of every net, with random numbers for all parameters: none is at 0 or 1, as at first.

A page that forgets a bias or a scale does not agree with them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mm_jax.config.models import TRAINED
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.models.ensemble import ensemble
from mm_jax.models.registry import build_model
from mm_jax.runs.reader import Run

SIZES = {"embed_dim": 8, "hidden_dim": 12, "layers": 1, "heads": 2, "positions": 24}


def small(name, **choices):
    """The config of a small net of this name."""
    fields = {field.name for field in dataclasses.fields(TRAINED[name])}
    sizes = {field: size for field, size in SIZES.items() if field in fields}
    return TRAINED[name](**sizes | choices)


NETS = {name: small(name) for name in TRAINED} | {
    "mlp of two layers": small("mlp", layers=2, norm="layer"),
    "wavenet without norm": small("wavenet", norm="none"),
    "rnn of two layers": small("rnn", layers=2),
    "gru of two layers": small("gru", layers=2),
    "lstm of two layers": small("lstm", layers=2),
    "transformer of two layers": small("transformer", layers=2),
    "microgpt": small("transformer", norm="rms", activation="relu", bias="no", tied="no"),
    "transformer of scales": small("transformer", bias="no", tied="no"),
    "transformer of rms norms": small("transformer", layers=2, norm="rms"),
}
ENSEMBLES = {"three lstms": small("lstm"), "three microgpts": NETS["microgpt"]}


def random_run(path, data, config, seeds=1):
    """A run that was never written, with such a net, or an ensemble of as many as ``seeds``."""
    dataset = load_dataset(data)
    model = build_model(config, len(dataset.vocab))
    if seeds > 1:
        model = ensemble(model, seeds)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))

    def draw(place, leaf):
        # With a head of its own the embedding can be as small as GPT-2's: an epsilon then matters.
        is_small = place[0].key in ("wte", "wpe") and "head" in shapes
        return jnp.asarray((0.02 if is_small else 0.5) * rng.normal(size=leaf.shape), leaf.dtype)

    params = jax.tree.map_with_path(draw, shapes)
    run_config = RunConfig(data=data, model=config, seeds=seeds)
    return Run(path, run_config, dataset.vocab, model, params, dataset.record)
