"""The sections of all but training: what jobs return becomes rows."""

from pathlib import Path

import pytest

from mm_jax.bench import usage
from mm_jax.bench.timing import Bench
from mm_jax.runtime.console import Console


@pytest.fixture
def bench():
    return Bench(2, Console(json=True), with_torch=True)


def test_evaluation_stands_beside_pytorch_where_there_is_one(bench, monkeypatch):
    times = {"evaluation": 20.0, "evaluation_in_pytorch": 50.0}
    monkeypatch.setattr(
        usage, "job", lambda name: {"milliseconds": times[name], "examples": 183_430}
    )
    ours, theirs = usage.evaluation(bench)
    assert (ours.section, ours.values) == ("exact loss of 183,430 examples", [20.0] * 2)
    assert (theirs.median, theirs.beside) == (50.0, "2.5 times ours")
    bench.with_torch = False
    assert len(usage.evaluation(bench)) == 1


def test_sampling_is_compared_with_the_lectures_loop(bench, monkeypatch):
    trained = []
    monkeypatch.setattr(usage, "run", lambda *command: trained.append(command) or (0.0, ""))

    def job(name, run, num):
        assert run == trained[-1][-1]  # what was trained is what is sampled from
        return {"per_second": 10.0 if name == "sampling_in_pytorch" else 20.0 * num}

    monkeypatch.setattr(usage, "job", job)
    rows = usage.sampling(bench)
    assert [row.median for row in rows] == [20.0, 2000.0, 2e6, 10.0]
    assert [row.beside for row in rows] == [
        *("2.0 times it", "200 times it", "200000 times it", "")
    ]
    bench.with_torch = False
    assert len(usage.sampling(bench)) == 3


def test_counting_is_in_megabytes_per_second_of_each_file(bench, monkeypatch):
    monkeypatch.setattr(usage, "MEGABYTES", 1)
    sizes = []

    def job(name, path):
        sizes.append(Path(path).stat().st_size / 1e6)
        return {"seconds": 4.0 if name == "counting_with_counter" else 0.5, "peak_mb": 7.4}

    monkeypatch.setattr(usage, "job", job)
    ours, larger, add_at, counter = usage.counting(bench)
    assert ours.values == pytest.approx([2 * sizes[0]] * 2)
    assert larger.median == pytest.approx(4 * ours.median, rel=0.3)
    assert ours.beside == "peak 7 MB"
    assert add_at.beside == "peak 7 MB; ours is 1.0 times as fast"
    assert counter.beside == "peak 7 MB; ours is 8.0 times as fast"


def test_encoding_has_a_row_for_each_part(bench, monkeypatch):
    def job(name, *, mapped=None, **_):
        if name == "encoding":
            return {"seconds": 1.0, "examples": 7, "peak_mb": 9.0}
        return {"microseconds": 4.0 if mapped else 3.0}

    monkeypatch.setattr(usage, "job", job)
    rows = usage.encoding(bench)
    assert [row.median for row in rows] == [1.0, 9.0, 3.0, 4.0]
    assert rows[0].section == "a million lines, 7 predictions"
