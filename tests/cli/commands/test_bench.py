"""mm-jax bench: which sections it runs, and the table and record that it makes."""

import importlib

import pytest

from mm_jax.bench.timing import Row
from mm_jax.cli.commands.bench import SECTIONS
from tests.helpers import call, record_of


@pytest.fixture
def sections(monkeypatch):
    """Replace each section by one that measures nothing; return the list of those that ran."""
    ran = []

    def replace(name, module):
        def measure(bench):
            ran.append((name, bench.repeats))
            return [Row(name, f"work of {name}", "ms", [3.0, 1.0, 2.0])]

        monkeypatch.setattr(f"mm_jax.bench.{module}.{name.replace('-', '_')}", measure)

    for name, module in SECTIONS.items():
        replace(name, module)
    return ran


def test_every_section_is_a_function():
    for name, module in SECTIONS.items():
        room = importlib.import_module(f"mm_jax.bench.{module}")
        assert callable(getattr(room, name.replace("-", "_"))), name


def test_without_a_name_all_sections_run_in_order(sections):
    record = record_of("bench", "--repeats", "2")
    assert sections == [(name, 2) for name in SECTIONS]
    assert [row["what"] for row in record["rows"]] == [f"work of {name}" for name in SECTIONS]


def test_only_the_named_sections_run_and_rows_have_their_median(sections):
    record = record_of("bench", "startup", "encoding")
    assert sections == [("startup", 5), ("encoding", 5)]
    assert (record["command"], record["repeats"]) == ("bench", 5)
    assert [row["median"] for row in record["rows"]] == [2.0, 2.0]
    assert record["machine"]["cores"] >= 1


def test_the_table_is_on_stdout(sections):
    out, _ = call("bench", "startup")
    assert any(line.startswith("|") and "work of startup" in line for line in out.splitlines())


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["lectures"], "unknown section 'lectures'; choose from lecture, startup"),
        (["startup", "other"], "unknown section 'other'"),
        (["--repeats", "0"], "--repeats must be at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_runs(sections, flags, error):
    out, err = call("bench", *flags, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert error in err
    assert sections == []
