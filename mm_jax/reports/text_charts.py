"""A range test and a loss curve, drawn with characters for a terminal.

By hand, not with plotext or asciichart: those lack what makes these charts useful, a mark for each
seed beside the median, clipped losses shown at the edge, and regions named below the axis.
"""

import math
from collections.abc import Iterator

import numpy as np

from mm_jax.experiments.lr_curve import in_blocks
from mm_jax.experiments.lr_range import RangeTest
from mm_jax.experiments.lr_suggestion import loss_limits
from mm_jax.runs.metrics import LossCurve
from mm_jax.runtime.console import terminal_width

MARGIN = 11  # columns left of the marks: numbers of the axis, and the axis


class Canvas:
    """Marks in rows and columns beside a vertical axis; row 0 is at the top."""

    def __init__(self, width: int, height: int) -> None:
        self.columns, self.height = width - MARGIN, height
        self.marks = np.full((height, self.columns), " ")

    def draw(self, row: int, column: int, mark: str) -> None:
        """Draw a mark, in the last row where it would be below that."""
        self.marks[min(row, self.height - 1), column] = mark

    def lines(self, labels: dict[int, float]) -> Iterator[str]:
        """Yield the rows as text, those of ``labels`` with a number beside them."""
        for row, marks in enumerate(self.marks):
            label = f"{labels[row]:.4g}" if row in labels else ""
            yield f"{label:>9} |{''.join(marks)}".rstrip()

    def below(self, name: str, texts: dict[int, str]) -> str:
        """Return a line of text below the marks: a name, then each text centred on its column."""
        return f"{name:>9}  {spread_texts(texts, self.columns)}".rstrip()


def spread_texts(texts: dict[int, str], columns: int) -> str:
    """Write each text centred on its column, or from it if it starts with ^, without overlaps.

    >>> spread_texts({2: "abc", 3: "de", 9: "^ f"}, 12)
    ' abc de  ^ f'
    """
    line = ""
    for column, text in sorted(texts.items()):
        begin = column if text.startswith("^") else column - len(text) // 2
        begin = max(min(begin, columns - len(text)), len(line) + bool(line))
        line += " " * (begin - len(line)) + text
    return line


def lr_chart(test: RangeTest, width: int | None = None, height: int = 14) -> Iterator[str]:
    """Draw a range test: . for a seed, o for the median, x for a median above the chart."""
    canvas = Canvas(width or terminal_width(100, 80), height)
    suggestion, (low, high) = test.suggestion, loss_limits(test.losses, test.suggestion)
    first, last = math.log(test.lrs[0]), math.log(test.lrs[-1])
    log_rates, seeds = in_blocks(test.lrs, test.losses)
    rates = np.exp(log_rates)

    def column(rate: float) -> int:
        return round((math.log(rate) - first) / (last - first) * (canvas.columns - 1))

    def draw(rate: float, loss: float, mark: str) -> None:
        row = round((high - loss) / (high - low) * (height - 1)) if math.isfinite(loss) else -1
        canvas.draw(max(row, 0), column(rate), "x" if row < 0 and mark == "o" else mark)

    if suggestion.lr is not None:
        canvas.marks[:, column(suggestion.lr)] = "|"
    for losses in seeds:
        for rate, loss in zip(rates, losses, strict=True):
            if loss <= high:
                draw(rate, loss, ".")
    for rate, loss in zip(rates, suggestion.curve.median, strict=True):
        draw(rate, loss, "o")
    numbered = [*range(0, height, 4), height - 1]
    yield from canvas.lines({row: high + (low - high) * row / (height - 1) for row in numbered})
    ticks = {column(rate): f"{rate:.3g}" for rate in rate_ticks(test, canvas.columns)}
    yield f"{'':10}+" + "".join("+" if i in ticks else "-" for i in range(canvas.columns))
    yield canvas.below("rate", ticks)
    regions = {}
    if suggestion.too_low is not None:
        regions[column(suggestion.too_low) // 2] = "too low"
    too_high = suggestion.explodes or suggestion.too_high
    if too_high is not None:
        name = "explodes" if suggestion.explodes else "too high"
        regions[(column(too_high) + canvas.columns) // 2] = name
    if suggestion.lr is not None:
        regions[column(suggestion.lr)] = f"^ {suggestion.lr:g}"
    yield canvas.below("", regions)


def rate_ticks(test: RangeTest, columns: int) -> list[float]:
    """Return the powers of ten within a range test, few enough for the columns, or its ends."""
    first, last = (math.log10(rate) for rate in (test.lrs[0], test.lrs[-1]))
    powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
    ticks = [10.0**power for power in powers[:: 1 + len(powers) * 7 // columns]]
    return ticks if len(ticks) >= 2 else [float(test.lrs[0]), float(test.lrs[-1])]


def loss_chart(curve: LossCurve, width: int | None = None, height: int = 10) -> Iterator[str]:
    """Draw the loss over steps: . for minibatches, o for their mean, + for the loss on dev.

    The axis is logarithmic; a start that lies far above the rest is left out.
    """
    canvas = Canvas(width or terminal_width(100, 80), height)
    last_column, last_step = canvas.columns - 1, max(curve.end, 1)
    columns = np.round(curve.steps / last_step * last_column).astype(int)
    filled = np.unique(columns)
    means = np.array([curve.losses[columns == i].mean() for i in filled])
    high = float(np.quantile(means, 0.95))
    low = float(min(curve.losses.min(), *curve.dev_losses, high))
    span = math.log(high / low) or 1.0

    def draw(column: int, loss: float, mark: str) -> None:
        row = round(math.log(high / loss) / span * (height - 1))
        if row >= 0:
            canvas.draw(row, column, mark)

    for column, loss in zip(columns, curve.losses, strict=True):
        draw(column, float(loss), ".")
    for column, loss in zip(filled, means, strict=True):
        draw(column, float(loss), "o")
    for step, loss in zip(curve.dev_steps, curve.dev_losses, strict=True):
        draw(round(step / last_step * last_column), float(loss), "+")
    numbered = range(0, height, 3)
    yield from canvas.lines({row: high * math.exp(-span * row / (height - 1)) for row in numbered})
    yield f"{'':10}+{'-' * canvas.columns}"
    middle = canvas.columns // 2
    yield canvas.below(
        "step", {0: "0", middle: f"{last_step // 2:,}", last_column: f"{last_step:,}"}
    )
    held_out = "; + dev" if len(curve.dev_steps) else ""
    yield f"{'':11}loss in nats per symbol: . of minibatches, o their mean{held_out}"
