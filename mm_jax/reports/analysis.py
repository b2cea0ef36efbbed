"""Lines and arrays of a run -> the numbers behind its figures and its report.

Enters: splits, samples, parameters. Leaves: planes, neighbours, floors, lines with their surprise.
Draws nothing.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Integer
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from mm_jax.data.batches import rows
from mm_jax.data.ngram_counts import count_lines, highest_order
from mm_jax.data.splits import Splits
from mm_jax.data.text import BOUNDARY
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params
from mm_jax.models.baselines import MAX_ORDER, count_baselines, reference_losses
from mm_jax.training.loss import nats

NEAREST = 5  # neighbours of a symbol
LABELLED = 120  # symbols of a large alphabet that an embedding is shown of
VOWELS = set("aeiou")


def readable(text: str) -> str:
    """Return text with what cannot be seen written out: white space, and what steers the text.

    >>> readable("a b\u202ec")
    'a␣bU+202Ec'
    """
    shown = (c if c.isprintable() else f"U+{ord(c):04X}" for c in text)
    return "".join(shown).replace(" ", "␣")


def shortened(text: str, most: int) -> str:
    """Return text of at most so many symbols, with … where some are left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


class Projection(NamedTuple):
    """An embedding in two dimensions."""

    places: Float[np.ndarray, "V 2"]
    explained: float  # the share of the variance that they have, 0 to 1
    dim: int  # of the embedding
    axes: tuple[str, str]  # what they are
    groups: list[str]  # of each symbol: vowels, consonants, the boundary, other symbols


def project_embedding(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Projection:
    """Return an embedding of two dimensions as it is, of more by principal components.

    A table of one dimension lies on a line. Source: Pearson (1901); the signs are chosen such that
    the largest number of each component is positive.
    """
    table = np.asarray(table, np.float64)
    dim, groups = table.shape[1], groups_of(vocab)
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


def groups_of(vocab: Vocab) -> list[str]:
    """Return what each symbol is; vowels and consonants where all letters are Latin ones."""
    letters = [symbol for symbol in vocab.symbols if symbol.isalpha()]
    latin = all(unicodedata.name(symbol, "").startswith("LATIN") for symbol in letters)

    def group(symbol: str) -> str:
        if symbol == BOUNDARY:
            return "the boundary"
        if not (latin and symbol.isalpha()):
            return "other symbols"
        plain = unicodedata.normalize("NFD", symbol)[0].lower()
        return "vowels" if plain in VOWELS else "consonants"

    return [group(symbol) for symbol in vocab.symbols]


def neighbours_of(
    table: Float[np.ndarray, "V D"], most: int = NEAREST, first: int = LABELLED
) -> tuple[Int[np.ndarray, "rows k"], Float[np.ndarray, "rows k"]]:
    """Return the nearest rows of each of the ``first`` rows, and their Euclidean distances."""
    table = np.asarray(table, np.float64)
    squares, own = (table**2).sum(1), table[:first]
    distance = np.sqrt(np.maximum(squares[:first, None] + squares - 2 * own @ table.T, 0))
    np.fill_diagonal(distance, np.inf)
    ids = np.argsort(distance, axis=1, kind="stable")[:, : min(most, len(table) - 1)]
    return ids, np.take_along_axis(distance, ids, 1)


class AnnotatedLine(NamedTuple):
    """A line that a model made, looked at closely."""

    text: str
    symbols: list[tuple[str, float]]  # each symbol and its nats; the last one is the line's end
    seen: list[str]  # the splits that it stands in
    nearest: str | None  # the training line with the fewest edits; None where that is not known
    distance: int | None  # how many edits: symbols put in, left out, or changed (Levenshtein 1966)


def annotate_lines(
    texts: Sequence[str], model: Model, params: Params, vocab: Vocab, splits: Splits | None
) -> list[AnnotatedLine]:
    """Return lines with the surprise of each symbol; with ``splits``, where they were seen."""
    texts = [text for text in texts if text]
    if not texts:
        return []
    each = jax.jit(nats, static_argnums=0)(model, params, rows(texts, vocab, model.context))
    surprise = np.asarray(each).tolist()
    sets = {} if splits is None else {k: set(v) for k, v in splits._asdict().items()}
    train = [] if splits is None else list(dict.fromkeys(splits.train))
    lines = []
    for text, row in zip(texts, surprise, strict=True):
        symbols = list(zip((*text, BOUNDARY), row, strict=False))
        seen = [name for name, known in sets.items() if text in known]
        found = process.extractOne(text, train, scorer=Levenshtein.distance) if train else None
        nearest, distance = (found[0], int(found[1])) if found else (None, None)
        lines.append(AnnotatedLine(text, symbols, seen, nearest, distance))
    return lines


def baseline_losses(splits: Splits, vocab: Vocab) -> dict[str, Any]:
    """Return what counting reaches on dev, or on train where no lines are held out."""
    top = min(highest_order(len(vocab)), MAX_ORDER)
    train = count_lines(splits.train, vocab, top)
    dev = count_lines(splits.dev, vocab, top) if splits.dev else None
    return reference_losses(list(count_baselines(train, dev)))


def named_baselines(found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and the loss of each floor, the highest first."""
    named = {name: value for name, value in found.items() if isinstance(value, float)}
    counted = [found[name] for name in ("add_k", "kneser_ney") if name in found]
    if counted:
        best = min(counted, key=lambda rung: rung["dev_loss"])
        name = "Kneser-Ney" if best["kind"] == "kneser-ney" else "best with k added"
        if best["order"] > 2 or best["kind"] == "kneser-ney":  # others stand there already
            named[f"order {best['order']}, {name}"] = best["dev_loss"]
    yield from sorted(named.items(), key=lambda each: -each[1])


class ArrayStats(NamedTuple):
    """One array of the parameters."""

    name: str
    shape: tuple[int, ...]
    size: int
    mean: float
    std: float
    low: float
    high: float


def array_stats(arrays: Iterable[tuple[str, np.ndarray]]) -> list[ArrayStats]:
    """Return what each array is like."""
    return [
        ArrayStats(
            name,
            array.shape,
            array.size,
            float(array.mean(dtype=np.float64)),
            float(array.std(dtype=np.float64)),
            float(array.min()),
            float(array.max()),
        )
        for name, array in arrays
    ]


def bigrams_of(lines: Sequence[str], vocab: Vocab) -> Integer[np.ndarray, "V V"]:
    """Return how often each bigram occurs."""
    return count_lines(lines, vocab, 2).dense()
