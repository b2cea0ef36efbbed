"""What training reports while it works, and where it asks whether to stop.

The command line shows it on a console; scripts and tests may leave it out, or take what they want.
"""


class Observer:
    """Hears what happens while models are trained; every method may be overridden, none has to."""

    def message(self, text: str) -> None:
        """Take a line of output: what was found, and how fast."""

    def warning(self, text: str) -> None:
        """Take a line that the user should know of, beside the output."""

    def progress(self, step: int, loss_nats: float) -> None:
        """Take the number of steps taken so far, and the last loss."""

    def should_stop(self) -> bool:
        """Check whether training should save and stop before its last step."""
        return False
