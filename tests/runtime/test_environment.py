"""What decides the bits of a run: recorded, compared, and pinned before JAX starts."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

from mm_jax.config.base import InputError
from mm_jax.runtime import environment
from mm_jax.runtime.environment import (
    differences,
    fingerprint,
    num_threads,
    pin_threads,
    processor,
)

BEFORE = {
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "backend": "cpu",
    "device": "cpu",
    "num_devices": 1,
    "num_processes": 1,
    "deterministic": False,
    "processor": "AMD EPYC",
    "num_threads": 2,
}


def test_a_fingerprint_is_of_this_machine():
    here = fingerprint(deterministic=True)
    assert here["jax"] == jax.__version__ == version("jax")
    assert here["jaxlib"] == version("jaxlib")
    assert (here["backend"], here["device"]) == ("cpu", jax.devices()[0].device_kind)
    assert (here["num_devices"], here["num_processes"]) == (jax.device_count(), 1)
    assert here["deterministic"] is True
    assert (here["processor"], here["num_threads"]) == (processor(), num_threads())
    assert fingerprint()["deterministic"] is False
    assert list(differences(here, fingerprint())) == []


def test_only_a_cpu_has_a_processor_that_counts(monkeypatch):
    class Gpu:
        platform, device_kind = "gpu", "NVIDIA H100"

    monkeypatch.setattr(jax, "devices", lambda: [Gpu()])
    here = fingerprint()
    assert (here["backend"], here["device"]) == ("gpu", "NVIDIA H100")
    assert not {"processor", "num_threads"} & here.keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"deterministic": True}, []),  # which is asked for, and compared elsewhere
        ({"jax": "0.11.0"}, ["jax 0.10.2 before, jax 0.11.0 here"]),
        ({"jaxlib": "0.11.0"}, ["jaxlib 0.10.2 before, jaxlib 0.11.0 here"]),
        ({"num_devices": 8}, ["1 device(s) before, 8 device(s) here"]),
        ({"num_processes": 2}, ["1 process(es) before, 2 process(es) here"]),
        ({"num_threads": 64}, ["2 thread(s) before, 64 thread(s) here"]),
        ({"processor": "Intel"}, ["AMD EPYC before, Intel here"]),
        (
            {"backend": "gpu", "device": "NVIDIA H100"},
            ["backend cpu before, backend gpu here", "cpu before, NVIDIA H100 here"],
        ),
    ],
)
def test_what_differs_is_said(change, words):
    assert list(differences(BEFORE, BEFORE | change)) == words


def test_what_is_recorded_of_one_machine_only_differs_too():
    here = {name: value for name, value in BEFORE.items() if name != "num_threads"}
    assert list(differences(BEFORE, here)) == ["2 thread(s) before, nothing here"]
    assert list(differences(here, BEFORE)) == ["nothing before, 2 thread(s) here"]
    for nothing in (None, "text", []):
        assert list(differences(nothing, BEFORE)) == ["it is not recorded where it was made"]


def test_the_number_of_threads_is_the_one_that_is_pinned_or_one_per_core(monkeypatch):
    monkeypatch.setattr(environment, "num_cores", lambda: 12)
    for value, expected in {"3": 3, "": 12, "0": 12, "-1": 12, "many": 12}.items():
        monkeypatch.setenv("PJRT_NPROC", value)
        assert num_threads() == expected
    monkeypatch.delenv("PJRT_NPROC")
    assert num_threads() == 12


def test_threads_are_pinned_before_jax_starts():
    code = """if True:
        import os
        from mm_jax.runtime.environment import fingerprint, num_threads, pin_threads
        pin_threads()
        print(num_threads(), os.environ["PJRT_NPROC"], os.environ["XLA_FLAGS"])
        print(fingerprint()["num_threads"])"""
    env = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    env["XLA_FLAGS"] = "--xla_cpu_enable_fast_math=false"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    flags = "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true"
    assert done.stdout == f"1 1 {flags}\n1\n"


def test_once_jax_has_started_the_number_of_threads_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("PJRT_NPROC", "3")
    pin_threads(3)
    with pytest.raises(InputError, match="JAX has started with 3 threads; set PJRT_NPROC=1"):
        pin_threads()
    assert (os.environ["PJRT_NPROC"], os.environ["XLA_FLAGS"]) == ("3", "")
    monkeypatch.delitem(sys.modules, "jax")
    for _ in range(2):  # the flag is added once
        monkeypatch.setenv("PJRT_NPROC", "3")
        pin_threads(2)
        assert os.environ["PJRT_NPROC"] == "2"
        assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"


def test_the_processor_has_a_name(monkeypatch):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    assert processor() == (named or [platform.processor() or platform.machine()])[0]

    def missing(_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)  # as on a Mac
    assert processor() == (platform.processor() or platform.machine())
