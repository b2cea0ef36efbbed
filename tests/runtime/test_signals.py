"""Ctrl-C and SIGTERM: the first is a request that another thread takes at once, the second ends."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from mm_jax.config.base import InputError
from mm_jax.runtime.signals import interruptible


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_a_request_to_stop_and_what_it_calls_runs_in_another_thread(
    number, code, capfd
):
    called, thread = threading.Event(), []

    def save():
        thread.append(threading.current_thread())
        called.set()

    before = signal.getsignal(number)
    with interruptible(save) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert called.wait(60)  # the main thread waits here, as it does for a long chunk
        assert stop()
        assert stop.exit_code == code
    assert signal.getsignal(number) is before
    assert thread != [threading.main_thread()]
    expected = "stopping after this chunk, which is kept; Ctrl-C again leaves at once\n"
    assert capfd.readouterr().err == expected


def test_another_sigterm_means_no_more_and_what_cannot_be_saved_is_no_end(capfd):
    called, calls = threading.Event(), []

    def save():
        calls.append(1)
        called.set()
        raise InputError("the disk is full")

    with interruptible(save) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert called.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143
    assert calls == [1]
    assert capfd.readouterr().err.count("\n") == 1


def test_without_a_signal_nothing_is_asked():
    with interruptible() as stop:
        pass
    assert not stop()


SECOND_CTRL_C = """
import os, signal, threading
from mm_jax.runtime.signals import interruptible

called = threading.Event()
with interruptible(called.set):
    os.kill(os.getpid(), signal.SIGINT)
    called.wait()
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()
"""


def test_a_second_ctrl_c_leaves_at_once():
    done = subprocess.run(
        [sys.executable, "-c", SECOND_CTRL_C], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[1:] == ["left at once; the last checkpoint is kept"]
