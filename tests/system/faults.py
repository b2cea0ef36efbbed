"""A fault at the N-th file operation: an error such as ENOSPC, or the process killed there.

``Faulty`` takes the place of ``os`` in mm_jax.runtime.atomic_files. Run as a script, as
``faults.py FOLDER``, it saves a checkpoint in a process that is killed at operation N = 1, 2, ...
until one is left alone, a fork each, and prints a JSON line for each. It imports no jax, so that
a fork is safe.
"""

import errno
import json
import os
import sys
from pathlib import Path

OPERATIONS = {"open", "write", "fsync", "close", "replace", "unlink", "mkdir", "ftruncate"}


class Faulty:
    """The os module, whose N-th file operation fails; a write fails in its middle."""

    def __init__(self, number, mode):
        self.number, self.mode = number, mode
        self.count, self.reached = 0, None

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in OPERATIONS:
            return real

        def operation(*args, **options):
            self.count += 1
            if self.count != self.number:
                return real(*args, **options)
            self.reached = name
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            if name == "close":
                real(*args)
            if self.mode == "kill":
                os.kill(os.getpid(), 9)
            code = getattr(errno, self.mode)
            raise OSError(code, os.strerror(code))

        return operation


def arrays_of(step):
    """The arrays of a checkpoint; their values say its step."""
    import numpy as np

    return {"params.W": np.full((64, 64), step, np.float32), "step": np.int32(step)}


def newest(run):
    """The step of the newest checkpoint, which must be whole and its own; None without one."""
    from mm_jax.runs.checkpoint import newest_checkpoint, raise_damaged

    found = newest_checkpoint(run, raise_damaged)
    if found is None:
        return None
    assert (found.arrays["params.W"] == found.step).all()
    return found.step


def save_and_be_killed(run, number):
    """Save step 3 in a child that is killed at an operation; return minus its signal, or 0."""
    from mm_jax.runs.checkpoint import save_checkpoint
    from mm_jax.runtime import atomic_files

    child = os.fork()
    if not child:
        atomic_files.os = Faulty(number, "kill")
        save_checkpoint(run, 3, arrays_of(3), {})
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder):
    from mm_jax.runs.checkpoint import remove_partial_files, save_checkpoint

    for num_before in (0, 1, 2):  # checkpoints before it
        for number in range(1, 100):
            run = Path(folder) / f"{num_before}-{number}"
            run.mkdir()
            for step in (1, 2)[:num_before]:
                save_checkpoint(run, step, arrays_of(step), {})
            before = newest(run)
            code = save_and_be_killed(run, number)
            after = newest(run)
            remove_partial_files(run)
            save_checkpoint(run, 4, arrays_of(4), {})  # and training goes on
            files = sorted(path.name for path in run.rglob("*") if path.is_file())
            record = {"code": code, "before": before, "after": after, "last": newest(run)}
            print(json.dumps(record | {"files": files}))
            if code == 0:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
