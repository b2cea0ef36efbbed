"""The data to learn from: the file, its items and tokens, and how it is split. Imports no jax."""

import dataclasses
from typing import Literal

from mm_jax.config.base import Choices, Count, InputError, Seed, check_path, flag

# The choices that are for words alone, and what each is without them.
WORD_CHOICES = {
    "min_count": 1,
    "count_words_in": "train",
    "merge_numbers": False,
    "sentence_ends": False,
}


@dataclasses.dataclass(frozen=True)
class DataConfig(Choices):
    """The data to learn from."""

    data: str = "names"
    """A text file, by default with one item per line; or names, sample-text (which ship with
    mm-jax), lecture-names, sotu (see mm-jax data)."""
    split: Literal["lecture", "unique", "none"] = "lecture"
    """lecture: shuffled, then 80/10/10; unique: repeated items dropped first; none: no split."""
    split_seed: Seed = 42
    """Seed of the shuffle before the split."""
    items: Literal["line", "paragraph", "document"] = "line"
    """What is learned as a whole: each line; each paragraph, with blank lines between them; or the
    file as one document, which is split 80/10/10 in its order."""
    unit: Literal["char", "byte", "word"] = "char"
    """What a token is: a character; a byte, so that none is unknown; or a word."""
    lower: bool = False
    """Make all letters small ones."""
    min_count: Count = 1
    """Words that occur less often than this become one unknown word."""
    count_words_in: Literal["train", "all"] = "train"
    """Where words are counted for --min-count: in train alone, so that a word of dev or test that
    train lacks is unknown; or in all of the file."""
    merge_numbers: bool = False
    """Make each number, with its points and commas, the one word <num>."""
    sentence_ends: bool = False
    """Put </s> behind each sentence, a word that text does not show."""
    column: str | None = None
    """The column of a CSV or TSV file that has the items: its name, or its number from 1."""
    weights: str | None = None
    """The column with how often each item was given, which weights its loss."""
    block: Count = 128
    """Tokens of a document in one example, for models that read it in rows."""

    def __post_init__(self) -> None:
        """Refuse a path that cannot be the name of a file, and choices that exclude each other."""
        super().__post_init__()
        check_path(self.data, "--data")
        for name, without in WORD_CHOICES.items():
            if self.unit != "word" and getattr(self, name) != without:
                raise InputError(f"{flag(name)} is for --unit word")
        if self.lower and self.unit == "byte":
            raise InputError("--lower is for --unit char or word: bytes are not letters")
        if self.column is not None and self.items != "line":
            raise InputError("--column reads one item per row; leave out --items")
        if self.weights is not None and self.column is None:
            raise InputError("--weights needs --column, the one that has the items")
        if self.items == "document" and self.split == "unique":
            raise InputError("--split unique is for many items, and a document is one")
        if self.split == "unique" and self.counts_words_in_train:
            raise InputError(
                "--split unique takes items that differ in unknown words only for one, so words "
                "have to be counted before: --count-words-in all"
            )

    @property
    def counts_words_in_train(self) -> bool:
        """Whether the words of train alone decide which words are known."""
        return self.min_count > 1 and self.count_words_in == "train"
