"""Count n-grams: the reference that every trained model is held against."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mm_jax.cli.common import Outcome, describe_split, with_absolute_path
from mm_jax.config.base import MAX_FLOAT, Between, Choices, InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import CountedConfig, KneserNeyConfig, NgramConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import NUM_SAMPLES, CountConfig
from mm_jax.runs.layout import RunMetadata
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import LARGE_FILE_BYTES

if TYPE_CHECKING:
    from mm_jax.data.ngram_counts import Counts
    from mm_jax.data.streaming import FileSummary, Stream
    from mm_jax.data.vocab import Vocab
    from mm_jax.models.baselines import Baseline


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Count the n-grams of a file of lines: the loss on train and dev, and what counting can reach.

    The file is read in pieces, so it may be large. The test split is not looked at: keep the model
    with --out, then mm-jax eval RUN --split-name test.
    """

    data: Annotated[DataConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=DataConfig
    )
    order: Annotated[
        Annotated[int, Between(1, 30)] | Literal["auto"], tyro.conf.arg(metavar="N|auto")
    ] = NgramConfig.order
    """Symbols in an n-gram, 2 for bigrams; auto: the order with the lowest loss on dev."""
    smoothing: Annotated[
        Annotated[float, Between(0, MAX_FLOAT)] | Literal["auto", "kneser-ney"],
        tyro.conf.arg(metavar="K|auto|kneser-ney"),
    ] = NgramConfig.smoothing
    """What is added to every count, 0 for maximum likelihood; auto: what has the lowest loss on
    dev; kneser-ney: discounts, and the lower orders mixed in."""
    out: str | None = None
    """Keep the model in this run directory, for sample, eval and score."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Count, compare, sample, and write a run directory where one is asked for."""
    import time

    import jax

    from mm_jax.data.ngram_counts import count_stream
    from mm_jax.data.streaming import Stream, summarize_file
    from mm_jax.data.vocab import decode_lines
    from mm_jax.models.base import num_params
    from mm_jax.models.baselines import count_baselines, reference_losses
    from mm_jax.models.registry import build_model
    from mm_jax.models.sampling import sample
    from mm_jax.reports.text_tables import SHOWN, extremes, loss_table, ngram_table
    from mm_jax.runs import writer
    from mm_jax.runtime.environment import fingerprint

    begun = time.perf_counter()
    data = with_absolute_path(options.data)
    path = None if options.out is None else writer.choose_dir(options.out, "count")
    if "auto" in (options.order, options.smoothing) and data.split == "none":
        raise InputError("auto means the lowest loss on dev, and --split none holds no lines out")
    if not isinstance(options.smoothing, str):
        NgramConfig(smoothing=options.smoothing)  # raises InputError before the file is read
    stream = Stream(data.data)
    if stream.num_bytes > LARGE_FILE_BYTES:
        console.note(f"reading {stream.num_bytes / 1e6:,.0f} MB, twice")
    seen = summarize_file(stream, data)
    top = highest(options, len(seen.vocab))
    console.say(
        f"data       {data.data}: {seen.num_lines:,} lines, {len(seen.vocab)} symbols, "
        f"{seen.num_blank:,} blank lines dropped"
    )
    console.say(f"split      {describe_split(seen.split_lines, seen.dev_lines_in_train)}")
    train, dev_or_empty = count_stream(stream, seen, top)
    dev = None if data.split == "none" else dev_or_empty
    if train.order < top:
        console.say(f"           too many different n-grams to count beyond order {train.order}")
    given = options.smoothing if isinstance(options.smoothing, float | int) else 0.0
    rungs = list(count_baselines(train, dev, float(given)))
    if options.order != "auto" and options.order > train.order:
        train, dev_or_empty = recount(options, stream, seen, train)
        dev = dev_or_empty if dev else None
    chosen = choose(options, rungs, train, dev)
    train, dev = train.lower(chosen.order), dev and dev.lower(chosen.order)
    config = CountConfig(data, model_config(chosen))
    most, least = extremes(train, seen.vocab)
    for line in (*loss_table(rungs, chosen), "", *ngram_table(train, most, least), ""):
        console.say(line)
    impossible = [] if dev is None else unseen(train, dev, chosen, seen.vocab)
    if impossible:
        worst, times = impossible[0]
        console.say(
            f"The loss on dev is infinite: {len(impossible):,} n-grams of dev never come in train, "
            f"the most frequent is {worst!r}, {times:,} in dev. --smoothing 1 gives each a chance."
        )
    params = parameters(chosen, train)
    model = build_model(config.model, len(seen.vocab))
    tokens, _ = sample(model, params, jax.random.key(0), num=NUM_SAMPLES)
    samples = decode_lines(seen.vocab, jax.device_get(tokens))
    losses = {"train_loss": chosen.train_loss, "dev_loss": chosen.dev_loss}
    if path is not None:
        about = {
            "path": str(seen.path),
            "sha256": seen.sha256,
            "num_lines": seen.num_lines,
            "num_blank": seen.num_blank,
            "split_lines": seen.split_lines,
            "dev_lines_in_train": seen.dev_lines_in_train,
        }
        with writer.hold_dir(path, options.out, "count") as path:
            metadata = RunMetadata(config, seen.vocab.symbols, about, None, fingerprint())
            writer.write_metadata(path, metadata)
            writer.append_metrics(path, [losses])
            writer.save_results(path, params, samples)
    where = f"{path}; " if path else ""
    more = f"mm-jax sample {path}" if path else "keep the model with --out"
    console.say(f"samples    {where}{NUM_SAMPLES} lines it makes (more: {more}):")
    console.say_samples(samples, None)
    record = {
        "command": "count",
        "config": to_dict(config),
        "vocab_size": len(seen.vocab),
        "num_params": num_params(params),
        "num_lines": seen.num_lines,
        "split_lines": seen.split_lines,
        "dev_lines_in_train": seen.dev_lines_in_train,
        "num_examples": train.total,
        "num_distinct": len(train.keys),
        **losses,
        "loss": chosen.train_loss if dev is None else chosen.dev_loss,
        "floors": reference_losses(rungs),
        "rungs": [rung._asdict() for rung in rungs],
        "most_frequent": most,
        "least_frequent": least,
        "impossible": impossible[:SHOWN],
        "num_impossible": len(impossible),
        "samples": samples,
        "run_dir": str(path) if path else None,
        "seconds": time.perf_counter() - begun,
    }
    return Outcome(record)


def highest(options: Options, vocab_size: int) -> int:
    """Return the highest order to count. Raises InputError where the order asked for cannot be."""
    from mm_jax.data.ngram_counts import check_fits, highest_order
    from mm_jax.models.baselines import MAX_ORDER, ORDERS

    numbered = highest_order(vocab_size)
    if options.order == "auto":
        return min(numbered, MAX_ORDER)
    if options.smoothing == "kneser-ney":
        if options.order not in ORDERS:
            which = f"{ORDERS[0]} to {ORDERS[-1]}"
            raise InputError(f"--smoothing kneser-ney takes --order {which}, not {options.order}")
        if options.order > numbered:
            raise InputError(f"{vocab_size:,} symbols can have orders 2 to {numbered}")
    else:
        check_fits(vocab_size, options.order)
    return min(numbered, max(MAX_ORDER, options.order))


def choose(
    options: Options, rungs: "list[Baseline]", train: "Counts", dev: "Counts | None"
) -> "Baseline":
    """Return the rung that was asked for."""
    from mm_jax.data.ngram_counts import fits
    from mm_jax.models.baselines import ORDERS, add_k, best, best_smoothing, kneser_ney

    def rung(order: int) -> "Baseline":
        if isinstance(options.smoothing, str) and order in known:
            return known[order]
        counts, held_out = train.lower(order), dev and dev.lower(order)
        if options.smoothing == "kneser-ney":
            return kneser_ney(counts, held_out)
        if options.smoothing == "auto":
            assert held_out is not None
            return add_k(counts, held_out, best_smoothing(counts, held_out))
        return add_k(counts, held_out, float(options.smoothing))

    kind = "kneser-ney" if options.smoothing == "kneser-ney" else "add-k"
    known = {rung.order: rung for rung in rungs if rung.kind == kind}
    if options.order != "auto":
        return rung(options.order)
    able = ORDERS if kind == "kneser-ney" else range(1, train.order + 1)
    return best(
        rung(n)
        for n in able
        if n <= train.order and (kind == "kneser-ney" or fits(train.vocab_size, n))
    )


def recount(
    options: Options, stream: "Stream", seen: "FileSummary", train: "Counts"
) -> "list[Counts]":
    """Count once more, in a table, what has too many different n-grams to be held one by one."""
    from mm_jax.data.ngram_counts import NUM_SPLITS, count_stream
    from mm_jax.runtime.hardware import memory_bytes

    assert options.order != "auto"
    needed = 3 * NUM_SPLITS * 8 * len(seen.vocab) ** options.order
    if options.smoothing == "kneser-ney" or needed > memory_bytes():
        raise InputError(
            f"there are too many different n-grams for order {options.order}; "
            f"order {train.order} can be counted"
        )
    return count_stream(stream, seen, options.order, in_table=True)


def model_config(rung: "Baseline") -> CountedConfig:
    """Return the choices of the model that a rung is."""
    if rung.smoothing is None:
        return KneserNeyConfig(rung.order)
    return NgramConfig(rung.order, rung.smoothing)


def parameters(rung: "Baseline", train: "Counts") -> Any:
    """Return the parameters of the model that a rung is, from counts of its order."""
    from mm_jax.models import kneser_ney, ngram

    if rung.smoothing is None:
        return kneser_ney.from_tables(kneser_ney.estimate(train))
    return ngram.from_counts(train)


def unseen(
    train: "Counts", dev: "Counts", rung: "Baseline", vocab: "Vocab"
) -> list[tuple[str, int]]:
    """Return the n-grams of dev that the model gives no probability, and how often each comes."""
    import numpy as np

    if rung.smoothing != 0:
        return []
    never = (train.find(dev.keys) == 0) & (train.contexts().find(dev.keys // len(vocab)) > 0)
    order = np.argsort(-dev.counts[never], kind="stable")
    pairs = zip(dev.keys[never][order], dev.counts[never][order], strict=True)
    return [(dev.spell(int(key), vocab), int(count)) for key, count in pairs]
