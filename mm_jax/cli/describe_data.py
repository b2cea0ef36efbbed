"""The data on the console: the file, its items and their split, notes, samples."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mm_jax.config.data import DataConfig
from mm_jax.data.items import ITEM_NAMES
from mm_jax.data.vocab import UNKNOWN
from mm_jax.runtime.console import Console

NUM_NAMED = 5  # unknown words that a note names

if TYPE_CHECKING:
    from mm_jax.data.dataset import Dataset
    from mm_jax.data.encoding import FileInfo
    from mm_jax.data.samples import Samples


def describe_dataset(dataset: "Dataset") -> Iterator[str]:
    """Yield lines for the console: the file with its vocabulary, and its split."""
    config, counts = dataset.config, dataset.record["split_lines"]
    if dataset.info.is_document:
        counts = [part.num_predictions for part in dataset.splits]
    yield from describe_file(config, dataset.info, counts, dataset.dev_lines_in_train)


def describe_file(
    config: DataConfig, info: "FileInfo", counts: list[int], dev_lines_in_train: float
) -> Iterator[str]:
    """Yield what describe_dataset does; ``counts`` as in ``describe_split``."""
    kind = {"char": "symbols", "byte": "bytes", "word": "words"}[config.unit]
    number = sum(counts) if info.is_document else info.num_items
    blank = f", {info.num_blank:,} blank lines dropped" if config.items == "line" else ""
    yield (
        f"data       {config.data}: {number:,} {ITEM_NAMES[config.items]}, "
        f"{len(info.vocab):,} {kind}{blank}"
    )
    yield f"split      {describe_split(counts, dev_lines_in_train, config.items)}"


def describe_split(counts: list[int], dev_lines_in_train: float, items: str = "line") -> str:
    """Return how many items are in train, dev and test, and the share of dev that is in train.

    Of a document ``counts`` are those of tokens.
    """
    names = ITEM_NAMES[items]
    if not counts[1]:
        return f"all {counts[0]:,} {names} are for training, none are held out"
    text = " / ".join(f"{count:,}" for count in counts)
    if items == "document":
        return f"{text} tokens, in the order of the document"
    hint = "; see --split unique" if dev_lines_in_train else ""
    return f"{text} {names} ({dev_lines_in_train:.1%} of dev is in train too{hint})"


def show_samples(samples: "Samples", in_train: Sequence[bool] | None, console: Console) -> None:
    """Print samples, and on stderr how many were cut."""
    console.say_samples(samples.texts, samples.cut, in_train)
    if (note := samples.note()) is not None:
        console.note(note)


def note_unknown(words: Sequence[str], console: Console) -> None:
    """Print on stderr which words a model does not know and reads as the unknown one."""
    distinct = list(dict.fromkeys(words))
    if len(distinct) == 1:
        console.note(f"{distinct[0]!r} is not in the vocabulary and is read as {UNKNOWN}")
    elif distinct:
        named = ", ".join(map(repr, distinct[:NUM_NAMED])) + ", ..." * (len(distinct) > NUM_NAMED)
        console.note(
            f"{len(distinct):,} words are not in the vocabulary and are read as {UNKNOWN}: {named}"
        )


def note_data(info: "FileInfo", console: Console) -> None:
    """Print on stderr what the user should know about a file."""
    for note in info.notes:
        console.note(note)
