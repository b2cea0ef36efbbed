"""A data file -> its lines, splits and vocabulary, and batches on the device, each made once."""

from typing import Any, Literal, NamedTuple

from mm_jax.config.data import DataConfig
from mm_jax.data.batches import LAYOUTS, Batch
from mm_jax.data.splits import Splits, load_splits, overlap
from mm_jax.data.text import Text
from mm_jax.data.vocab import Vocab, build_vocab


def make_batch(
    lines: list[str], vocab: Vocab, layout: Literal["windows", "rows"], context: int
) -> Batch:
    """Return ``lines`` as a batch in the layout of a model."""
    return LAYOUTS[layout](lines, vocab, context)


class Dataset(NamedTuple):
    """A text file, split, with its vocabulary."""

    text: Text
    splits: Splits
    vocab: Vocab
    dev_lines_in_train: float  # the share of dev lines that are in train too
    batches: dict[Any, Batch]  # those that were made before

    @property
    def record(self) -> dict[str, Any]:
        """What config.json keeps of the data."""
        return {
            "path": str(self.text.path),
            "sha256": self.text.sha256,
            "num_lines": len(self.text.lines),
            "num_blank": self.text.num_blank,
            "split_lines": [len(lines) for lines in self.splits],
            "dev_lines_in_train": self.dev_lines_in_train,
        }

    def batch(self, split: str, layout: Literal["windows", "rows"], context: int) -> Batch:
        """Return a split as a batch in the layout of a model; made once per context."""
        key = split, layout, context
        if key not in self.batches:
            self.batches[key] = make_batch(getattr(self.splits, split), self.vocab, layout, context)
        return self.batches[key]


def load_dataset(config: DataConfig) -> Dataset:
    """Read and split the data."""
    text, splits = load_splits(config)
    share = overlap(splits.dev, splits.train) if splits.dev else 0.0
    return Dataset(text, splits, build_vocab(text.lines), share, {})
