"""mm-jax score: show how surprised a trained model is by single lines, symbol by symbol."""

import dataclasses
import math
from itertools import chain
from typing import Annotated

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.data.text import BOUNDARY
from mm_jax.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Show how surprised a trained model is by single lines, in nats, symbol by symbol.

    The nats of a line are -log of its probability; the last symbol, ".", ends the line.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory of mm-jax train or mm-jax count."""
    lines: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LINE")]
    """The lines to score."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Score lines with a run."""
    import jax
    import numpy as np

    from mm_jax.data.batches import rows
    from mm_jax.data.vocab import SymbolError
    from mm_jax.runs.reader import describe, load_run, unfinished_note
    from mm_jax.training.loss import nats

    if not options.lines:
        raise InputError("give at least one line to score")
    trained = load_run(options.run)
    if unfinished := unfinished_note(trained):
        console.note(unfinished)
    try:
        batch = rows(options.lines, trained.vocab, trained.model.context)
    except SymbolError as error:
        raise InputError(f"line {error.index + 1}: {error} of the run") from None
    each = np.asarray(jax.jit(nats, static_argnums=0)(trained.model, trained.params, batch))
    symbols = [
        [(symbol, float(n)) for symbol, n in zip((*line, BOUNDARY), row, strict=False)]
        for line, row in zip(options.lines, each, strict=True)
    ]
    totals = [sum(n for _, n in line) for line in symbols]
    means = [total / len(line) for total, line in zip(totals, symbols, strict=True)]
    for line, total, mean, pairs in zip(options.lines, totals, means, symbols, strict=True):
        detail = "  ".join(f"{symbol} {n:.3f}" for symbol, n in pairs)
        console.say(f"{line}: {total:.4f} nats, {mean:.4f} per symbol:  {detail}")
    impossible = [impossible_in_line(pairs, trained.model.context) for pairs in symbols]
    for ngram in dict.fromkeys(chain.from_iterable(impossible)):
        console.say(f"{ngram} has no probability: {ngram[-1]!r} never follows {ngram[:-1]!r}")
    record = {
        "command": "score",
        **describe(trained),
        "lines": list(options.lines),
        "nats": totals,
        "nats_per_symbol": means,
        "symbols": symbols,
        "impossible": impossible,
    }
    return Outcome(record)


def impossible_in_line(symbols: list[tuple[str, float]], context: int) -> list[str]:
    """Return each symbol of a scored line without probability, after its ``context`` symbols.

    >>> impossible_in_line([("e", 1.0), ("q", math.inf), (".", 2.0)], context=2)
    ['.eq']
    """
    padded = BOUNDARY * context + "".join(symbol for symbol, _ in symbols)
    positions = (i for i, (_, nats) in enumerate(symbols) if math.isinf(nats))
    return [padded[i : i + context + 1] for i in positions]
