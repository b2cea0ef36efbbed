"""The counted entries of the ladder: uniform, unigram, bigram, and the best of each other kind."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from mm_jax.config.base import InputError
from mm_jax.config.command_line import command_of
from mm_jax.config.models import InterpolatedConfig
from mm_jax.config.training import CountConfig
from mm_jax.data.dataset import Dataset
from mm_jax.data.file_summary import summarize_splits
from mm_jax.data.streaming import Stream
from mm_jax.experiments.counting import (
    SPARSE,
    count_splits,
    interpolated_baselines,
    model_config,
    model_params,
    order_to_count,
    save_counted,
    with_part_of_train,
)
from mm_jax.experiments.evaluation import first_samples, new_share
from mm_jax.experiments.ladder_record import Entry
from mm_jax.models.base import Model, Params, num_params
from mm_jax.models.baselines import Baseline, best, count_baselines
from mm_jax.models.ngram import ngram
from mm_jax.models.registry import build_model
from mm_jax.runs.writer import drop_results

UNIFORM = "uniform"
ORDERS = {"unigram": 1, "bigram": 2}
MAX_COUNTS = 2**26  # in a table of add-k: a file of 256 MB


def counted_entries(path: Path, names: Sequence[str], dataset: Dataset) -> Iterator[Entry]:
    """Yield the entries with these names; each but uniform has its run in ``path``/NAME."""
    begun = time.perf_counter()
    data, stream = dataset.config, Stream(dataset.config)
    summary = summarize_splits(stream)
    counts = count_splits(stream, summary, order_to_count("auto", "auto", len(summary.vocab)))
    baselines = list(count_baselines(counts.train, counts.dev))
    counting_seconds = time.perf_counter() - begun
    for name in names:
        begun = time.perf_counter()
        try:
            if name == InterpolatedConfig.name:
                counts = with_part_of_train(stream, summary, counts)
                baselines += interpolated_baselines(counts)
            baseline = choose(name, baselines, len(dataset.vocab))
            if name == UNIFORM:
                yield _uniform(baseline, dataset)
                continue
            config = CountConfig(data, model_config(baseline))
            params = model_params(baseline, counts.lower(baseline.order))
            model = build_model(config.model, len(dataset.vocab))
        except InputError as error:
            yield Entry(name, skipped=str(error))
            continue
        seconds, tokens = counting_seconds, dataset.splits.train.num_predictions
        if name == InterpolatedConfig.name:
            seconds += time.perf_counter() - begun
        entry = _counted(path / name, baseline, config, model, params, dataset)
        yield entry._replace(seconds=seconds, tokens_per_second=tokens / seconds)


def choose(name: str, baselines: Sequence[Baseline], vocab_size: int) -> Baseline:
    """Return the baseline of an entry. Raises InputError where there is none on these data.

    Tables of add-k, which are dense, have a moderate size.
    """
    has_dev = baselines[0].dev_loss is not None
    kind = name if name in (UNIFORM, *SPARSE) else "add-k"
    found = [each for each in baselines if each.kind == kind]
    if name in ORDERS:
        found = [each for each in found if each.order == ORDERS[name]]
        if found and (cells := vocab_size ** ORDERS[name]) > MAX_COUNTS:
            raise InputError(
                f"its table of {cells:,} counts is larger than {4 * MAX_COUNTS // 2**20} MB; "
                f"{' and '.join(SPARSE)} hold what occurs alone"
            )
    elif name == "add-k":
        if not has_dev:
            raise InputError("its k and its order are the best on dev, and no lines are held out")
        found = [each for each in found if vocab_size**each.order <= MAX_COUNTS]
    if not found:
        raise InputError("there are too many different n-grams")
    return best(found) if has_dev else found[-1]


def _uniform(baseline: Baseline, dataset: Dataset) -> Entry:
    model = ngram(len(dataset.vocab), 1)  # of which nothing was counted
    share = new_share(model, model.init(jax.random.key(0)), dataset)
    entry = Entry(UNIFORM, num_params=0, new_share=share)
    return _with_losses(entry, baseline)


def _counted(
    path: Path,
    baseline: Baseline,
    config: CountConfig,
    model: Model,
    params: Params,
    dataset: Dataset,
) -> Entry:
    """Write the run of a counted model; return its entry."""
    samples = first_samples(model, params, dataset.vocab, dataset.sample_shape)
    losses = {"train_loss": baseline.train_loss, "dev_loss": baseline.dev_loss}
    drop_results(path)  # where a run was not finished
    save_counted(path, config, dataset.record, dataset.vocab, losses, params, samples)
    entry = Entry(
        path.name,
        command=command_of(config),
        num_params=num_params(params),
        new_share=new_share(model, params, dataset),
        folder=path.name,
    )
    return _with_losses(entry, baseline)


def _with_losses(entry: Entry, baseline: Baseline) -> Entry:
    dev = () if baseline.dev_loss is None else (baseline.dev_loss,)
    return entry._replace(train_losses=(baseline.train_loss,), dev_losses=dev)
