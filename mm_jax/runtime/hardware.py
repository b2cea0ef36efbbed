"""How much memory there is, and how many cores. Imports no jax."""

import os
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup/memory.max")  # where a container says what it may take


def device_bytes(device: Any) -> int:
    """Return the memory of a jax device; that of the machine where the device does not say."""
    return (device.memory_stats() or {}).get("bytes_limit") or memory_bytes()


def memory_bytes() -> int:
    """Return the memory of this machine, or of this container where that is less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or no limit: "max"
        return there


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
