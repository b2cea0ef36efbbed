"""Several runs -> one run that mixes them: what cannot be mixed, and the directory.

Its directory holds the parameters of all of them, so that it needs none of the others.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mm_jax.config.base import InputError, flag
from mm_jax.config.models import MixtureConfig
from mm_jax.config.training import MixConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.samples import to_text
from mm_jax.experiments.evaluation import EvalResult, evaluate_and_sample
from mm_jax.models.base import Model, Params
from mm_jax.models.good_turing import good_turing
from mm_jax.models.mixture import Kind, mixture, mixture_params
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.reader import Run
from mm_jax.runs.writer import append_metrics, save_results, write_metadata
from mm_jax.runtime.environment import fingerprint
from mm_jax.training.item_repeats import GoodTuringFit, fit_good_turing

SAME = (
    *("unit", "lower", "merge_numbers", "sentence_ends"),
    *("items", "column", "weights", "block", "split", "split_seed"),
)


def leading(runs: Sequence[Run]) -> Run:
    """Return the run whose data the mixture reads: the first of a model of rows, if there is one.

    Models of windows read a document in whichever blocks these were trained on.
    """
    return next((run for run in runs if run.model.context is None), runs[0])


def differences(first: Run, other: Run) -> Iterator[str]:
    """Yield how the data of two runs differ: what was read, how it was split, into which tokens."""
    before, now = first.config.data, other.config.data
    for name in SAME:
        if name == "block" and other.model.context is not None:
            continue
        if getattr(before, name) != getattr(now, name):
            yield f"{flag(name)} {getattr(now, name)}, not {getattr(before, name)}"
    if first.data["sha256"] != other.data["sha256"]:
        yield f"other data: {now.data}, not {before.data}"
    symbols, others = set(first.vocab.symbols), set(other.vocab.symbols)
    if first.vocab.symbols != other.vocab.symbols:
        extra = sorted(others - symbols) or sorted(symbols - others)
        yield (
            f"another vocabulary: {len(others):,} symbols, not {len(symbols):,}"
            + (f"; only one of them has {extra[0]!r}" if extra else "")
        )


def check_mixable(runs: Sequence[Run]) -> None:
    """Raise InputError, saying what differs, where runs were not made of the same data."""
    first = leading(runs)
    for run in runs:
        found = list(differences(first, run))
        if found:
            raise InputError(f"{run.path} cannot be mixed with {first.path}: {'; '.join(found)}")


def mixture_of(runs: Sequence[Run], kind: Kind) -> Model:
    """Return the mixture of the models of runs."""
    return mixture(tuple(run.model for run in runs), kind)


def with_weights(runs: Sequence[Run], weights: Sequence[float]) -> Params:
    """Return the parameters of the mixture of runs with these weights."""
    return mixture_params(weights, [run.params for run in runs])


def heed_repeats(
    model: Model, params: Params, choices: MixtureConfig, dataset: Dataset
) -> tuple[Model, Params, GoodTuringFit | None]:
    """Return a mixture with Good-Turing for the items of train, where that is chosen."""
    if not choices.good_turing:
        return model, params, None
    fit = fit_good_turing(model, params, dataset.splits.train)
    return good_turing(model), fit.params, fit


def save_mixture(
    path: Path, config: MixConfig, model: Model, params: Params, dataset: Dataset
) -> EvalResult:
    """Write the run directory of a mixture, evaluated and sampled from; return what it reaches."""
    result = evaluate_and_sample(model, params, dataset)
    metadata = RunMetadata(config, dataset.vocab.symbols, dataset.record, None, fingerprint())
    write_metadata(path, metadata)
    append_metrics(path, [{"train_loss": result.train_loss, "dev_loss": result.dev_loss}])
    save_results(path, params, to_text(result.samples, config.data))
    return result
