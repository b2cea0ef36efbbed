"""Sampled ids -> lines, and which of them were cut; the text file that keeps them.

Imports no jax.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from mm_jax.config.data import DataConfig
from mm_jax.config.models import MAX_LEN
from mm_jax.config.training import NUM_SAMPLES
from mm_jax.data.items import ITEM_NAMES
from mm_jax.data.vocab import Vocab, decode_lines

LONGEST = 2000  # tokens after which a sampled item is cut by default, however long items are
DOCUMENT_LEN = 500  # tokens of a document that are sampled by default
NUM_OF_DOCUMENT = 3  # samples of that length that are kept with a run
ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}
CUT = "\t(cut)"  # behind a line of samples.txt that was cut


class Samples(NamedTuple):
    """Sampled lines."""

    texts: list[str]
    cut: list[bool]  # whether each reached the most tokens and was cut there
    max_len: int
    what: str = "lines"

    def note(self) -> str | None:
        """Return how many were cut and what to do; None where none was."""
        if not any(self.cut):
            return None
        return (
            f"{sum(self.cut):,} of {len(self.cut):,} {self.what} were cut at {self.max_len:,} "
            f"symbols; for longer ones: --max-len {min(4 * self.max_len, 1_000_000)}"
        )


class SampleShape(NamedTuple):
    """How many samples are kept with a run, and how long they are; the data decide that."""

    max_len: int = MAX_LEN
    endless: bool = False  # of a document, which has no end
    num: int = NUM_SAMPLES
    what: str = "lines"

    @property
    def options(self) -> dict[str, Any]:
        """The options of models.sampling.sample."""
        return {"max_len": self.max_len, "endless": self.endless}

    def within(self, max_len: int | None) -> "SampleShape":
        """Return the shape for a model that makes at most ``max_len`` tokens; None: any number."""
        return self if max_len is None else self._replace(max_len=min(self.max_len, max_len))

    def samples(self, vocab: Vocab, tokens: Any, ended: Any) -> Samples:
        """Return what ``sample`` has drawn as lines; what has no end is not cut."""
        cut = [False] * len(tokens) if self.endless else (~np.asarray(ended)).tolist()
        return Samples(decode_lines(vocab, tokens), cut, self.max_len, self.what)


def sample_shape(items: str, longest: int | None) -> SampleShape:
    """Return how long samples are by default: twice the longest training item, within limits.

    ``longest`` is in tokens; None where it is not known.
    """
    if items == "document":
        return SampleShape(DOCUMENT_LEN, endless=True, num=NUM_OF_DOCUMENT, what=_names(items))
    max_len = max(MAX_LEN, min(2 * (longest or 0), LONGEST))
    return SampleShape(max_len, what=_names(items))


def to_text(samples: Samples, data: DataConfig) -> str:
    r"""Return samples one a line, for samples.txt; where they may have line breaks, these as \n."""
    marks = (CUT * cut for cut in samples.cut)
    texts = map(_escaped, samples.texts) if _have_breaks(data) else samples.texts
    return "".join(f"{text}{mark}\n" for text, mark in zip(texts, marks, strict=True))


def from_text(text: str, data: DataConfig, max_len: int = MAX_LEN) -> Samples:
    """Return the samples of which ``text`` is the ``to_text``."""
    lines = text.removesuffix("\n").split("\n")  # a sample may hold what splitlines splits at
    cut = [line.endswith(CUT) for line in lines]
    texts = [line.removesuffix(CUT) for line in lines]
    texts = [*map(_unescaped, texts)] if _have_breaks(data) else texts
    return Samples(texts, cut, max_len, _names(data.items))


def _names(items: str) -> str:
    return "samples" if items == "document" else ITEM_NAMES[items]


def _have_breaks(data: DataConfig) -> bool:
    """Check whether an item can have several lines; bytes can be sampled in any order."""
    return data.items != "line" or data.unit == "byte"


def _escaped(text: str) -> str:
    for symbol, written in ESCAPES.items():
        text = text.replace(symbol, written)
    return text


def _unescaped(text: str) -> str:
    symbols = {written: symbol for symbol, written in ESCAPES.items()}
    return re.sub(r"\\.", lambda found: symbols.get(found[0], found[0]), text)
