"""Labels of points that do not overlap: each at the free place that is the nearest to its point.

Enters: points on a figure and the size of each label, in points of type. Leaves: where to write it.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

LINE_HEIGHT = 1.2  # of a line of text, in its font size
GAP = np.array([3.0, 1.0])  # points of type between two labels, beside and above one another
STEP = 2.0  # points of type between two places that are tried
RING = 256  # places that are tried at once


def text_sizes(texts: Sequence[str], size: float) -> Float[np.ndarray, "N 2"]:
    """Return the width and the height of each text in points of type."""
    font = FontProperties(size=size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a symbol that the font lacks is a box
        widths = [text_to_path.get_text_width_height_descent(t, font, False)[0] for t in texts]
    return np.stack([widths, np.full(len(texts), LINE_HEIGHT * size)], axis=1)


def place_labels(
    points: Float[np.ndarray, "N 2"], sizes: Float[np.ndarray, "N 2"], room: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "N 2"]:
    """Return the middle of each label, between (0, 0) and ``room``, so that no two overlap.

    A label stands above its point where that is free, and otherwise as near to there as those
    before it allow: the first ones are moved the least. One that fits nowhere is not moved.

    >>> place_labels(np.full((2, 2), 50.0), np.full((2, 2), 8.0), np.array([99.0, 99.0])).tolist()
    [[50.0, 54.5], [50.0, 44.5]]
    """
    moves, half = _moves(room), (sizes + GAP) / 2
    low, high = half, np.maximum(room - half, half)
    placed = np.clip(points + np.array([0, 1]) * half, low, high)
    for i, first_place in enumerate(placed.copy()):
        for first in range(0, len(moves), RING):
            places = first_place + moves[first : first + RING]
            is_inside = ((places >= low[i]) & (places <= high[i])).all(1)
            is_free = is_inside & ~_overlaps(places, placed[:i], half[i] + half[:i])
            if is_free.any():
                placed[i] = places[np.argmax(is_free)]
                break
    return placed


def _moves(room: Float[np.ndarray, "2"]) -> Float[np.ndarray, "moves 2"]:
    """Return how far from its first place a label may be moved, the shortest way first."""
    x, y = (np.arange(-(side // STEP), side // STEP + 1) * STEP for side in room)
    moves = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return moves[np.argsort((moves**2).sum(1), kind="stable")]


def _overlaps(
    places: Float[np.ndarray, "P 2"],
    placed: Float[np.ndarray, "N 2"],
    apart: Float[np.ndarray, "N 2"],
) -> Bool[np.ndarray, " P"]:
    """Return at which places a label would be nearer than ``apart`` to one that is placed."""
    return (np.abs(places[:, None] - placed) < apart - 1e-9).all(2).any(1)
