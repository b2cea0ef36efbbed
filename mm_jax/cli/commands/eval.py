"""mm-jax eval: measure the exact loss of a trained model on a split or on a file."""

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.cli.describe_data import note_data
from mm_jax.config.base import Choices, InputError, OneOf
from mm_jax.config.data import DataConfig
from mm_jax.data.items import ITEM_NAMES
from mm_jax.runtime.console import Console, format_loss

if TYPE_CHECKING:
    from mm_jax.config.training import AnyConfig
    from mm_jax.data.corpus import Corpus
    from mm_jax.data.encoding import FileInfo
    from mm_jax.data.word_totals import TextTotals
    from mm_jax.runs.reader import Run

SPLITS = ("train", "dev", "test", "all")
NUM_IMPOSSIBLE = 10  # n-grams without probability that are printed


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Measure the exact loss of a trained model, in nats per symbol.

    Without --data: on a split of the run's own data, by default dev. The run counts how often its
    test split is evaluated.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory of mm-jax train or mm-jax count."""
    data: str | None = None
    """Another file to evaluate on: all its lines, unless --split-name names a split."""
    split_name: Annotated[str | None, OneOf(SPLITS), tyro.conf.arg(metavar="|".join(SPLITS))] = None
    """The lines to evaluate on."""
    skip_unknown: bool = False
    """Leave out lines with symbols that the run does not know, and say how many; by default they
    are refused."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


class Lines(NamedTuple):
    """The lines to evaluate on."""

    info: "FileInfo"  # the file they come from
    split_name: str
    corpus: "Corpus"
    num_skipped: int  # lines of the file that were left out
    totals: "TextTotals | None"  # where tokens are words


class Measurement(NamedTuple):
    """The loss of a model on some lines."""

    loss_nats: float
    impossible: list[str]  # context and symbol of what has no probability


def run(options: Options, console: Console) -> Outcome:
    """Evaluate a run, and note it in the run where its test split was used."""
    from mm_jax.experiments.loss_units import loss_units
    from mm_jax.runs.reader import count_test_evaluation, describe, load_run, unfinished_note

    started = time.perf_counter()
    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    lines = select_lines(trained, options)
    note_data(lines.info, console)
    if lines.num_skipped:
        console.note(
            f"{lines.num_skipped:,} of {lines.info.num_items:,} "
            f"{ITEM_NAMES[trained.config.data.items]} left out: their symbols are not in the "
            "vocabulary"
        )
    measured = measure(trained, lines.corpus)
    units = loss_units(measured.loss_nats, lines.totals)
    record = {
        "command": "eval",
        **describe(trained),
        "data": str(lines.info.path),
        "split_name": lines.split_name,
        "num_lines": len(lines.corpus),
        "num_examples": lines.corpus.num_predictions,
        "loss": measured.loss_nats,
        "bits": units.bits,
        **units.record,
    }
    if options.skip_unknown:
        record["num_skipped"] = lines.num_skipped
    if measured.impossible:
        record["impossible"] = measured.impossible[:NUM_IMPOSSIBLE]
        record["num_impossible"] = len(measured.impossible)
    if holds_test_lines(trained, lines):
        record["test_looks"] = count_test_evaluation(trained.folder, measured.loss_nats)
    record["seconds"] = time.perf_counter() - started
    print_result(options.run, record, console)
    return Outcome(record)


def select_lines(trained: "Run", options: Options) -> Lines:
    """Return the lines that were asked for, from the run's own data or from another file.

    Raise InputError where there are none, or a symbol is not in the vocabulary of the run.
    """
    from mm_jax.data.dataset import load_dataset
    from mm_jax.runs.reader import run_dataset

    data, skips = trained.config.data, options.skip_unknown
    if data.split == "none" and options.split_name in ("dev", "test"):
        raise InputError(
            f"{options.run} holds no lines out (--split none); give --data another file"
        )
    is_own, name = options.data is None, options.split_name
    if name is None:
        name = "dev" if is_own and data.split != "none" else "all"
    if is_own and name != "all":
        dataset = run_dataset(trained)
    else:
        chosen = dataclasses.replace(
            data,
            data=data.data if options.data is None else options.data,
            split="none" if name == "all" else data.split,
        )
        if is_own:
            dataset = run_dataset(trained._replace(config=with_data(trained.config, chosen)))
        else:
            dataset = load_dataset(chosen, trained.vocab, skip_unknown=skips)
    place = SPLITS.index("train" if name == "all" else name)
    totals = dataset.info.totals[place] if dataset.info.totals else None
    return Lines(dataset.info, name, dataset.splits[place], dataset.num_skipped, totals)


def with_data(config: "AnyConfig", data: DataConfig) -> "AnyConfig":
    """Return the choices of a run with other data."""
    return dataclasses.replace(config, data=data)


def measure(trained: "Run", corpus: "Corpus") -> Measurement:
    """Return the loss of a run on a corpus, and what makes it infinite where it is."""
    from mm_jax.training.evaluate import evaluate
    from mm_jax.training.surprise import impossible_ngrams, surprise

    loss_nats = float(evaluate(trained.model, trained.params, corpus))
    if not math.isinf(loss_nats):
        return Measurement(loss_nats, [])
    each = surprise(trained.model, trained.params, corpus)
    return Measurement(loss_nats, impossible_ngrams(corpus, each, trained.model.lead))


def holds_test_lines(trained: "Run", lines: Lines) -> bool:
    """Check whether lines of the run's test split are evaluated, under whatever file name."""
    return (
        lines.split_name in ("test", "all")
        and trained.config.data.split != "none"
        and lines.info.sha256 == trained.data["sha256"]
    )


def print_result(run_name: str, record: dict[str, Any], console: Console) -> None:
    """Print the loss, which evaluation of the test split this was, and what is impossible."""
    if "test_looks" in record:
        console.say(f"This is evaluation {record['test_looks']} of the test split of {run_name}.")
    loss, bits, perplexity = (format_loss(record[key]) for key in ("loss", "bits", "perplexity"))
    units = f"{bits} bits, perplexity {perplexity}"
    if record["bits_per_character"] is not None:
        per_character = format_loss(record["bits_per_character"])
        units = f"perplexity {perplexity} per word, {per_character} bits per character"
        if record["unknown_rate"]:
            units += f", {record['unknown_rate']:.1%} of the words unknown"
    where = f"{record['num_examples']:,} predictions"
    if (items := record["config"]["data"]["items"]) != "document":
        where += f" in {record['num_lines']:,} {ITEM_NAMES[items]}"
    console.say(f"{record['split_name']} loss {loss} nats per symbol ({units}) over {where}")
    if "impossible" in record:
        hidden = record["num_impossible"] - len(record["impossible"])
        more = f" and {hidden:,} more" if hidden else ""
        console.say(f"without any probability: {', '.join(record['impossible'])}{more}")
