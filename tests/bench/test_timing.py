"""The bench measures what it says. How fast anything is no test asserts."""

import json
import os
import signal
import subprocess
import sys

import pytest

from mm_jax.bench import jobs, many, timing, training, using
from mm_jax.bench.timing import Bench, Row, markdown, number
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console
from tests.helpers import record_of

ROOMS = {"training": training, "using": using, "many": many}


@pytest.fixture
def bench():
    return Bench(3, Console(json=True), with_torch=True)


def test_ways_take_turns(bench):
    order = []
    found = bench.alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b") or 7})
    assert order == ["a", "b"] * 3
    assert found == {"a": [None] * 3, "b": [7] * 3}


def test_what_compiles_is_done_once_before_it_is_timed(bench):
    calls = []
    found = bench.seconds({"a": lambda: calls.append(0)}, steps=10)
    assert len(calls) == 4
    assert len(found["a"]) == 3


def test_the_table_has_medians_their_spread_and_the_machine():
    rows = [
        Row("one", "ours", "s", [3.0, 1.0, 2.0]),
        Row("one", "theirs", "s", [11.0, 10.0, 1234.5], "**5.5 times** ours"),
        Row("two", "another", "us", [0.05]),
    ]
    lines = list(markdown(rows, {"cores": 2, "cpu": "a chip", "jax": "1.2"}, 3))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:-2]]
    assert cells[0] == ["", "median", "min", "max", "unit", "beside it"]
    assert cells[2] == ["**one**", "", "", "", "", ""]
    assert cells[3] == ["ours", "2.00", "1.00", "3.00", "s", ""]
    assert cells[4] == ["theirs", "11.0", "10.0", "1,234", "s", "**5.5 times** ours"]
    assert cells[6] == ["another", "0.050", "0.050", "0.050", "us", ""]
    assert len({len(line) for line in lines[:-2]}) == 1  # legible in a terminal
    assert lines[-1] == "Medians of 3, in turns, on 2 cores: cpu a chip, jax 1.2."


@pytest.mark.parametrize(
    ("value", "text"), [(0.0512, "0.051"), (5.12, "5.12"), (51.24, "51.2"), (5120.4, "5,120")]
)
def test_a_figure_has_three_digits(value, text):
    assert number(value) == text


def test_a_ratio_says_how_many_times_the_other_is():
    assert timing.times(10.0, 59.0) == "5.9 times"
    assert timing.times(0.01, 5.0) == "500 times"


def test_every_way_to_count_counts_the_same(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("emma\nolivia\nava\n" * 50)
    ways = ("counting", "counting_with_add_at", "counting_with_counter")
    assert {jobs.JOBS[way](path=str(path))["total"] for way in ways} == {(5 + 7 + 4) * 50}


def test_products_are_counted_as_the_design_does():
    assert training.step_flops(**training.LECTURE) == pytest.approx(2.2e6, rel=0.02)


def test_what_a_job_finds_becomes_rows(bench, monkeypatch):
    found = {"evaluation": 20.0, "evaluation_in_pytorch": 50.0}
    monkeypatch.setattr(
        using, "job", lambda name: {"milliseconds": found[name], "examples": 183_430}
    )
    ours, theirs = using.evaluation(bench)
    assert (ours.section, ours.values) == ("exact loss of 183,430 examples", [20.0] * 3)
    assert (theirs.median, theirs.beside) == (50.0, "2.5 times ours")
    bench.with_torch = False
    assert len(using.evaluation(bench)) == 1


def test_growth_is_the_slope_in_logarithms(bench, monkeypatch):
    def cost(name, **size):
        [(what, each)] = size.items()
        return {
            "microseconds": 3.0 * each ** {"batch_size": 1, "hidden_dim": 2, "members": 0}[what]
        }

    monkeypatch.setattr(training, "job", cost)
    sections = list(dict.fromkeys(row.section for row in training.growth(bench)))
    slopes = [float(each.rpartition("^")[2]) for each in sections]
    assert slopes == pytest.approx([1, 2, 0])


def test_a_process_of_a_job_finds_no_cache_of_ours(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    code = "import os; print(os.environ.get('JAX_COMPILATION_CACHE_DIR'), os.environ['MORE'])"
    assert timing.run(sys.executable, "-c", code, MORE="yes")[1] == "None yes\n"


def test_a_process_that_fails_is_one_line():
    with pytest.raises(InputError, match="failed: ValueError: no such thing"):
        timing.run(sys.executable, "-c", "raise ValueError('no such thing')")
    with pytest.raises(InputError, match="failed"):
        timing.first_line("never", sys.executable, "-c", "print('something else')")


def test_a_peer_that_does_not_run_is_left_out(monkeypatch, capsys):
    def job(name, **options):
        if options.get("compiled"):
            raise InputError("no C++ compiler")
        more = {"gigaflops": 100.0} if name == "large_products" else {}
        return {"whole_seconds": 3.0, "microseconds": 100.0, "compile_seconds": 1.0, **more}

    monkeypatch.setattr(training, "job", job)
    record = json.dumps({"train_loss": 2.1, "dev_loss": 2.2})
    monkeypatch.setattr(training, "run", lambda *_, **__: (10.0, record))
    rows = training.lecture(Bench(3, Console(json=True), with_torch=True))
    assert "torch.compile is left out: no C++ compiler" in capsys.readouterr().err
    whole = {row.what: row for row in rows if "whole" in row.section}
    assert not any("torch.compile" in what for what in whole)
    eager = whole["eager PyTorch, scaled from 10,000 steps"]
    assert eager.median == pytest.approx(3 + 190_000 * 100e-6)
    assert eager.beside == "**2.2 times** ours"


@pytest.mark.slow
def test_an_interrupt_leaves_nothing_behind(tmp_path):
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from mm_jax.cli import main; sys.exit(main(['bench', 'encoding']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "bench 1/5" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "mm-jax bench: error: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_section_is_measured_for_real():
    record = record_of("bench", "evaluation", "encoding", "--repeats", "1")
    assert record["machine"]["cores"] >= 1
    rows = {row["what"]: row for row in record["rows"]}
    assert all(row["median"] > 0 for row in rows.values())
    assert {"windows of context 3", "peak memory"} <= rows.keys()


@pytest.mark.slow
def test_jobs_run_by_themselves(tmp_path):
    assert timing.job("large_products", size=64, one_core=True)["gigaflops"] > 0
    small = {"batch_size": 8, "hidden_dim": 8, "members": 2, "seconds": 0.01}
    assert timing.job("growth", **small)["microseconds"] > 0
    for name in ("training_by_chunks", "training_by_calls"):
        assert timing.job(name, steps=1000)["microseconds"] > 0
    json.dumps(timing.machine())
