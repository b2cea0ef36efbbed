"""The numbers behind what is shown of an embedding; draws nothing.

Enters: the table of an embedding. Leaves: its rows in two dimensions, and their nearest neighbours.
"""

import unicodedata
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mm_jax.data.vocab import Vocab

NUM_NEIGHBOURS = 5  # shown of a symbol
VOWELS = set("aeiou")


class Projection(NamedTuple):
    """Rows of an embedding in two dimensions."""

    places: Float[np.ndarray, "rows 2"]
    explained: float  # the share of the variance that the two dimensions have, 0 to 1
    dim: int  # of the embedding
    axes: tuple[str, str]  # labels of the two dimensions
    groups: list[str]  # of each symbol: vowels, consonants, the boundary, or other symbols


def project_embedding(
    table: Float[np.ndarray, "V D"], vocab: Vocab, ids: Int[np.ndarray, " rows"] | None = None
) -> Projection:
    """Return these rows of an embedding, or all, in two dimensions: as they are, or projected.

    More dimensions are projected on the two principal components of these rows. An embedding of one
    dimension lies on a line. Source: Pearson (1901); the sign of a component is such that its
    largest number is positive.
    """
    ids = np.arange(len(table)) if ids is None else ids
    table, all_groups = np.asarray(table)[ids].astype(np.float64), group_symbols(vocab)
    dim, groups = table.shape[1], [all_groups[i] for i in ids]
    if dim <= 2:
        places = np.pad(table, ((0, 0), (0, 2 - dim)))
        return Projection(places, 1.0, dim, ("C[:, 0]", "C[:, 1]" if dim == 2 else ""), groups)
    centred = table - table.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    places = centred @ (directions[:2] * signs[:2, None]).T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    shares = sizes**2 / max((sizes**2).sum(), 1e-30)
    shares = np.append(shares, 0.0)
    names = (f"component {i + 1}: {shares[i]:.0%} of the variance" for i in range(2))
    return Projection(places, float(shares[:2].sum()), dim, tuple(names), groups)  # type: ignore[arg-type]


def group_symbols(vocab: Vocab) -> list[str]:
    """Return the group of each symbol; vowels and consonants where all letters are Latin."""
    boundary, *others = vocab.symbols
    letters = [symbol for symbol in others if symbol.isalpha()]
    latin = all(unicodedata.name(symbol[0], "").startswith("LATIN") for symbol in letters)
    latin = latin and vocab.unit != "word"

    def group(symbol: str) -> str:
        if symbol == boundary:
            return "the boundary"
        if not (latin and symbol.isalpha()):
            return "other symbols"
        plain = unicodedata.normalize("NFD", symbol)[0].lower()
        return "vowels" if plain in VOWELS else "consonants"

    return [group(symbol) for symbol in vocab.symbols]


class Neighbours(NamedTuple):
    """The nearest rows of some rows of an embedding, the nearest first."""

    of: Int[np.ndarray, " rows"]
    ids: Int[np.ndarray, "rows k"]
    distances: Float[np.ndarray, "rows k"]


def nearest_rows(
    table: Float[np.ndarray, "V D"],
    count: int = NUM_NEIGHBOURS,
    of: Int[np.ndarray, " rows"] | None = None,
) -> Neighbours:
    """Return the ``count`` nearest rows of each of these rows, or of all, and their distances."""
    table = np.asarray(table, np.float64)
    of = np.arange(len(table)) if of is None else of
    count, squares = min(count, len(table) - 1), (table**2).sum(1)
    ids, distances = np.zeros((len(of), count), int), np.zeros((len(of), count))
    for row, i in enumerate(of):
        far = np.sqrt(np.maximum(squares + squares[i] - 2 * (table @ table[i]), 0))
        far[i] = np.inf
        near = np.flatnonzero(far <= np.partition(far, count - 1)[count - 1])  # with all equals
        ids[row] = near[np.argsort(far[near], kind="stable")][:count]
        distances[row] = far[ids[row]]
    return Neighbours(of, ids, distances)
