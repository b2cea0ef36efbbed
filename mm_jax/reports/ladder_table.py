"""The table and the chart of a ladder, as lines of text for a terminal."""

import math
from collections.abc import Iterator, Sequence

from mm_jax.experiments.ladder_record import Entry
from mm_jax.reports.text_tables import plain_table, spread_text
from mm_jax.runtime.console import format_loss, terminal_width

HEADS = ("size", "train", "dev ± 95%", "bits", "new", "seconds", "tokens/s")
UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
BAR_WIDTH = 60  # at most, without names and numbers


def number_text(number: float | None) -> str:
    """Return a number in three digits, or - where there is none.

    >>> number_text(729), number_text(12827), number_text(3225042), number_text(0.5)
    ('729', '12.8k', '3.23M', '0.5')
    """
    if number is None:
        return "-"
    size, unit = next(((size, unit) for size, unit in UNITS if number >= size), (1, ""))
    return f"{number / size:.3g}{unit}"


def cells_of(entry: Entry) -> list[str]:
    """Return what the table says of an entry with results, column by column."""
    train = math.fsum(entry.train_losses) / len(entry.train_losses)
    return [
        number_text(entry.num_params),
        format_loss(train),
        spread_text(entry.spread) if entry.dev_losses else "-",
        format_loss(entry.spread.mean / math.log(2)),
        "-" if entry.new_share is None else f"{entry.new_share:.0%}",
        number_text(entry.seconds),
        number_text(entry.tokens_per_second),
    ]


def sortable_cells(entry: Entry) -> list[tuple[str, str]]:
    """Return the cells of a page's table: the value to sort by, and the text."""
    mean = entry.spread.mean
    values = [
        entry.num_params,
        math.fsum(entry.train_losses) / len(entry.train_losses),
        mean,
        mean,
        entry.new_share,
        entry.seconds,
        entry.tokens_per_second,
    ]
    sortable = ["-1" if value is None else str(value) for value in values]
    return [*zip(sortable, cells_of(entry), strict=True)]


def ladder_table(entries: Sequence[Entry]) -> Iterator[str]:
    """Write a line for each entry with results, in their order."""
    done = [entry for entry in entries if entry.skipped is None]
    if not done:
        return
    rows = [[each.name, *cells_of(each)] for each in done]
    yield from plain_table(["", *HEADS], rows, is_narrow=True)


def ladder_chart(entries: Sequence[Entry], width: int | None = None) -> Iterator[str]:
    """Draw a bar for each entry with results: how far its loss is below that of the highest.

    A longer bar is a better model.
    """
    done = [e for e in entries if e.skipped is None and math.isfinite(e.spread.mean)]
    if len(done) < 2:
        return
    losses = [entry.spread.mean for entry in done]
    high, low, names = max(losses), min(losses), max(len(entry.name) for entry in done)
    columns = min(BAR_WIDTH, (width or terminal_width(100, 80)) - names - 10)
    for entry, loss in zip(done, losses, strict=True):
        filled = round((high - loss) / (high - low or 1) * columns)
        yield f"{entry.name:>{names}} |{'=' * filled} {format_loss(loss)}"
    where = "dev" if done[0].dev_losses else "train"
    yield f"{'':{names}}  how far the loss on {where} is below {format_loss(high)}, in nats"
