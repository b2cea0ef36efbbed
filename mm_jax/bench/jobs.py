"""Jobs, each in a process of its own: python -m mm_jax.bench.jobs NAME '{"option": value}'.

A job prints one JSON object.
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mm_jax.bench import models, ours, peers, torch_models, words

JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job
    for job in (
        ours.training_by_chunks,
        ours.training_by_calls,
        ours.large_products,
        ours.large_training,
        ours.sampling,
        ours.counting,
        ours.encoding,
        ours.training_from_a_file,
        ours.evaluation,
        ours.growth,
        ours.population,
        models.model_steps,
        models.names_from_transformer,
        peers.training_in_pytorch,
        peers.sampling_in_pytorch,
        peers.evaluation_in_pytorch,
        peers.counting_with_add_at,
        peers.counting_with_counter,
        torch_models.steps_in_pytorch,
        torch_models.names_in_pytorch,
        words.word_steps,
        words.word_products,
        words.word_steps_in_pytorch,
    )
}


def peak_megabytes() -> float:
    """Return the peak memory of this process.

    VmHWM is better than ru_maxrss, in which Linux includes the process that started this one.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB, on a Mac in bytes
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def main(name: str, options: str) -> None:
    """Run a job and print its result, with the peak memory of its process."""
    keywords = json.loads(options)
    if keywords.pop("one_core", False) and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    result = JOBS[name](**keywords)
    print(json.dumps({**result, "peak_mb": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
