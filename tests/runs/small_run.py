"""A run that was never trained, for the tests of what reads and writes one."""

import functools

import jax

from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.training import RunConfig
from mm_jax.data.samples import Samples, to_text
from mm_jax.data.vocab import build_vocab
from mm_jax.models.registry import build_model
from mm_jax.runs import writer
from mm_jax.runs.layout import RunMetadata

CONFIG = RunConfig(model=MLPConfig(context=2, embed_dim=2, hidden_dim=3), steps=5)
VOCAB = build_vocab(["emma", "жé"])
DATA = {"path": "some.txt", "sha256": "0" * 64}
SAMPLES = Samples(["emma", "", "жé"], [False, False, True], 64)


@functools.cache
def random_params(seed=3):
    return build_model(CONFIG.model, len(VOCAB)).init(jax.random.key(seed))


def make_run(path):
    """Write the run; return its parameters."""
    writer.write_metadata(path, RunMetadata(CONFIG, VOCAB.symbols, DATA))
    writer.append_metrics(path, [{"step": 1, "loss": 2.5}])
    writer.save_results(path, random_params(), to_text(SAMPLES, DataConfig()))
    return random_params()
