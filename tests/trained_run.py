"""One small run that came to its end, shared by the tests that damage, resume or verify it."""

import functools
import tempfile
from pathlib import Path

import pytest

from mm_jax.runs.checkpoint import checkpoint_path, checkpoint_steps, open_checkpoint, serialize
from tests.helpers import record_of

LINES = [
    a + b for a in ("em", "av", "li", "no", "ka", "so") for b in ("ma", "a", "el", "ora", "nie")
]
NET = ["--embed-dim", "4", "--hidden-dim", "8", "--init", "scaled", "--batch-size", "16"]
TRAIN = ["train", "--data", "names.txt", "--steps", "60", *NET, "--optimizer", "adam"]
TRAIN += ["--learning-rate", "0.01", "--checkpoint-every", "20"]


@functools.cache
def folder_with_run(base):
    """Make names.txt and ``run``, 60 steps with checkpoints at 40 and 60, once for each process.

    ``base`` is the directory of the session, from ``tmp_path_factory.getbasetemp()``.
    """
    path = Path(tempfile.mkdtemp(dir=base))
    (path / "names.txt").write_text("\n".join(LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        record_of(*TRAIN, "--out", "run")
    return path


def contents(run):
    """What the files of a run hold, by name."""
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*.*") if p.name != ".lock"}


def back_to(run, step):
    """Make a run as if it had been killed after a step's checkpoint."""
    for each in checkpoint_steps(run):
        if each > step:
            checkpoint_path(run, each).unlink()
    for name in ("params.safetensors", "samples.txt", "SHA256SUMS"):
        (run / name).unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "loss": 1.0}\n{"step": 4')  # what was written after it


def reseal(path, change):
    """Change what a checkpoint holds, and give it a right checksum again."""
    checkpoint = open_checkpoint(path)
    change(checkpoint)
    checkpoint.record.pop("sha256")
    path.write_bytes(serialize(checkpoint.arrays, checkpoint.record))
