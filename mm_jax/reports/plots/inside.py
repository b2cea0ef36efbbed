"""Figures of what is inside a model while it reads a line: its attention, and its gates."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mm_jax.reports.analysis import shortened
from mm_jax.reports.plots.style import CELLS, label, styled

MAX_LAYERS = 6  # that are drawn, the first ones
MAX_HEADS = 8  # of a layer that are drawn, the first ones
MAX_UNITS = 64  # of a gate that are drawn, evenly spread from the most open to the least
MAX_NAME = 10  # letters of a symbol beside a panel
MIN_CELL, MAX_CELL = 0.105, 0.21  # inches: the smallest whose symbol can be read, the largest
WIDTH = 5.0  # inches of panels beside each other, where their cells are not too small for it
MIN_WIDTH = 5.3  # inches of the figure of gates, so that its title fits
MIN_SIDE = 1.0  # inches of a panel, so that its title fits
UNIT_HEIGHT = 0.05  # inches


@styled
def attention(maps: Mapping[str, Float[np.ndarray, "heads T T"]], symbols: Sequence[str]) -> Figure:
    """Draw how much each symbol of a line reads from each: a panel for each layer and head.

    A row is the symbol that reads; ``maps`` are by the name of the layer.
    """
    drawn = {name: heads[:MAX_HEADS] for name, heads in list(maps.items())[:MAX_LAYERS]}
    columns = max(len(heads) for heads in drawn.values())
    cell = _cell_size(len(symbols), columns)
    side = max(MIN_SIDE, cell * len(symbols))
    gap = _room_for_names(symbols)
    size = (columns * (side + gap) + 0.9, len(drawn) * (side + gap + 0.1) + 0.8)
    figure = Figure(figsize=size)
    panels = figure.subplots(len(drawn), columns, squeeze=False)
    for row, (name, heads) in zip(panels, drawn.items(), strict=True):
        for number, axes in enumerate(row):
            if number < len(heads):
                _draw_cells(axes, heads[number], f"{name}, head {number + 1}")
                axes.set_aspect("equal")
                _name_places(axes, symbols, cell)
                _name_places(axes, symbols, cell, is_upright=True)
            else:
                axes.set_axis_off()
    figure.supylabel("symbol that reads", size=10)
    cut = cut_text(len(maps), max(map(len, maps.values())))
    _finish(figure, panels, "Attention", cut, "weight")
    return figure


@styled
def gates(openness: Mapping[str, Float[np.ndarray, "T H"]], symbols: Sequence[str]) -> Figure:
    """Draw how open each gate is at each symbol of a line: a panel for each layer and gate.

    A row is a unit, the most open one first; ``openness`` is by layer and gate ("layer1 reset").
    """
    layers = layers_of(openness)
    drawn = {name: each for name, each in openness.items() if _layer(name) in layers[:MAX_LAYERS]}
    columns = max(sum(_layer(name) == layer for name in drawn) for layer in layers)
    rows = -(-len(drawn) // columns)
    units = max(each.shape[1] for each in openness.values())
    cell = _cell_size(len(symbols), columns)
    width = max(MIN_WIDTH, columns * (max(1.5 * MIN_SIDE, cell * len(symbols)) + 0.2) + 1.1)
    height = max(MIN_SIDE, UNIT_HEIGHT * min(units, MAX_UNITS)) + _room_for_names(symbols) + 0.25
    figure = Figure(figsize=(width, rows * height + 0.7))
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, each) in zip(panels.flat, drawn.items(), strict=False):
        _draw_cells(axes, most_open_first(each).T, f"{name}, mean {each.mean():.2f}")
        _name_places(axes, symbols, cell)
        axes.set_yticks([])
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    figure.supylabel("unit, the most open first", size=10)
    cut = cut_text(len(layers), units=units)
    _finish(figure, panels, "Gates: how open each is at each symbol", cut, "openness")
    return figure


def cut_text(layers: int, heads: int = 0, units: int = 0) -> str:
    """Return how much of a model is drawn; "" where all of it is.

    >>> cut_text(layers=12, heads=12)
    'the first 6 of 12 layers and the first 8 of 12 heads'
    """
    parts = []
    if layers > MAX_LAYERS:
        parts.append(f"the first {MAX_LAYERS} of {layers} layers")
    if heads > MAX_HEADS:
        parts.append(f"the first {MAX_HEADS} of {heads} heads")
    if units > MAX_UNITS:
        parts.append(f"{MAX_UNITS} of {units} units")
    return " and ".join(parts)


def layers_of(openness: Mapping[str, Any]) -> list[str]:
    """Return the layers that have gates, in their order."""
    return list(dict.fromkeys(map(_layer, openness)))


def _layer(name: str) -> str:
    """Return the layer of a gate: what is before the last space of its name."""
    return name.rpartition(" ")[0]


def most_open_first(each: Float[np.ndarray, "T H"]) -> Float[np.ndarray, "T units"]:
    """Return a gate with its units in the order of their mean openness, at most ``MAX_UNITS``.

    >>> most_open_first(np.array([[0.1, 0.9, 0.5]])).tolist()
    [[0.9, 0.5, 0.1]]
    """
    order = np.argsort(-each.mean(0), kind="stable")
    count = min(len(order), MAX_UNITS)
    places = np.round(np.linspace(0, len(order) - 1, count)).astype(int)
    return each[:, order[places]]


def _cell_size(length: int, columns: int) -> float:
    """Return the width of a cell in inches, of ``length`` in each panel of a row of panels."""
    return max(MIN_CELL, min(MAX_CELL, WIDTH / (columns * length)))


def _room_for_names(symbols: Sequence[str]) -> float:
    """Return the inches that the names of symbols take beside a panel."""
    return 0.15 + 0.06 * max(len(_name(symbol)) for symbol in symbols)


def _name(symbol: str) -> str:
    return label(shortened(symbol, MAX_NAME))


def _draw_cells(axes: Axes, values: Float[np.ndarray, "rows columns"], title: str) -> None:
    """Draw numbers from 0 to 1 as cells, the first row at the top, below a title.

    The title is a text, since a page takes the titles of panels away.
    """
    mesh = axes.pcolormesh(values, cmap="Blues", vmin=0, vmax=1)
    mesh.set_clip_on(False)  # nothing sticks out, and a page is smaller
    mesh.set_gid(CELLS)
    axes.invert_yaxis()
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, (0, 1), (0, 3), va="bottom", fontsize=8, **style)


def _name_places(
    axes: Axes, symbols: Sequence[str], cell: float, *, is_upright: bool = False
) -> None:
    """Write the symbols along the axis of columns, or where it is upright of rows."""
    names = list(map(_name, symbols))
    axis = axes.yaxis if is_upright else axes.xaxis
    axis.set_ticks(np.arange(len(names)) + 0.5, names)
    size = min(8.5, 62 * cell)  # points, in a cell of so many inches
    axes.tick_params(axis="y" if is_upright else "x", length=0, pad=2, labelsize=size)
    if max(map(len, names)) > 2 and not is_upright:
        axes.tick_params(axis="x", labelrotation=90)


def _finish(figure: Figure, panels: np.ndarray, title: str, cut: str, bar_name: str) -> None:
    """Add the title, what of the model is drawn, and the scale of colours of all panels, 0 to 1."""
    figure.suptitle(f"{title}\n({cut})" if cut else title, size=11)
    figure.supxlabel("symbol that is read", size=10)
    shades = matplotlib.colormaps["Blues"].resampled(64)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), shades),
        ax=panels,
        aspect=7 * figure.get_figheight(),
        fraction=0.15 / figure.get_figwidth(),
        shrink=0.9,
        pad=0.02,
        label=bar_name,
    )
    assert bar.solids is not None
    bar.solids.set(rasterized=False, clip_on=False, gid=CELLS)  # a page shows no images
    bar.outline.set_visible(False)
