"""Items -> train, dev and test. Imports no jax."""

import array
import contextlib
import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, UInt64

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.corpus import Corpus, found_among, item_hashes

SCHEMES = ("lecture", "unique", "none")
TRAIN, DEV, TEST, DROPPED = range(4)  # the split of an item; a repeated one may be dropped


class Splits(NamedTuple):
    """Three corpora, or three lists of lines, or of the numbers of items."""

    train: Any
    dev: Any
    test: Any


def split(
    corpus: Corpus, scheme: str = DataConfig.split, seed: int = DataConfig.split_seed
) -> Splits:
    """Shuffle items and split them 80/10/10 by count, as the lecture does; of a document its parts.

    An item that occurs twice can fall into two splits; ``scheme="unique"`` drops repetitions first.
    With ``"none"`` all is for training. A document is cut 80/10/10 in its order; dev and test then
    begin anew, after a boundary. Source: the second makemore lecture.
    """
    if corpus.is_document:
        return _split_document(corpus, scheme)
    check_scheme(scheme)
    if scheme == "none":
        nothing = corpus.take(np.zeros(0, np.int64))
        return Splits(corpus, nothing, nothing)
    hashes = item_hashes(corpus) if scheme == "unique" else None
    splits = ordered_splits(len(corpus), seed, hashes)
    return Splits(*(corpus.take(items) for items in splits))


def ordered_splits(
    num_items: int, seed: int, hashes: UInt64[np.ndarray, " items"] | None = None
) -> Splits:
    """Return the numbers of the items of each split, in their order.

    With ``hashes`` of all items each is taken once. Raise InputError for too few items.
    """
    if hashes is not None:
        kept = np.sort(np.unique(hashes, return_index=True)[1])
        order = kept[shuffled(len(kept), seed)]
    else:
        order = shuffled(num_items, seed)
    first, second = split_ends(len(order))
    return Splits(order[:first], order[first:second], order[second:])


def shuffled(num: int, seed: int) -> Integer[np.ndarray, " num"]:
    """Return the numbers below ``num`` in the order that ``random.Random(seed)`` gives a list."""
    order = array.array("I" if num < 2**32 else "q", range(num))
    random.Random(seed).shuffle(order)
    return np.frombuffer(order, np.uint32 if num < 2**32 else np.int64)


def _split_document(corpus: Corpus, scheme: str) -> Splits:
    check_scheme(scheme)
    if scheme == "unique":
        raise InputError("a document is one item, and none of it can repeat: choose another split")
    cut = _pieces(corpus, document_ends(corpus.num_predictions, scheme))
    return Splits(corpus if scheme == "none" else cut[0], cut[1], cut[2])


def _pieces(corpus: Corpus, ends: list[int]) -> list[Corpus]:
    """Return a document cut after these tokens; each piece begins with a boundary."""
    return [
        dataclasses.replace(corpus, ids=np.concatenate([corpus.ids[:1], corpus.ids[1 + a : 1 + b]]))
        for a, b in zip([0, *ends], [*ends, corpus.num_predictions], strict=True)
    ]


def document_ends(num_tokens: int, scheme: str) -> list[int]:
    """Return after which tokens train and dev end. Raise InputError for too few tokens."""
    if scheme == "none":
        return [num_tokens, num_tokens]
    return [*split_ends(num_tokens, "tokens")]


@contextlib.contextmanager
def named_errors(path: Path | str) -> Iterator[None]:
    """Add the name of the file, or of a part of it, to an error of its splits."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_scheme(scheme: str) -> None:
    """Raise InputError for an unknown split."""
    if scheme not in SCHEMES:
        raise InputError(f"unknown split {scheme!r}; choose from {', '.join(SCHEMES)}")


def split_lines(
    lines: list[str], scheme: str = DataConfig.split, seed: int = DataConfig.split_seed
) -> Splits:
    """Return ``split`` of lines as strings: shuffled, then 80/10/10.

    >>> [len(lines) for lines in split_lines([f"line {i}" for i in range(50)])]
    [40, 5, 5]
    """
    check_scheme(scheme)
    if scheme == "none":
        return Splits(list(lines), [], [])
    kept = list(dict.fromkeys(lines)) if scheme == "unique" else lines
    first, second = split_ends(len(kept))
    order = [kept[i] for i in shuffled(len(kept), seed).tolist()]
    return Splits(order[:first], order[first:second], order[second:])


def split_ends(num_items: int, what: str = "lines") -> tuple[int, int]:
    """Return the indices at which train and dev end. Raise InputError for too few items."""
    first, second = int(0.8 * num_items), int(0.9 * num_items)
    if not 0 < first < second < num_items:
        raise InputError(
            f"{num_items} {what} are too few to split 80/10/10; give at least ten, or --split none"
        )
    return first, second


def overlap(lines: list[str] | Corpus, train: list[str] | Corpus) -> float:
    """Return the share of ``lines`` that are in ``train`` too, from 0 to 1; of documents 0."""
    if isinstance(lines, Corpus) and isinstance(train, Corpus):
        if lines.is_document or not len(lines):
            return 0.0
        hashes = item_hashes(lines)
        wanted, places = np.unique(hashes, return_inverse=True)
        return float(found_among(wanted, train)[places].mean())
    known = set(train.items() if isinstance(train, Corpus) else train)
    texts = lines.items() if isinstance(lines, Corpus) else lines
    return sum(line in known for line in texts) / len(texts)


def hold_out(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """Return nine tenths of a corpus, and every tenth item, or the last tenth of a document.

    Raises InputError for too few items.
    """
    if corpus.is_document:
        num = corpus.num_predictions
        rest, part = _pieces(corpus, [num - num_held_out(num, "tokens")])
        return rest, part
    num_held_out(len(corpus), "lines")
    is_held_out = held_out_items(len(corpus))
    return corpus.take(np.flatnonzero(~is_held_out)), corpus.take(np.flatnonzero(is_held_out))


def held_out_items(num: int) -> Bool[np.ndarray, " num"]:
    """Return which of the items are held out: every tenth."""
    return np.arange(num) % 10 == 9


def num_held_out(num: int, what: str) -> int:
    """Return how many of so many are held out. Raise InputError where they are too few."""
    if num < 10:
        raise InputError(f"{num} {what} are too few to hold a tenth of them out")
    return num // 10
