"""Measure the exact loss of a trained model on a split or on a file."""

import dataclasses
import math
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import Choices, InputError, OneOf
from mm_jax.runtime.console import Console, shown

SPLITS = ("train", "dev", "test", "all")
HOLD_TEST = ("test", "all")
SHOWN = 10  # of what has no probability


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Measure the exact loss of a trained model, in nats per symbol.

    Without --data: on a split of the run's own data, dev if not said otherwise. A look at its test
    split is counted in the run.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory, as mm-jax train --out or mm-jax count --out makes it."""
    data: str | None = None
    """Another file; all its lines, unless --split-name says which."""
    split_name: Annotated[str | None, OneOf(SPLITS), tyro.conf.arg(metavar="|".join(SPLITS))] = None
    """Which lines."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Evaluate a run."""
    import time

    import jax
    import numpy as np

    from mm_jax.data.batches import impossible_ngrams
    from mm_jax.data.dataset import make_batch
    from mm_jax.data.splits import split_lines
    from mm_jax.data.text import num_predictions, read_lines
    from mm_jax.data.vocab import SymbolError, encode_lines
    from mm_jax.runs.reader import (
        count_test_evaluation,
        describe,
        load_run,
        run_splits,
        unfinished_note,
    )
    from mm_jax.training.evaluate import evaluate
    from mm_jax.training.loss import nats

    begun = time.perf_counter()
    trained = load_run(options.run)
    if so_far := unfinished_note(trained):
        console.note(so_far)
    scheme = trained.config.data.split
    if scheme == "none" and options.split_name in ("dev", "test"):
        raise InputError(
            f"{options.run} holds no lines out (--split none); give --data another file"
        )
    if options.data is None:
        text, splits = run_splits(trained)
        name = options.split_name or ("all" if scheme == "none" else "dev")
        lines = text.lines if name == "all" else getattr(splits, name)
    else:
        text = read_lines(options.data)
        name = options.split_name or "all"
        own = trained.config.data
        lines = text.lines
        if name != "all":
            lines = getattr(split_lines(text.lines, scheme, own.split_seed), name)
        try:
            encode_lines(trained.vocab, text.lines)
        except SymbolError as error:
            raise InputError(f"{text.where(error.index)}: {error} of the run") from None
    batch = make_batch(lines, trained.vocab, trained.config.model.layout, trained.model.context)
    loss_nats = float(evaluate(trained.model, trained.params, batch))
    bits = loss_nats / math.log(2)
    perplexity = math.exp(loss_nats) if loss_nats < 700 else math.inf
    impossible: list[str] = []
    if math.isinf(loss_nats):
        each = np.asarray(jax.jit(nats, static_argnums=0)(trained.model, trained.params, batch))
        impossible = impossible_ngrams(batch, each, trained.vocab)
    record = {
        "command": "eval",
        **describe(trained),
        "data": str(text.path),
        "split_name": name,
        "num_lines": len(lines),
        "num_examples": num_predictions(lines),
        "loss": loss_nats,
        "bits": bits,
        "perplexity": perplexity,
    }
    if impossible:
        record |= {"impossible": impossible[:SHOWN], "num_impossible": len(impossible)}
    if name in HOLD_TEST and scheme != "none" and text.sha256 == trained.data["sha256"]:
        record["test_looks"] = looks = count_test_evaluation(trained.folder, loss_nats)
        console.say(f"This is look {looks} at the test split of {options.run}.")
    record["seconds"] = time.perf_counter() - begun
    console.say(
        f"{name} loss {shown(loss_nats)} nats a symbol ({shown(bits)} bits, perplexity "
        f"{shown(perplexity)}) over {record['num_examples']:,} predictions in {len(lines):,} lines"
    )
    if impossible:
        more = f" and {len(impossible) - SHOWN:,} more" if len(impossible) > SHOWN else ""
        console.say(f"no probability at all have {', '.join(impossible[:SHOWN])}{more}")
    return Outcome(record)
