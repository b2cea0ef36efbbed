"""The numbers behind the figures and the report of a run; draws nothing.

Enters: splits, samples, parameters. Leaves: which symbols to show, baselines, lines with the
surprise of each symbol, statistics of arrays.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Integer
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

MAX_SYMBOLS = 200  # of a large alphabet that are shown of an embedding
MAX_READ = 24  # symbols of a line that figures show a model reading


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


class ShownSymbols(NamedTuple):
    """The symbols that are shown: all, or some of a large alphabet."""

    ids: Int[np.ndarray, " shown"]
    which: str  # they are, in words


def shown_symbols(
    vocab_size: int, frequency: Integer[np.ndarray, " V"] | None, most: int = MAX_SYMBOLS
) -> ShownSymbols:
    """Return all symbols, or of a large alphabet the ``most`` frequent ones, in that order.

    Where the ``frequency`` is not known, the first ones.

    >>> shown_symbols(3, np.array([1, 2, 3]), 2)
    ShownSymbols(ids=array([2, 1]), which='the most frequent 2 of 3 symbols')
    """
    ids = np.arange(vocab_size)
    if vocab_size <= most:
        return ShownSymbols(ids, f"{vocab_size:,} symbols")
    if frequency is None:
        return ShownSymbols(ids[:most], f"the first {most} of {vocab_size:,} symbols")
    ids = np.argsort(-frequency, kind="stable")[:most]
    return ShownSymbols(ids, f"the most frequent {most} of {vocab_size:,} symbols")


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
    return reference_losses(list(count_baselines(train, dev, of_train=dev is None)))


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
