"""The numbers behind the figures and the report of a run; draws nothing.

Enters: splits, samples, parameters. Leaves: projections and nearest neighbours of an embedding,
baselines, lines with the surprise of each symbol, statistics of arrays.
"""

import dataclasses
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from mm_jax.data.corpus import Corpus, encode_corpus
from mm_jax.data.dataset import Dataset
from mm_jax.data.ngram_counts import count_corpus
from mm_jax.data.ngram_numbers import highest_order
from mm_jax.data.samples import Samples
from mm_jax.data.splits import Splits
from mm_jax.data.vocab import Vocab
from mm_jax.models.base import Model, Params
from mm_jax.models.baselines import MAX_ORDER, count_baselines, reference_losses
from mm_jax.training.surprise import surprise

NUM_NEIGHBOURS = 5  # shown of a symbol
MAX_SYMBOLS = 120  # of a large alphabet that are shown of an embedding
MAX_READ = 24  # symbols of a line that figures show a model reading
VOWELS = set("aeiou")


def readable(text: str) -> str:
    """Return text with its white space and control characters made visible.

    >>> readable("a b\u202ec")
    'a␣bU+202Ec'
    """
    shown = (c if c.isprintable() else f"U+{ord(c):04X}" for c in text.replace("\n", "⏎"))
    return "".join(shown).replace(" ", "␣")


def shortened(text: str, max_length: int) -> str:
    """Return text of at most ``max_length`` symbols, with … in place of those left out."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


class Projection(NamedTuple):
    """An embedding in two dimensions."""

    places: Float[np.ndarray, "V 2"]
    explained: float  # the share of the variance that the two dimensions have, 0 to 1
    dim: int  # of the embedding
    axes: tuple[str, str]  # labels of the two dimensions
    groups: list[str]  # of each symbol: vowels, consonants, the boundary, or other symbols


def project_embedding(table: Float[np.ndarray, "V D"], vocab: Vocab) -> Projection:
    """Return an embedding in two dimensions: as it is, or by its principal components.

    An embedding of one dimension lies on a line. Source: Pearson (1901); the sign of a component is
    such that its largest number is positive.
    """
    table = np.asarray(table, np.float64)
    dim, groups = table.shape[1], group_symbols(vocab)
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


def nearest_rows(
    table: Float[np.ndarray, "V D"], count: int = NUM_NEIGHBOURS, first: int = MAX_SYMBOLS
) -> tuple[Int[np.ndarray, "rows k"], Float[np.ndarray, "rows k"]]:
    """Return the ``count`` nearest rows of each of the ``first`` rows, and their distances."""
    table = np.asarray(table, np.float64)
    squares, products = (table**2).sum(1), table[:first] @ table.T
    distances = np.sqrt(np.maximum(squares[:first, None] + squares - 2 * products, 0))
    np.fill_diagonal(distances, np.inf)
    ids = np.argsort(distances, axis=1, kind="stable")[:, : min(count, len(table) - 1)]
    return ids, np.take_along_axis(distances, ids, 1)


class AnnotatedLine(NamedTuple):
    """A sampled line with the surprise of its symbols and where it occurs in the data."""

    text: str
    symbols: list[tuple[str, float]]  # each symbol and its nats; the last is the end, if it has one
    seen: list[str]  # the splits that contain it
    nearest: str | None  # the training line with the fewest edits; None where that is not known
    distance: int | None  # edits to it: insertions, deletions, substitutions (Levenshtein 1966)
    is_cut: bool  # whether it reached the most symbols, and has no end


def annotate_lines(
    samples: Samples,
    model: Model,
    params: Params,
    vocab: Vocab,
    dataset: Dataset | None,
    *,
    is_document: bool = False,
) -> list[AnnotatedLine]:
    """Return lines with the surprise of each symbol; with a ``dataset`` also where they occur.

    Samples of a document have no end, and occur nowhere as a whole.
    """
    pairs = [pair for pair in zip(samples.texts, samples.cut, strict=True) if pair[0]]
    if not pairs:
        return []
    texts = [text for text, _ in pairs]
    corpus = encode_corpus(texts, vocab)
    nats = _nats_of_lines(model, params, corpus)
    seen: dict[str, list[bool]] = {}
    train: list[str] = []
    if dataset is not None and not is_document:
        seen = {name: part.contains(texts) for name, part in dataset.splits._asdict().items()}
        train = list(dict.fromkeys(dataset.splits.train.items()))
    lines = []
    for i, (text, is_cut) in enumerate(pairs):
        first, end = corpus.offsets[i : i + 2].tolist()
        shown = [vocab.symbols[k] for k in corpus.ids[first + 1 : end + 1].tolist()]
        symbols = list(zip(shown, nats[i], strict=False))
        if is_cut or is_document:
            symbols = symbols[: len(shown) - 1]
        where = [name for name, found in seen.items() if found[i]]
        match = process.extractOne(text, train, scorer=Levenshtein.distance) if train else None
        nearest, distance = (match[0], int(match[1])) if match else (None, None)
        lines.append(AnnotatedLine(text, symbols, where, nearest, distance, is_cut))
    return lines


def _nats_of_lines(model: Model, params: Params, corpus: Corpus) -> list[list[float]]:
    """Return the nats of the symbols of each line, and of its end where the model reads so far.

    A model of ``max_len`` tokens can make a line of as many, whose end it cannot predict: that is
    read as a document, which has none.
    """
    fits = np.ones(len(corpus), bool) if model.max_len is None else corpus.lengths < model.max_len
    result: list[list[float]] = [[] for _ in fits]
    if fits.any():
        some = corpus if fits.all() else corpus.take(np.flatnonzero(fits))
        nats = surprise(model, params, some)
        ends = some.offsets[1:-1]
        for i, each in zip(np.flatnonzero(fits), np.split(nats, ends), strict=True):
            result[i] = each.tolist()
    for i in np.flatnonzero(~fits):
        ids = corpus.ids[corpus.offsets[i] : corpus.offsets[i + 1]]
        block = min(len(ids) - 1, model.max_len or len(ids))
        alone = dataclasses.replace(corpus, ids=ids, is_document=True, block=block)
        result[i] = surprise(model, params, alone).tolist()
    return result


def line_to_read(
    lines: Sequence[AnnotatedLine], vocab: Vocab, max_len: int | None = None
) -> Int[np.ndarray, " T"]:
    """Return a boundary and the symbols of a line that figures show a model reading.

    It is the first line that is whole and has at most MAX_READ symbols, and no more than a model of
    ``max_len`` tokens reads; else the beginning of the first one.
    """
    most = 1 + MAX_READ if max_len is None else min(1 + MAX_READ, max_len)
    read = [encode_corpus([line.text], vocab).ids[:-1].astype(np.int32) for line in lines]
    whole = (
        ids for ids, line in zip(read, lines, strict=True) if not line.is_cut and len(ids) <= most
    )
    return next(whole, next(iter(read), np.zeros(1, np.int32)))[:most]


def baseline_losses(splits: Splits) -> dict[str, Any]:
    """Return the losses of counting on dev, or on train where no lines are held out."""
    order = min(highest_order(len(splits.train.vocab)), MAX_ORDER)
    train = count_corpus(splits.train, order)
    dev = count_corpus(splits.dev, order) if splits.dev.num_predictions else None
    return reference_losses(list(count_baselines(train, dev)))


def named_baselines(losses: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and the loss of each of reference_losses, the highest first."""
    named = {name: value for name, value in losses.items() if isinstance(value, float)}
    counted = [losses[name] for name in ("add_k", "kneser_ney") if name in losses]
    if counted:
        best = min(counted, key=lambda baseline: baseline["dev_loss"])
        name = "Kneser-Ney" if best["kind"] == "kneser-ney" else "best with k added"
        if best["order"] > 2 or best["kind"] == "kneser-ney":  # lower ones have a name already
            named[f"order {best['order']}, {name}"] = best["dev_loss"]
    yield from sorted(named.items(), key=lambda each: -each[1])


class ArrayStats(NamedTuple):
    """Statistics of one array of the parameters."""

    name: str
    shape: tuple[int, ...]
    size: int
    mean: float
    std: float
    low: float
    high: float


def array_stats(arrays: Iterable[tuple[str, np.ndarray]]) -> list[ArrayStats]:
    """Return the statistics of each named array."""
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
