"""mm-jax export: the page that it writes, and where it may be written."""

from pathlib import Path

import pytest

from mm_jax.cli.commands.export import check_page_path
from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import KneserNeyConfig, NgramConfig
from mm_jax.config.training import CountConfig
from tests.cli.commands.conftest import LINES
from tests.helpers import call, make_run, record_of


@pytest.fixture
def data(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(LINES))
    return DataConfig(str(tmp_path / "names.txt"))


def test_the_page_is_written_where_it_is_asked_for(tmp_path, data):
    make_run(tmp_path / "counted", CountConfig(data, NgramConfig()))
    record = record_of("export", "counted", "--html", "page.html")
    assert (record["command"], record["html"]) == ("export", "page.html")
    assert record["bytes"] == Path("page.html").stat().st_size
    assert record["run_dir"] == "counted"
    assert record["config"]["model"] == {"name": "ngram", "order": 2, "smoothing": 1.0}
    page = Path("page.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    out, _ = call("export", "counted", "--html", "page.htm")
    assert "open it in a browser" in out
    assert Path("page.htm").read_bytes() == page


def test_a_model_that_is_too_large_for_a_page_is_refused(tmp_path, data, monkeypatch):
    monkeypatch.setattr("mm_jax.reports.browser_model.MAX_BYTES", 100)
    make_run(tmp_path / "kn", CountConfig(data, KneserNeyConfig(3)))
    _, err = call("export", "kn", "--html", "page.html", code=2)
    assert "a page can carry at most 100 B" in err
    assert err.count("\n") == 1
    assert not Path("page.html").exists()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("page.txt", "must end in .html"),
        ("no/where.html", "there is no directory no"),
        ("folder.html", "is a directory"),
        (f"{300 * 'x'}.html", "File name too long"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_the_run_is_read(path, error):
    Path("folder.html").mkdir()
    _, err = call("export", "no-run", "--html", path, code=2)
    assert err.startswith(f"mm-jax export: error: --html {path}")
    assert error in err
    assert err.count("\n") == 1
    with pytest.raises(InputError):
        check_page_path(Path(path))
