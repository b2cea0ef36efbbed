"""Sampled ids -> lines, and which of them were cut; the text file that keeps them.

Imports no jax.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from mm_jax.config.models import MAX_LEN
from mm_jax.data.vocab import Vocab, decode_lines

LONGEST = 2000  # tokens after which a sampled item is cut by default, however long items are
DOCUMENT_LEN = 500  # tokens of a document that are sampled by default
CUT = "\t(cut)"  # behind a line of samples.txt that was cut


class Samples(NamedTuple):
    """Sampled lines."""

    texts: list[str]
    cut: list[bool]  # whether each reached the most tokens and was cut there
    max_len: int

    def note(self) -> str | None:
        """Return how many lines were cut and what to do; None where none was."""
        if not any(self.cut):
            return None
        return (
            f"{sum(self.cut):,} of {len(self.cut):,} lines were cut at {self.max_len:,} symbols; "
            f"for longer ones: --max-len {min(4 * self.max_len, 1_000_000)}"
        )


class SampleShape(NamedTuple):
    """How long samples are: the options of models.sampling.sample that the data decide."""

    max_len: int = MAX_LEN
    endless: bool = False

    def samples(self, vocab: Vocab, tokens: Any, ended: Any) -> Samples:
        """Return what ``sample`` has drawn as lines; a document has no end, and so no cut."""
        cut = [] if self.endless else (~np.asarray(ended)).tolist()
        return Samples(decode_lines(vocab, tokens), cut or [False] * len(tokens), self.max_len)


def sample_shape(items: str, longest: int | None) -> SampleShape:
    """Return how long samples are by default: twice the longest training item, within limits.

    ``longest`` is in tokens; None where it is not known.
    """
    if items == "document":
        return SampleShape(DOCUMENT_LEN, endless=True)
    return SampleShape(max(MAX_LEN, min(2 * (longest or 0), LONGEST)))


def to_text(samples: Samples, items: str) -> str:
    r"""Return samples one a line, for samples.txt; where items have several lines, breaks as \n."""
    marks = (CUT * cut for cut in samples.cut)
    texts = samples.texts if items == "line" else map(_escaped, samples.texts)
    return "".join(f"{text}{mark}\n" for text, mark in zip(texts, marks, strict=True))


def from_text(text: str, items: str, max_len: int = MAX_LEN) -> Samples:
    """Return the samples of which ``text`` is the ``to_text``."""
    lines = text.removesuffix("\n").split("\n")  # a sample may hold what splitlines splits at
    cut = [line.endswith(CUT) for line in lines]
    texts = [line.removesuffix(CUT) for line in lines]
    return Samples(texts if items == "line" else [*map(_unescaped, texts)], cut, max_len)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
