"""The figure of a ladder: the loss of each model against what it costs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from matplotlib.transforms import Bbox

from mm_jax.reports.plots.style import BLUE, FAINT, GREY, ORANGE, label, styled

STYLES = {"counted": (GREY, "s"), "net": (BLUE, "o"), "several models": (ORANGE, "D")}
LETTER, LINE = 5.2, 10.0  # width and height of a letter at the size of names, in points
# Where a name may stand: right, left, above or below its mark, ever further away, in points.
PLACES = [
    (side * (6 + 5 * ring), up * (5 + 7 * ring), side)
    for ring in range(6)
    for side, up in ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
]


class Mark(NamedTuple):
    """A model in the figure."""

    name: str
    kind: str  # of STYLES
    cost: float
    loss: float  # nats per symbol
    half: float | None  # of the interval of the loss


@styled
def ladder(marks: Sequence[Mark], cost: str, split: str) -> Figure:
    """Draw the loss of models on a split against their cost, which is logarithmic; with names."""
    figure = Figure(figsize=(7.4, 5.2))
    axes = figure.subplots()
    axes.set_xscale("log")
    for kind, (color, shape) in STYLES.items():
        own = [mark for mark in marks if mark.kind == kind]
        if own:
            axes.errorbar(
                [mark.cost for mark in own],
                [mark.loss for mark in own],
                yerr=[mark.half or 0.0 for mark in own],
                fmt=shape,
                markersize=6,
                color=color,
                elinewidth=1.2,
                label=kind,
            )
    axes.xaxis.set_major_formatter("{x:,.15g}")
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.margins(x=0.14, y=0.08)
    axes.set_xlabel(cost)
    axes.set_ylabel(f"loss on {split}, nats per symbol")
    axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=len(STYLES))
    figure.draw_without_rendering()  # the places of the marks on the page depend on the layout
    _name(axes, marks)
    return figure


def _name(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write the name of each model beside its mark, where no mark or other name stands."""
    figure = axes.figure
    assert figure is not None
    per_point = figure.dpi / 72
    spots = axes.transData.transform([(mark.cost, mark.loss) for mark in marks])
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in spots]
    for mark, (x, y) in sorted(zip(marks, spots, strict=True), key=lambda each: -each[0].loss):
        width, height = LETTER * len(mark.name) * per_point, LINE * per_point
        boxes = [
            Bbox.from_bounds(
                x + right * per_point - (width if side < 0 else 0),
                y + up * per_point - height / 2,
                width,
                height,
            )
            for right, up, side in PLACES
        ]
        outside = [
            not axes.bbox.padded(8).contains(box.x0, box.y0)
            or not axes.bbox.padded(8).contains(box.x1, box.y1)
            for box in boxes
        ]
        crowded = [
            box.count_overlaps(taken) + 2 * out for box, out in zip(boxes, outside, strict=True)
        ]
        best = int(np.argmin(crowded))
        taken.append(boxes[best])
        right, up, side = PLACES[best]
        axes.annotate(
            label(mark.name),
            (mark.cost, mark.loss),
            (right, up),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": FAINT, "shrinkA": 0, "shrinkB": 3}
            if abs(up) > 8
            else None,
        )
