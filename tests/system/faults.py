"""A fault at the N-th file operation of a save: the process killed there, ENOSPC, EIO.

Run as a script, as ``faults.py MODE FOLDER``, it goes through N = 1, 2, ... until a save goes
through untouched, a fork each, and prints a JSON line for each. It imports no jax, so that a fork
is safe. ``Faulty`` takes the place of ``os`` in mm_jax.files, in this process too.
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


def arrays(step):
    import numpy as np

    return {"params.W": np.full((64, 64), step, np.float32), "step": np.int32(step)}


def main(mode, folder):
    from mm_jax.config.base import InputError
    from mm_jax.runs import checkpoint
    from mm_jax.runs.checkpoint import (
        checkpoint_steps,
        newest_checkpoint,
        raise_damaged,
        save_checkpoint,
    )
    from mm_jax.runtime import atomic_files

    for there in (0, 1, 2):  # checkpoints before it
        for number in range(1, 100):
            run = Path(folder) / f"{mode}-{there}-{number}"
            run.mkdir()
            for step in (1, 2)[:there]:
                save_checkpoint(run, step, arrays(step), {})
            before, (reading, writing) = checkpoint_steps(run), os.pipe()
            child = os.fork()
            if not child:
                complaint = None
                atomic_files.os = faulty = Faulty(number, mode)
                try:
                    save_checkpoint(run, 3, arrays(3), {})
                except InputError as error:
                    complaint = str(error)
                os.write(writing, json.dumps([faulty.reached, complaint]).encode())
                os._exit(0)
            os.close(writing)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            reached, complaint = json.loads(os.read(reading, 9999) or "[null, null]")
            os.close(reading)
            found = newest_checkpoint(run, raise_damaged)
            after = None if found is None else [found.step, float(found.arrays["params.W"].mean())]
            checkpoint.remove_partial_files(run)
            save_checkpoint(run, 4, arrays(4), {})  # and all goes on
            record = {
                "number": number,
                "code": code,
                "reached": reached,
                "complaint": complaint,
                "before": before[:1],
                "after": after,
                "then": newest_checkpoint(run, raise_damaged).step,
                "files": sorted(path.name for path in run.rglob("*") if path.is_file()),
            }
            print(json.dumps(record))
            if code == 0 and reached is None:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
