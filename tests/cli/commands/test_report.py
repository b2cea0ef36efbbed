"""mm-jax report: where the page is written, and what is said of it."""

import os
import re
from pathlib import Path

import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.models import NgramConfig
from mm_jax.config.training import CountConfig
from tests.cli.commands.conftest import LINES
from tests.helpers import call, make_run, record_of


@pytest.fixture
def counted(tmp_path):
    """A run directory of counts, quickly made."""
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    config = CountConfig(DataConfig(str(tmp_path / "names.txt")), NgramConfig())
    return make_run(tmp_path / "counted", config, samples=LINES[:4])


def test_the_page_is_in_the_run(counted):
    before = set(os.listdir(counted))
    record = record_of("report", str(counted))
    page = counted / "report.html"
    assert set(os.listdir(counted)) == before | {"report.html"}
    assert (record["command"], record["run_dir"]) == ("report", str(counted))
    assert (record["report"], record["bytes"]) == (str(page), page.stat().st_size)
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert all(line in text for line in LINES[:4])


def test_the_page_says_which_samples_were_cut(tmp_path, counted):
    config = CountConfig(DataConfig(str(tmp_path / "names.txt")), NgramConfig())
    cut = make_run(tmp_path / "cut", config, samples=LINES[:2], cut=[False, True])
    pages = []
    for run in (counted, cut):
        call("report", str(run))
        pages.append((run / "report.html").read_text("utf-8"))
    words = [
        re.sub("<(style|script).*?</\\1>|<[^>]*>", " ", page, flags=re.DOTALL) for page in pages
    ]
    assert [bool(re.search(r"\bcut\b", text)) for text in words] == [False, True]


def test_a_link_in_the_place_of_a_report_is_replaced_not_followed(counted, tmp_path):
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    (counted / "report.html").symlink_to(outside)
    out, err = call("report", str(counted))
    path = re.escape(str(counted / "report.html"))
    assert re.fullmatch(rf"report +{path}: \d.* kB; open it in a browser\n", out)
    assert err == ""
    assert outside.read_text() == "mine"
    assert not (counted / "report.html").is_symlink()
    assert [path.name for path in counted.iterdir() if path.name.endswith(".part")] == []


def test_without_its_data_the_page_is_made_and_what_is_missing_is_said(counted):
    Path("names.txt").unlink()
    _, err = call("report", str(counted))
    assert "some figures are left out" in err
    assert err.count("\n") == 1
    assert (counted / "report.html").exists()
