"""Ctrl-C and SIGTERM -> a request to stop, which a training loop asks for after each chunk."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from mm_jax.config.base import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether a signal asks to stop. From the first one on ``stop()`` is true."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.hurry: Callable[[], None] = lambda: None  # called at the first, by another thread

    def __call__(self) -> bool:
        """Tell whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that such a signal ended."""
        return 128 + (self.signal or 0)

    def watch(self, signals: socket.socket) -> None:
        """Take signals as they come, also while the main thread waits for a long chunk."""
        while number := signals.recv(1):
            if number[0] not in SIGNALS:
                continue
            if self.signal is None:
                self.signal = number[0]
                os.write(
                    2, b"stopping after this chunk, which is kept; Ctrl-C again leaves at once\n"
                )
                with contextlib.suppress(InputError):  # the end of the chunk will meet it again
                    self.hurry()
            elif number[0] == signal.SIGINT:  # schedulers repeat SIGTERM without meaning more
                cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
                os.write(2, cursor + b"left at once; the last checkpoint is kept\n")
                os._exit(128 + number[0])


@contextlib.contextmanager
def interruptible() -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a Stop; another Ctrl-C ends the process at once."""
    stop, (ours, theirs) = Stop(), socket.socketpair()
    theirs.setblocking(False)
    before_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    watcher = threading.Thread(target=stop.watch, args=(ours,), daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        theirs.close()
        watcher.join()
        ours.close()
