"""What was counted or measured, as lines of text for a terminal."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mm_jax.data.ngram_counts import Counts
from mm_jax.data.vocab import Vocab
from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import in_blocks, loss_limits
from mm_jax.experiments.statistics import Spread
from mm_jax.experiments.successive_halving import SettingResult
from mm_jax.models.baselines import Baseline, best
from mm_jax.models.kneser_ney import FALLBACK_DISCOUNTS
from mm_jax.runs.metrics import LossCurve
from mm_jax.runtime.console import format_loss, terminal_width

SHOWN = 10  # n-grams in each column of the table
Often: TypeAlias = tuple[str, int]  # an n-gram, and how often it occurs


def loss_table(rungs: list[Baseline], chosen: Baseline) -> Iterator[str]:
    """Write the losses of all rungs, the best on dev marked, and last the model asked for."""

    def row(rung: Baseline, note: str = "") -> str:
        dev = "" if rung.dev_loss is None else format_loss(rung.dev_loss)
        return f"  {name(rung):26}{format_loss(rung.train_loss):>10}{dev:>10}  {note}".rstrip()

    def name(rung: Baseline) -> str:
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


def lr_chart(test: RangeTest, width: int | None = None, height: int = 14) -> Iterator[str]:
    """Draw a range test: a dot where a seed is, o for the median, x where it is off the top."""
    width = width or terminal_width(100, 80)
    columns = width - 11
    found, (low, high) = test.suggestion, loss_limits(test.losses, test.suggestion)
    first, last = math.log(test.lrs[0]), math.log(test.lrs[-1])
    x, seeds = in_blocks(test.lrs, test.losses)
    canvas = np.full((height, columns), " ")

    def column(rate: float) -> int:
        return round((math.log(rate) - first) / (last - first) * (columns - 1))

    def draw(rate: float, loss: float, mark: str) -> None:
        row = round((high - loss) / (high - low) * (height - 1)) if math.isfinite(loss) else -1
        off = row < 0
        canvas[min(max(row, 0), height - 1), column(rate)] = "x" if off and mark == "o" else mark

    if found.lr is not None:
        canvas[:, column(found.lr)] = "|"
    rates = np.exp(x)
    for each in seeds:
        for rate, loss in zip(rates, each, strict=True):
            if loss <= high:
                draw(rate, loss, ".")
    for rate, loss in zip(rates, found.curve.median, strict=True):
        draw(rate, loss, "o")
    for row, marks in enumerate(canvas):
        loss = high + (low - high) * row / (height - 1)
        label = f"{loss:.4g}" if row % 4 == 0 or row == height - 1 else ""
        yield f"{label:>9} |{''.join(marks)}".rstrip()
    powers = range(
        math.ceil(first / math.log(10) - 1e-9), math.floor(last / math.log(10) + 1e-9) + 1
    )
    marked = [10.0**power for power in powers[:: 1 + len(powers) * 7 // columns]]
    if len(marked) < 2:
        marked = [float(test.lrs[0]), float(test.lrs[-1])]
    ticks = {column(rate): f"{rate:.3g}" for rate in marked}
    yield f"{'':10}+" + "".join("+" if i in ticks else "-" for i in range(columns))
    yield f"{'rate':>9}  {_spread(ticks, columns)}".rstrip()
    names = {}
    if found.too_low is not None:
        names[column(found.too_low) // 2] = "too low"
    above = found.explodes or found.too_high
    if above is not None:
        names[(column(above) + columns) // 2] = "explodes" if found.explodes else "too high"
    if found.lr is not None:
        names[column(found.lr)] = f"^ {found.lr:g}"
    yield f"{'':11}{_spread(names, columns)}".rstrip()


def loss_chart(curve: LossCurve, width: int | None = None, height: int = 10) -> Iterator[str]:
    """Draw the loss over steps: a dot where minibatches are, o their mean, + the loss on dev.

    The axis is logarithmic; a beginning that lies far above the rest is left out.
    """
    width = width or terminal_width(100, 80)
    columns = width - 11
    last = max(curve.end, 1)
    place = np.round(curve.steps / last * (columns - 1)).astype(int)
    filled = np.unique(place)
    means = np.array([curve.losses[place == i].mean() for i in filled])
    high = float(np.quantile(means, 0.95))
    low = float(min(curve.losses.min(), *curve.dev_losses, high))
    span = math.log(high / low) or 1.0
    canvas = np.full((height, columns), " ")

    def draw(column: int, loss: float, mark: str) -> None:
        row = round(math.log(high / loss) / span * (height - 1))
        if row >= 0:
            canvas[min(row, height - 1), column] = mark

    for column, loss in zip(place, curve.losses, strict=True):
        draw(column, float(loss), ".")
    for column, loss in zip(filled, means, strict=True):
        draw(column, float(loss), "o")
    for step, loss in zip(curve.dev_steps, curve.dev_losses, strict=True):
        draw(round(step / last * (columns - 1)), float(loss), "+")
    for row, marks in enumerate(canvas):
        loss = high * math.exp(-span * row / (height - 1))
        label = f"{loss:.4g}" if row % 3 == 0 else ""
        yield f"{label:>9} |{''.join(marks)}".rstrip()
    yield f"{'':10}+{'-' * columns}"
    ticks = {0: "0", columns // 2: f"{last // 2:,}", columns - 1: f"{last:,}"}
    yield f"{'step':>9}  {_spread(ticks, columns)}".rstrip()
    held_out = "; + dev" if len(curve.dev_steps) else ""
    yield f"{'':11}loss in nats a symbol: . of minibatches, o their mean{held_out}"


def _spread(texts: dict[int, str], columns: int) -> str:
    """Write each text about its column, left to right, without one covering another."""
    row = ""
    for place, text in sorted(texts.items()):
        begin = place if text.startswith("^") else place - len(text) // 2
        begin = max(min(begin, columns - len(text)), len(row) + bool(row))
        row += " " * (begin - len(row)) + text
    return row


def spread_text(spread: Spread) -> str:
    """Write a mean and its interval."""
    if math.isinf(spread.mean):
        return "diverged"
    return format_loss(spread.mean) + (
        "" if spread.half is None else f" ± {format_loss(spread.half)}"
    )


def sweep_table(
    results: Sequence[SettingResult], changes: Sequence[Mapping[str, Any]], most: int = 20
) -> Iterator[str]:
    """Write the first ``most`` settings of a sweep, those with the lowest loss on dev first."""
    if not results:
        return
    several = any(len(result.losses) > 1 for result in results)
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    names = [name.replace("_", "-") for name in changes[0]]
    for name in (*names, "parameters", "steps"):
        grid.add_column(name, justify="right", overflow="fold")
    grid.add_column("dev, mean ± 95%" if several else "dev", overflow="fold")
    for result in results[:most]:
        values = changes[result.setting].values()
        cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        cells += [f"{result.num_params:,}", f"{result.steps:,}", spread_text(result.spread)]
        grid.add_row(*cells)
    paper = io.StringIO()
    width = terminal_width(160, 120)
    Console(file=paper, width=width, color_system=None, force_jupyter=False).print(grid)
    yield ""
    yield from (line.rstrip() for line in paper.getvalue().splitlines())
    if len(results) > most:
        yield f"... and {len(results) - most:,} more, in members.csv"
    yield ""
