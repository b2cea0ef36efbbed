"""A data file -> its splits as corpora, its vocabulary, and what config.json keeps of it."""

from typing import Any, NamedTuple

from mm_jax.config.data import DataConfig
from mm_jax.data.encoding import FileInfo, encode_file
from mm_jax.data.examples import Examples, evenly, examples_of
from mm_jax.data.file_summary import summarize, totals_in_splits
from mm_jax.data.mapped import is_too_large, map_file
from mm_jax.data.samples import SampleShape, sample_shape
from mm_jax.data.splits import Splits, named_errors, overlap, split
from mm_jax.data.streaming import Stream
from mm_jax.data.vocab import Vocab

MAX_DURING = 2**16  # predictions that a loss is measured on while a model is trained
MAX_AT_END = 2**22  # and when it has been
MAX_LOGITS = 2**29, 2**32  # of these predictions, which a large vocabulary has more of


class Dataset(NamedTuple):
    """A data file, split, with its vocabulary."""

    config: DataConfig
    info: FileInfo
    splits: Splits
    dev_lines_in_train: float  # the share of dev lines that are in train too
    num_skipped: int = 0  # items that were left out, since they have unknown symbols

    @property
    def vocab(self) -> Vocab:
        """Its symbols."""
        return self.info.vocab

    @property
    def has_dev(self) -> bool:
        """Whether items are held out for dev."""
        return self.splits.dev.num_predictions > 0

    @property
    def record(self) -> dict[str, Any]:
        """What config.json keeps of the data."""
        counts = [len(part) if part.num_predictions else 0 for part in self.splits]
        return self.info.record(counts, self.dev_lines_in_train, self.splits.train.longest)

    @property
    def sample_shape(self) -> SampleShape:
        """How long samples of a model of these data are."""
        return sample_shape(self.config.items, self.splits.train.longest)

    @property
    def most_tokens(self) -> int:
        """The most tokens that a model of rows reads at once: of an item with its boundary."""
        if self.splits.train.is_document:
            return min(self.config.block, max(part.num_predictions for part in self.splits))
        return 1 + max(part.longest for part in self.splits)

    def examples(self, split: str, context: int | None, row_length: int | None = None) -> Examples:
        """Return the examples of a split for a model of this context."""
        return examples_of(getattr(self.splits, split), context, row_length)

    @property
    def limits(self) -> tuple[int, int]:
        """The most predictions that a loss is measured on, during training and at its end."""
        during, at_end = (max(2**12, most // len(self.vocab)) for most in MAX_LOGITS)
        return min(MAX_DURING, during), min(MAX_AT_END, at_end)

    def evaluated(
        self, split: str, context: int | None, *, packed: bool, during: bool = False
    ) -> Any:
        """Return the examples that a loss is measured on: all, or some that are evenly spread.

        There are fewer ``during`` training than at its end. With ``packed`` items share rows.
        """
        part = getattr(self.splits, split)
        examples = self.examples(split, context, part.longest + 1 if packed else None)
        return evenly(examples, part.num_predictions, self.limits[not during])

    def note_on_losses(self) -> str | None:
        """Return that losses are measured on a part of the data, where they are."""
        largest = max(part.num_predictions for part in self.splits[:2])
        limit = self.limits[1]
        if largest <= limit:
            return None
        return (
            f"losses are measured on {limit:,} predictions of each split, evenly spread over it; "
            "mm-jax eval measures all"
        )


def load_dataset(
    config: DataConfig, vocab: Vocab | None = None, *, skip_unknown: bool = False
) -> Dataset:
    """Read and split the data; with ``vocab`` in that vocabulary. Errors name the file.

    A large file is encoded once, into files of the cache directory. With ``skip_unknown`` items
    with symbols that are not in ``vocab`` are left out.
    """
    stream = Stream(config)
    if is_too_large(stream):
        return Dataset(config, *map_file(stream, vocab, skip_unknown=skip_unknown))
    info = summarize(stream, vocab)
    corpus, num_skipped = encode_file(stream, info, skip_unknown=skip_unknown)
    with named_errors(info.path):
        splits = split(corpus, config.split, config.split_seed)
    if not num_skipped:
        info = info._replace(totals=totals_in_splits(stream, info, splits))
    return Dataset(config, info, splits, overlap(splits.dev, splits.train), num_skipped)
