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


@pytest.mark.slow
def test_jobs_run_by_themselves(tmp_path):
    assert timing.job("large_products", size=64, one_core=True)["gigaflops"] > 0
    assert timing.job("training_by_calls", steps=1000)["microseconds"] > 0
    json.dumps(timing.machine())
