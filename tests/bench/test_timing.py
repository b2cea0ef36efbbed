"""Repetitions alternate, rows have their medians, and processes are timed or fail in one line.

How fast anything is no test asserts.
"""

import os
import signal
import subprocess
import sys

import pytest

from mm_jax.bench import timing
from mm_jax.bench.timing import Bench, Row, markdown, number
from mm_jax.config.base import InputError
from mm_jax.runtime.console import Console
from tests.helpers import ended_within, record_of


@pytest.fixture
def bench():
    return Bench(3, Console(json=True), with_torch=True)


def test_functions_are_called_in_turn(bench):
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
    assert lines[-1] == "Medians of 3 alternating repetitions on 2 cores: cpu a chip, jax 1.2."


@pytest.mark.parametrize(
    ("value", "text"), [(0.0512, "0.051"), (5.12, "5.12"), (51.24, "51.2"), (5120.4, "5,120")]
)
def test_a_number_has_three_digits(value, text):
    assert number(value) == text


def test_a_ratio_says_how_many_times_the_other_is():
    assert timing.times(10.0, 59.0) == "5.9 times"
    assert timing.times(0.01, 5.0) == "500 times"


def test_a_process_of_a_job_finds_no_cache_of_ours(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    code = "import os; print(os.environ.get('JAX_COMPILATION_CACHE_DIR'), os.environ['MORE'])"
    assert timing.run(sys.executable, "-c", code, MORE="yes")[1] == "None yes\n"


def test_a_process_that_fails_is_one_line():
    with pytest.raises(InputError, match="failed: ValueError: no such thing"):
        timing.run(sys.executable, "-c", "raise ValueError('no such thing')")
    with pytest.raises(InputError, match="failed"):
        timing.first_line("never", sys.executable, "-c", "print('something else')")


@pytest.mark.slow
def test_an_interrupt_leaves_nothing_behind(tmp_path):
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from mm_jax.cli.main import main; sys.exit(main(['bench', 'encoding']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended_within(120, process):
        for line in process.stderr:  # a note that PyTorch is not installed may come first
            if line.startswith("bench 1/5"):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "mm-jax bench: error: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_section_is_measured_for_real():
    record = record_of("bench", "encoding", "--repeats", "1")
    assert record["machine"]["cores"] >= 1
    rows = {row["what"]: row for row in record["rows"]}
    assert all(row["median"] > 0 for row in rows.values())
    assert {"read and encode", "peak memory"} <= rows.keys()
