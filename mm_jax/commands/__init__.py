"""One file a command: its flags as ``Options``, and ``run(options, console) -> Outcome``.

No command imports jax before ``run``, so that --help and a wrong flag are answered at once.
"""

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What a command found, for --json, and how it ended."""

    record: dict[str, Any]
    exit_code: int = 0
    complaint: str | None = None  # one line for stderr where exit_code is not 0
