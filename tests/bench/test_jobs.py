"""Jobs: each has its name, runs in a process of its own, and prints one JSON object."""

import json

import pytest

from mm_jax.bench import jobs, timing


def test_a_job_prints_its_result_and_its_peak_memory(tmp_path, capsys):
    path = tmp_path / "names.txt"
    path.write_text("emma\n")
    jobs.main("counting_with_counter", json.dumps({"path": str(path)}))
    result = json.loads(capsys.readouterr().out)
    assert result["total"] == 5
    assert 10 < result["peak_mb"] < 10**6


SMALL = {
    "large_products": ({"size": 64, "one_core": True}, "gigaflops"),
    "training_by_calls": ({"steps": 1000}, "microseconds"),
    "training_by_chunks": ({"steps": 1000}, "microseconds"),
    "evaluation": ({}, "milliseconds"),
    "growth": ({"batch_size": 8, "hidden_dim": 8, "members": 2, "seconds": 0.01}, "microseconds"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_job_runs_by_itself(name):
    options, unit = SMALL[name]
    assert timing.job(name, **options)[unit] > 0


def test_the_record_of_the_machine_is_json():
    json.dumps(timing.machine())
