"""What decides the bits of a run beside its choices: versions, devices, threads.

On one machine a run repeats bit for bit. Another version of jax, another kind or number of devices
and, on a CPU, another processor or number of threads may add numbers in another order.
"""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mm_jax.config.base import InputError
from mm_jax.runtime import compilation_cache
from mm_jax.runtime.compilation_cache import THREADS
from mm_jax.runtime.hardware import num_cores

DETERMINISTIC_GPU = "--xla_gpu_deterministic_ops=true"
DESCRIPTIONS = {  # of what a fingerprint holds
    "jax": "jax {}",
    "jaxlib": "jaxlib {}",
    "backend": "backend {}",
    "device": "{}",
    "num_devices": "{} device(s)",
    "num_processes": "{} process(es)",
    "processor": "{}",
    "num_threads": "{} thread(s)",
}


def pin_threads(threads: int = 1) -> None:
    """Make CPU programs use ``threads`` threads, and GPU programs only repeatable operations.

    With one thread a run has the same bits on any number of cores. Raises InputError where JAX has
    already started with another number.
    """
    if os.environ.get(THREADS) == str(threads):
        return
    if "jax" in sys.modules and num_threads() != threads:
        raise InputError(
            f"JAX has started with {num_threads()} threads; set {THREADS}={threads} before that"
        )
    os.environ[THREADS] = str(threads)
    flags = os.environ.get("XLA_FLAGS", "")
    if DETERMINISTIC_GPU not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC_GPU}".strip()
    if compilation_cache.is_on():
        compilation_cache.turn_on()


def num_threads() -> int:
    """Return how many threads a CPU program uses."""
    pinned = os.environ.get(THREADS, "")
    return int(pinned) if pinned.isdecimal() and int(pinned) else num_cores()


def fingerprint(*, deterministic: bool = False) -> dict[str, Any]:
    """Return what decides the bits here, as plain values; ``deterministic`` becomes one of them."""
    import jax

    device = jax.devices()[0]
    values = {
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "backend": device.platform,
        "device": device.device_kind,
        "num_devices": jax.device_count(),
        "num_processes": jax.process_count(),
        "deterministic": deterministic,
    }
    if device.platform == "cpu":
        values |= {"processor": processor(), "num_threads": num_threads()}
    return values


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(names)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def differences(before: Any, here: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between two fingerprints: ``jax 0.10.2 before, jax 0.11.0 here``."""
    if not isinstance(before, dict):
        yield "it is not recorded where it was made"
        return
    for name, words in DESCRIPTIONS.items():
        old, new = (words.format(each[name]) if name in each else None for each in (before, here))
        if old != new:
            yield f"{old or 'nothing'} before, {new or 'nothing'} here"
