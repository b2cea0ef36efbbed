"""How much memory and how many cores this process may use. Imports no jax."""

import os
from pathlib import Path
from typing import Any

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # bytes, or "max", that a container may use


def device_bytes(device: Any) -> int:
    """Return the memory of a jax device; that of the machine where the device does not say."""
    return (device.memory_stats() or {}).get("bytes_limit") or memory_bytes()


def memory_bytes() -> int:
    """Return the memory of this machine, or of this container where that is less."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(installed, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or no limit: "max"
        return installed


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
