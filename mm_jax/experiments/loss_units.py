"""A loss in nats per symbol -> the numbers that people compare: perplexity, bits, unknown words.

Imports no jax.
"""

import math
from typing import Any, NamedTuple

from mm_jax.data.word_totals import TextTotals
from mm_jax.runtime.console import format_loss

LARGEST = 700  # nats of which a float holds the exponential


class LossUnits(NamedTuple):
    """A loss on a split or a file; the last two are None where tokens are no words."""

    perplexity: float  # infinite where no float holds it
    bits: float  # per symbol
    bits_per_character: float | None = None  # of the text that the words stand for
    unknown_rate: float | None = None  # the share of words that are unknown

    @property
    def record(self) -> dict[str, Any]:
        """What --json has of them beside the bits per symbol."""
        return {
            "perplexity": self.perplexity,
            "bits_per_character": self.bits_per_character,
            "unknown_rate": self.unknown_rate,
        }

    @property
    def perplexity_text(self) -> str:
        """The perplexity as people read it."""
        return f"{self.perplexity:.2f}" if self.perplexity < math.exp(20) else "huge"

    @property
    def text(self) -> str:
        """The perplexity and the bits, as the console shows them."""
        if self.bits_per_character is None:
            return f"perplexity {self.perplexity_text}, {format_loss(self.bits)} bits per symbol"
        bits = format_loss(self.bits_per_character)
        return f"perplexity {self.perplexity_text} per word, {bits} bits per character"


def loss_units(loss_nats: float, totals: TextTotals | None = None) -> LossUnits:
    """Return a loss in other units; ``totals`` are those of the words that it was measured on.

    An unknown word is predicted, but not spelled out: where there are some, the bits per character
    are fewer than the text would take.

    >>> loss_units(2 * math.log(2), TextTotals(predictions=10, words=8, unknown=2, characters=40))
    LossUnits(perplexity=4.0, bits=2.0, bits_per_character=0.5, unknown_rate=0.25)
    """
    perplexity = math.exp(loss_nats) if loss_nats < LARGEST else math.inf
    bits = loss_nats / math.log(2)
    if totals is None or not totals.characters:
        return LossUnits(perplexity, bits)
    per_character = bits * totals.predictions / totals.characters
    return LossUnits(perplexity, bits, per_character, totals.unknown_rate)
