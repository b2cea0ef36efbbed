"""Tables of what was counted or searched, as lines of text for a terminal."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mm_jax.data.ngrams import Counts
from mm_jax.data.vocab import Vocab
from mm_jax.experiments.statistics import Spread
from mm_jax.experiments.successive_halving import SettingResult
from mm_jax.models.baselines import Baseline, best
from mm_jax.models.kneser_ney import FALLBACK_DISCOUNTS
from mm_jax.runtime.console import format_loss, terminal_width

NUM_EXTREMES = 10  # n-grams in each column of the table
CountedNgram: TypeAlias = tuple[str, int]  # an n-gram, and how often it occurs


def loss_table(baselines: list[Baseline], chosen: Baseline, why_chosen: str = "") -> Iterator[str]:
    """Write the losses of all baselines, the best on dev marked, and last the chosen model."""

    def row(baseline: Baseline, note: str = "") -> str:
        train = format_loss(baseline.train_loss)
        dev = "" if baseline.dev_loss is None else format_loss(baseline.dev_loss)
        return f"  {baseline_name(baseline):26}{train:>10}{dev:>10}  {note}".rstrip()

    has_dev = chosen.dev_loss is not None
    yield f"{'loss in nats per symbol':28}{'train':>10}{'dev' if has_dev else '':>10}".rstrip()
    for baseline in baselines:
        note = ""
        if has_dev and baseline == best(baselines, baseline.kind) and baseline.kind != "uniform":
            is_lowest = baseline == best(baselines)
            note = "lowest of all" if is_lowest else f"lowest {baseline.kind}"
        yield row(baseline, note)
    yield row(chosen, f"this model{why_chosen}")
    fell_back = sorted({order for each in (*baselines, chosen) for order in each.fell_back})
    if fell_back:
        orders = ", ".join(map(str, fell_back))
        values = ", ".join(f"{value:g}" for value in FALLBACK_DISCOUNTS)
        yield f"  (Kneser-Ney discounts {values} where none can be estimated: order {orders})"


def baseline_name(baseline: Baseline) -> str:
    """Return the name of a baseline in the table."""
    if baseline.kind == "uniform":
        return "uniform, ln V"
    for kind, name in (("kneser-ney", "Kneser-Ney"), ("interpolated", "interpolated")):
        if baseline.kind == kind:
            return f"order {baseline.order}, {name}"
    name = {1: "unigram", 2: "bigram"}.get(baseline.order, f"order {baseline.order}")
    return f"{name}, k = {baseline.smoothing:g}"


def ngram_table(
    counts: Counts, most: list[CountedNgram], least: list[CountedNgram]
) -> Iterator[str]:
    """Write the most and the least frequent n-grams side by side."""
    cells = counts.vocab_size**counts.order
    num_once = int((counts.counts == 1).sum())
    yield (
        f"n-grams    {counts.total:,} of order {counts.order}; {len(counts.keys):,} of {cells:,} "
        f"occur, {num_once:,} once"
    )
    yield f"  {'most frequent':26}least frequent"
    for (frequent, high), (rare, low) in zip(most, least, strict=True):
        yield f"  {quoted(frequent):8}{high:>11,}       {quoted(rare):8}{low:>11,}"


def extremes(counts: Counts, vocab: Vocab) -> tuple[list[CountedNgram], ...]:
    """Return the most and the least frequent n-grams that occur; ties in the order of their ids."""
    return tuple(
        [(counts.spell(counts.keys[i], vocab), int(counts.counts[i])) for i in order[:NUM_EXTREMES]]
        for order in (np.argsort(sign * counts.counts, kind="stable") for sign in (-1, 1))
    )


def quoted(ngram: str) -> str:
    """Return an n-gram with its white space made visible."""
    return repr(ngram) if any(symbol.isspace() for symbol in ngram) else ngram


def spread_text(spread: Spread) -> str:
    """Return a mean and its interval as text."""
    if math.isinf(spread.mean):
        return "diverged"
    return format_loss(spread.mean) + (
        "" if spread.half is None else f" ± {format_loss(spread.half)}"
    )


def sweep_table(
    results: Sequence[SettingResult], changes: Sequence[Mapping[str, Any]], max_rows: int = 20
) -> Iterator[str]:
    """Write the first ``max_rows`` settings of a sweep, which are sorted by their loss on dev."""
    if not results:
        return
    has_intervals = any(len(result.losses) > 1 for result in results)
    names = [name.replace("_", "-") for name in changes[0]]
    heads = [*names, "parameters", "steps", "dev, mean ± 95%" if has_intervals else "dev"]
    rows = []
    for result in results[:max_rows]:
        values = changes[result.setting].values()
        cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        cells += [f"{result.num_params:,}", f"{result.steps:,}", spread_text(result.spread)]
        rows.append(cells)
    yield ""
    yield from plain_table(heads, rows, left=[len(heads) - 1])
    if len(results) > max_rows:
        yield f"... and {len(results) - max_rows:,} more, in members.csv"
    yield ""


def plain_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Sequence[int] = (0,),
    *,
    is_narrow: bool = False,
) -> Iterator[str]:
    """Write a table as lines; the columns ``left`` begin at their left side, others end right.

    Between columns are three spaces; in one that ``is_narrow``, two.
    """
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=is_narrow,
        header_style="",
    )
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in left else "right", overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    text = io.StringIO()
    width = terminal_width(160, 120)
    Console(file=text, width=width, color_system=None, force_jupyter=False).print(table)
    yield from (line.rstrip() for line in text.getvalue().splitlines())
