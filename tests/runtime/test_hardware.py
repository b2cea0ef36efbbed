"""How much memory and how many cores there are."""

import os
from pathlib import Path

import jax

from mm_jax.runtime import hardware
from mm_jax.runtime.hardware import device_bytes, memory_bytes, num_cores


def test_memory_is_that_of_the_machine_or_of_the_container_where_it_is_less(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "CGROUP_LIMIT", limit)
    total = Path("/proc/meminfo").read_text().split()
    machine = int(total[total.index("MemTotal:") + 1]) * 1024
    assert memory_bytes() == machine
    for written, expected in ("max\n", machine), ("1000000\n", 10**6), (f"{2**70}\n", machine):
        limit.write_text(written)
        assert memory_bytes() == expected


class Device:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


def test_memory_of_a_device_is_what_it_says_or_that_of_the_machine(monkeypatch):
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 1000)
    assert device_bytes(Device({"bytes_limit": 7, "bytes_in_use": 3})) == 7
    for stats in ({"bytes_in_use": 3}, {}, None):
        assert device_bytes(Device(stats)) == 1000
    assert device_bytes(jax.devices("cpu")[0]) == 1000


def test_cores_are_those_this_process_may_use(monkeypatch):
    allowed = os.sched_getaffinity(0)
    assert num_cores() == len(allowed)
    try:
        os.sched_setaffinity(0, [min(allowed)])
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    monkeypatch.delattr("os.sched_getaffinity")  # as on a Mac
    assert num_cores() == os.cpu_count()
