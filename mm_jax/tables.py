"""Counts and what they reach, as lines of text for a terminal."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from mm_jax.console import shown
from mm_jax.counts import Counts
from mm_jax.floors import Rung, best
from mm_jax.models.kneser_ney import FALLBACK_DISCOUNTS
from mm_jax.vocab import Vocab

SHOWN = 10  # n-grams in each column of the table
Often: TypeAlias = tuple[str, int]  # an n-gram, and how often it occurs


def loss_table(rungs: list[Rung], chosen: Rung) -> Iterator[str]:
    """Write the losses of all rungs, the best on dev marked, and last the model asked for."""

    def row(rung: Rung, note: str = "") -> str:
        dev = "" if rung.dev_loss is None else shown(rung.dev_loss)
        return f"  {name(rung):26}{shown(rung.train_loss):>10}{dev:>10}  {note}".rstrip()

    def name(rung: Rung) -> str:
        if rung.kind == "uniform":
            return "uniform, ln V"
        if rung.kind == "kneser-ney":
            return f"order {rung.order}, Kneser-Ney"
        called = {1: "unigram", 2: "bigram"}.get(rung.order, f"order {rung.order}")
        return f"{called}, k = {rung.smoothing:g}"

    held_out = chosen.dev_loss is not None
    yield f"{'loss in nats a symbol':28}{'train':>10}{'dev' if held_out else '':>10}".rstrip()
    for rung in rungs:
        marks = []
        if held_out and rung == best(rungs, rung.kind) and rung.kind != "uniform":
            marks.append("lowest of all" if rung == best(rungs) else f"lowest {rung.kind}")
        yield row(rung, ", ".join(marks))
    yield row(chosen, "this model")
    fell_back = sorted({order for rung in (*rungs, chosen) for order in rung.fell_back})
    if fell_back:
        lengths = ", ".join(map(str, fell_back))
        values = ", ".join(f"{value:g}" for value in FALLBACK_DISCOUNTS)
        yield f"  (Kneser-Ney discounts {values} where none can be estimated: length {lengths})"


def ngram_table(counts: Counts, most: list[Often], least: list[Often]) -> Iterator[str]:
    """Write the most and the least frequent n-grams side by side."""
    cells = counts.vocab_size**counts.order
    once = int((counts.counts == 1).sum())
    yield (
        f"n-grams    {counts.total:,} of order {counts.order}; {len(counts.keys):,} of {cells:,} "
        f"occur, {once:,} once"
    )
    yield f"  {'most frequent':26}least frequent"
    for (often, high), (rarely, low) in zip(most, least, strict=True):
        yield f"  {quoted(often):8}{high:>11,}       {quoted(rarely):8}{low:>11,}"


def extremes(counts: Counts, vocab: Vocab) -> tuple[list[Often], ...]:
    """Return the most and the least frequent n-grams that occur, among equals in their order."""
    return tuple(
        [(counts.spell(int(counts.keys[i]), vocab), int(counts.counts[i])) for i in order[:SHOWN]]
        for order in (np.argsort(sign * counts.counts, kind="stable") for sign in (-1, 1))
    )


def quoted(ngram: str) -> str:
    """Return an n-gram so that white space in it can be seen."""
    return repr(ngram) if any(symbol.isspace() for symbol in ngram) else ngram
