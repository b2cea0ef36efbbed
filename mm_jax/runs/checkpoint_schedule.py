"""Steps and seconds -> whether the next checkpoint is due."""

import contextlib
import time
from collections.abc import Iterator

from mm_jax.runs.checkpoint import MAX_TIME_SHARE

DEFAULT_SECONDS = 10.0  # between checkpoints, where neither steps nor seconds are given


class CheckpointSchedule:
    """Decides when the next checkpoint is due: every N steps, every N seconds, or both.

    Where neither is given it is every DEFAULT_SECONDS, or so much more seldom that checkpoints take
    no more than MAX_TIME_SHARE of the time.
    """

    def __init__(self, every: int | None, seconds: float | None, step: int = 0) -> None:
        self.every, self.seconds = every, seconds
        self.step, self.at = step, time.perf_counter()  # of the last checkpoint
        self.cost = 0.0  # seconds that it took

    def __call__(self, step: int) -> bool:
        """Check whether a checkpoint is due after so many steps."""
        if self.every and step // self.every > self.step // self.every:
            return True
        if self.seconds is None:
            if self.every:
                return False
            seconds = max(DEFAULT_SECONDS, self.cost / MAX_TIME_SHARE)
        else:
            seconds = self.seconds
        return step > self.step and time.perf_counter() - self.at >= seconds

    @contextlib.contextmanager
    def making(self, step: int) -> Iterator[None]:
        """Note that a checkpoint of this step is made inside, and how long that takes."""
        begun = time.perf_counter()
        yield
        self.step, self.at = step, time.perf_counter()
        self.cost = self.at - begun
