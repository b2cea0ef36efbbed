"""mm-jax count: count the n-grams of a file, the baseline for every trained model."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mm_jax.cli.common import Outcome, describe_units, with_absolute_path
from mm_jax.cli.describe_data import describe_file, note_data, show_samples
from mm_jax.config.base import MAX_FLOAT, Between, Choices, InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import COUNTED, NgramConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import CountConfig
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import LARGE_FILE_BYTES

if TYPE_CHECKING:
    from mm_jax.data.file_summary import FileSummary
    from mm_jax.data.samples import Samples
    from mm_jax.experiments.counting import CountResult, Order, Smoothing
    from mm_jax.experiments.loss_units import LossUnits
    from mm_jax.models.base import Params


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Count the n-grams of a file of lines: the losses on train and dev, and the best baselines.

    The file is read in pieces, so it may be large. The test split is not used: keep the model with
    --out, then mm-jax eval RUN --split-name test.
    """

    data: Annotated[DataConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=DataConfig
    )
    model: Literal["ngram", "kneser-ney", "interpolated"] = "ngram"
    """ngram: counts with --smoothing; kneser-ney: subtract discounts and mix in the lower orders;
    interpolated: mix the estimates of all orders, weighted by how often the context came."""
    order: Annotated[
        Annotated[int, Between(1, 30)] | Literal["auto"] | None, tyro.conf.arg(metavar="N|auto")
    ] = None
    """Symbols in an n-gram, 2 for bigrams, by default what is usual for the --model: 2, of
    kneser-ney 6, of interpolated 3; auto: the order with the lowest loss on dev."""
    smoothing: Annotated[
        Annotated[float, Between(0, MAX_FLOAT)] | Literal["auto", "kneser-ney"],
        tyro.conf.arg(metavar="K|auto|kneser-ney"),
    ] = NgramConfig.smoothing
    """Add K to every count, 0 for maximum likelihood; auto: the K with the lowest loss on dev.
    kneser-ney is --model kneser-ney, with the order 2. --order auto --smoothing auto takes the
    model with the lowest loss on dev of all that are listed."""
    out: str | None = None
    """Keep the model in this run directory, for sample, eval and score."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Count, compare with the baselines, sample, and write a run directory if one is named."""
    from mm_jax.data.file_summary import summarize_splits
    from mm_jax.data.streaming import Stream
    from mm_jax.experiments import counting
    from mm_jax.models.base import num_params
    from mm_jax.runs import writer

    started = time.perf_counter()
    data = with_absolute_path(options.data)
    path = None if options.out is None else writer.choose_dir(options.out, "count")
    order, smoothing = request_of(options)
    counting.check_request(order, smoothing, data.split)
    stream = Stream(data)
    if stream.num_bytes > LARGE_FILE_BYTES:
        times = "three times" if data.unit == "word" else "twice"
        console.note(f"reading {stream.num_bytes / 1e6:,.0f} MB, {times}")
    summary = summarize_splits(stream)
    note_data(summary.info, console)
    keeps = path is not None
    highest = counting.order_to_count(order, smoothing, len(summary.vocab), needs_params=keeps)
    counts = counting.count_splits(stream, summary, highest)
    print_file(data, summary, console)
    if (counted := counts.train.order) < highest:
        console.say(f"           too many different n-grams to count beyond order {counted}")
    result = counting.choose_model(stream, summary, counts, order, smoothing, needs_params=keeps)
    config = CountConfig(data, counting.model_config(result.chosen))
    record = {"command": "count", "config": to_dict(config), **result_record(summary, result)}
    print_result(result, record, console, chosen_by(options))
    if summary.info.totals is not None:
        split = "train" if result.chosen.dev_loss is None else "dev"
        for line in describe_units(model_units(summary, result), split):
            console.say(line)
    record |= {"num_params": None, "samples": None, "num_cut": None, "run_dir": None}
    try:
        params = counting.model_params(result.chosen, result.counts)
        samples = sample_lines(config, summary, params)
    except InputError as error:
        if path is not None:
            raise
        console.note(f"no samples: {error}")
    else:
        if path is not None:
            path = save_run(path, options, config, summary, result, params, samples)
            record["run_dir"] = str(path)
        print_samples(path, samples, console)
        record |= {"samples": samples.texts, "num_cut": sum(samples.cut)}
        record["num_params"] = num_params(params)
    record["seconds"] = time.perf_counter() - started
    return Outcome(record)


def request_of(options: Options) -> "tuple[Order, Smoothing]":
    """Return the order and the smoothing that are asked for, as experiments/counting.py has them.

    Raises InputError for a smoothing beside a model that has none.
    """
    order = options.order or COUNTED[options.model].order
    if options.model == "ngram":
        return order, options.smoothing
    if options.smoothing not in (NgramConfig.smoothing, options.model):
        raise InputError(
            f"--smoothing {options.smoothing} is for --model ngram, not --model {options.model}"
        )
    return order, options.model


def chosen_by(options: Options) -> str:
    """Return how the model was chosen, where that was not by its order and smoothing."""
    names = [name for name in ("order", "smoothing") if getattr(options, name) == "auto"]
    flags = " ".join(f"--{name} auto" for name in names)
    return f", the lowest on dev ({flags})" if names else ""


def print_file(data: DataConfig, summary: "FileSummary", console: Console) -> None:
    """Print what was read and how it is split."""
    counts = summary.split_tokens if summary.info.is_document else summary.split_lines
    for line in describe_file(data, summary.info, counts, summary.dev_lines_in_train):
        console.say(line)


def model_losses(result: "CountResult") -> dict[str, float | None]:
    """Return the losses of the chosen model, as metrics.jsonl and --json have them."""
    return {"train_loss": result.chosen.train_loss, "dev_loss": result.chosen.dev_loss}


def model_units(summary: "FileSummary", result: "CountResult") -> "LossUnits":
    """Return the loss of the chosen model on dev in other units, or on train without dev."""
    from mm_jax.experiments.loss_units import loss_units

    chosen, totals = result.chosen, summary.info.totals or (None, None)
    if chosen.dev_loss is None:
        return loss_units(chosen.train_loss, totals[0])
    return loss_units(chosen.dev_loss, totals[1])


def result_record(summary: "FileSummary", result: "CountResult") -> dict[str, Any]:
    """Return what --json has of the file, the counts, the baselines and the chosen model."""
    from mm_jax.experiments.counting import impossible_in_dev
    from mm_jax.models.baselines import reference_losses
    from mm_jax.reports.text_tables import NUM_EXTREMES, extremes

    (train, dev, _), chosen = result.counts, result.chosen
    most_frequent, least_frequent = extremes(train, summary.vocab)
    impossible = impossible_in_dev(result, summary.vocab)
    return {
        "vocab_size": len(summary.vocab),
        "num_lines": summary.info.num_items,
        "split_lines": summary.split_lines,
        "dev_lines_in_train": summary.dev_lines_in_train,
        "num_examples": train.total,
        "num_distinct": len(train.keys),
        **model_losses(result),
        **model_units(summary, result).record,
        "loss": chosen.train_loss if dev is None else chosen.dev_loss,
        "floors": reference_losses(result.baselines),
        "rungs": [baseline._asdict() for baseline in result.baselines],
        "most_frequent": most_frequent,
        "least_frequent": least_frequent,
        "impossible": impossible[:NUM_EXTREMES],
        "num_impossible": len(impossible),
    }


def print_result(
    result: "CountResult", record: dict[str, Any], console: Console, why_chosen: str
) -> None:
    """Print the losses, the n-grams, and why the loss on dev is infinite where it is."""
    from mm_jax.reports.text_tables import loss_table, ngram_table

    most_frequent, least_frequent = record["most_frequent"], record["least_frequent"]
    for line in (
        *(*loss_table(result.baselines, result.chosen, why_chosen), ""),
        *(*ngram_table(result.counts.train, most_frequent, least_frequent), ""),
    ):
        console.say(line)
    if record["impossible"]:
        ngram, count = record["impossible"][0]
        console.say(
            f"The loss on dev is infinite: {record['num_impossible']:,} n-grams of dev do not "
            f"occur in train, the most frequent is {ngram!r}, {count:,} in dev; --smoothing 1 "
            "gives each some probability."
        )


def sample_lines(config: CountConfig, summary: "FileSummary", params: "Params") -> "Samples":
    """Return the first lines that the model makes with seed 0."""
    from mm_jax.data.samples import sample_shape
    from mm_jax.experiments.evaluation import first_samples
    from mm_jax.models.registry import build_model

    model = build_model(config.model, len(summary.vocab))
    shape = sample_shape(config.data.items, summary.longest)
    return first_samples(model, params, summary.vocab, shape)


def save_run(
    path: Path,
    options: Options,
    config: CountConfig,
    summary: "FileSummary",
    result: "CountResult",
    params: "Params",
    samples: "Samples",
) -> Path:
    """Write the run directory; return its path."""
    from mm_jax.experiments.counting import save_counted
    from mm_jax.runs import writer

    with writer.hold_dir(path, options.out, "count") as held:
        losses = model_losses(result)
        save_counted(held, config, summary.record, summary.vocab, losses, params, samples)
    return held


def print_samples(path: Path | None, samples: "Samples", console: Console) -> None:
    """Print the samples, and how to get more of them."""
    where = f"{path}; " if path else ""
    more = f"mm-jax sample {path}" if path else "keep the model with --out"
    console.say(f"samples    {where}{len(samples.texts)} new {samples.what} (more: {more}):")
    show_samples(samples, None, console)
