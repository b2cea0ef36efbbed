"""Small language models as pure JAX functions.

Imports go up this list of packages only: config, runtime, data, models, training, runs, population,
experiments, reports, bench and lectures, cli. Every public name is imported when it is first used,
so that ``import mm_jax`` costs nothing.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    "config.base": ["InputError"],
    "config.training": [
        "CountConfig",
        "DataConfig",
        "LRRangeConfig",
        "MLPConfig",
        "OptimizerConfig",
        "RunConfig",
    ],
    "config.presets": ["PRESETS"],
    "data.text": ["overlap", "read_lines", "split_lines"],
    "data.vocab": ["Vocab", "build_vocab", "decode", "decode_lines", "encode", "encode_lines"],
    "data.ngram_counts": ["count_ngrams"],
    "data.batches": ["Batch", "distinct", "rows", "windows"],
    "models.base": ["Model", "Params", "num_params", "scanned", "windowed"],
    "models.registry": ["MODELS", "build_model"],
    "models.ngram": ["examples", "fit_ngram", "log_probs", "ngram", "probs"],
    "models.kneser_ney": ["fit_kneser_ney", "kneser_ney"],
    "models.bigram": ["bigram"],
    "models.mlp": ["mlp"],
    "training.loss": ["loss", "mean_square", "nats"],
    "training.step": [
        "NotFiniteError",
        "TrainState",
        "fit",
        "fit_chunks",
        "init_state",
        "train_step",
    ],
    "training.diagnostics": ["look_inside"],
    "experiments.lr_suggestion": ["suggest"],
    "models.sampling": ["sample"],
    "runtime.mesh": ["make_mesh", "place"],
    "population.vmapped": ["ensemble"],
    "experiments.lr_range": [
        "find_learning_rate",
        "lr_range_test",
        "make_optimizer",
        "make_schedule",
        "step_decay",
        "warmup_cosine",
    ],
    "training.evaluate": ["evaluate"],
    "runs.reader": ["load_run"],
}
_MODULES = ["population"]  # public as they are: mm.population.fit, where mm.fit is another
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted([*_HOME, *_MODULES])


class _Package(types.ModuleType):
    """A package in which ``mm_jax.sample`` is the function, not the module of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import of a submodule ends with this call; a public name keeps its own meaning.
        if isinstance(value, types.ModuleType) and name in _HOME:
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package

if TYPE_CHECKING:
    from mm_jax import population as population
    from mm_jax.config.base import InputError as InputError
    from mm_jax.config.presets import PRESETS as PRESETS
    from mm_jax.config.training import CountConfig as CountConfig
    from mm_jax.config.training import DataConfig as DataConfig
    from mm_jax.config.training import LRRangeConfig as LRRangeConfig
    from mm_jax.config.training import MLPConfig as MLPConfig
    from mm_jax.config.training import OptimizerConfig as OptimizerConfig
    from mm_jax.config.training import RunConfig as RunConfig
    from mm_jax.data.batches import Batch as Batch
    from mm_jax.data.batches import distinct as distinct
    from mm_jax.data.batches import rows as rows
    from mm_jax.data.batches import windows as windows
    from mm_jax.data.ngram_counts import count_ngrams as count_ngrams
    from mm_jax.data.text import overlap as overlap
    from mm_jax.data.text import read_lines as read_lines
    from mm_jax.data.text import split_lines as split_lines
    from mm_jax.data.vocab import Vocab as Vocab
    from mm_jax.data.vocab import build_vocab as build_vocab
    from mm_jax.data.vocab import decode as decode
    from mm_jax.data.vocab import decode_lines as decode_lines
    from mm_jax.data.vocab import encode as encode
    from mm_jax.data.vocab import encode_lines as encode_lines
    from mm_jax.experiments.lr_range import find_learning_rate as find_learning_rate
    from mm_jax.experiments.lr_range import lr_range_test as lr_range_test
    from mm_jax.experiments.lr_range import make_optimizer as make_optimizer
    from mm_jax.experiments.lr_range import make_schedule as make_schedule
    from mm_jax.experiments.lr_range import step_decay as step_decay
    from mm_jax.experiments.lr_range import warmup_cosine as warmup_cosine
    from mm_jax.experiments.lr_suggestion import suggest as suggest
    from mm_jax.models.base import Model as Model
    from mm_jax.models.base import Params as Params
    from mm_jax.models.base import num_params as num_params
    from mm_jax.models.base import scanned as scanned
    from mm_jax.models.base import windowed as windowed
    from mm_jax.models.bigram import bigram as bigram
    from mm_jax.models.kneser_ney import fit_kneser_ney as fit_kneser_ney
    from mm_jax.models.kneser_ney import kneser_ney as kneser_ney
    from mm_jax.models.mlp import mlp as mlp
    from mm_jax.models.ngram import examples as examples
    from mm_jax.models.ngram import fit_ngram as fit_ngram
    from mm_jax.models.ngram import log_probs as log_probs
    from mm_jax.models.ngram import ngram as ngram
    from mm_jax.models.ngram import probs as probs
    from mm_jax.models.registry import MODELS as MODELS
    from mm_jax.models.registry import build_model as build_model
    from mm_jax.models.sampling import sample as sample
    from mm_jax.population.vmapped import ensemble as ensemble
    from mm_jax.runs.reader import load_run as load_run
    from mm_jax.runtime.mesh import make_mesh as make_mesh
    from mm_jax.runtime.mesh import place as place
    from mm_jax.training.diagnostics import look_inside as look_inside
    from mm_jax.training.evaluate import evaluate as evaluate
    from mm_jax.training.loss import loss as loss
    from mm_jax.training.loss import mean_square as mean_square
    from mm_jax.training.loss import nats as nats
    from mm_jax.training.step import NotFiniteError as NotFiniteError
    from mm_jax.training.step import TrainState as TrainState
    from mm_jax.training.step import fit as fit
    from mm_jax.training.step import fit_chunks as fit_chunks
    from mm_jax.training.step import init_state as init_state
    from mm_jax.training.step import train_step as train_step
