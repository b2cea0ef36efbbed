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
    """Whether a signal asks to stop: from the first one on ``stop()`` is true."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.signal: int | None = None
        self.on_first = on_first  # called at the first signal, by another thread

    def __call__(self) -> bool:
        """Check whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that such a signal ended."""
        return 128 + (self.signal or 0)

    def watch(self, signals: socket.socket) -> None:
        """Handle signals as they come, also while the main thread waits for a long chunk."""
        while number := signals.recv(1):
            if number[0] not in SIGNALS:
                continue
            if self.signal is None:
                self.signal = number[0]
                os.write(
                    2, b"stopping after this chunk, which is kept; Ctrl-C again leaves at once\n"
                )
                with contextlib.suppress(InputError):  # the end of the chunk will meet it again
                    self.on_first()
            elif number[0] == signal.SIGINT:  # schedulers repeat SIGTERM without meaning more
                show_cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
                os.write(2, show_cursor + b"left at once; the last checkpoint is kept\n")
                os._exit(128 + number[0])


@contextlib.contextmanager
def interruptible(on_first: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a Stop; another Ctrl-C ends the process at once.

    ``on_first`` is called at the first one by another thread, to save what would be lost otherwise.
    """
    stop, (receiving, sending) = Stop(on_first), socket.socketpair()
    sending.setblocking(False)
    previous_fd = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    watcher = threading.Thread(target=stop.watch, args=(receiving,), daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        sending.close()
        watcher.join()
        receiving.close()
