"""mm-jax plot: which files it writes, and where."""

from pathlib import Path

import pytest
from PIL import Image

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
    return make_run(tmp_path / "counted", config)


def test_each_figure_is_written_twice_and_the_same_in_any_folder(counted, tmp_path):
    record = record_of("plot", str(counted))
    folder = counted / "figures"
    assert record["command"] == "plot"
    assert record["run_dir"] == str(counted)
    assert record["folder"] == str(folder)
    assert record["seconds"] > 0
    names = {f"{name}{end}" for name in record["figures"] for end in (".png", ".svg")}
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert first.keys() == names
    for name in record["figures"]:
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 300
        assert first[f"{name}.svg"].startswith(b"<?xml")
    other = tmp_path / "else" / "where"
    out, err = call("plot", str(counted), "--out", str(other))
    assert {path.name: path.read_bytes() for path in other.iterdir()} == first
    assert err == ""
    *rows, last = out.splitlines()
    assert [row.split()[0] for row in rows] == list(record["figures"])
    assert last.endswith(f"{other}: {len(rows)}, each as .png and .svg")


@pytest.mark.parametrize(
    ("out", "error"),
    [
        ("", "--out is empty; name a folder"),
        ("names.txt", "--out names.txt exists and is not a folder"),
        ("names.txt/x", "--out names.txt/x: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(counted, out, error):
    assert call("plot", str(counted), "--out", out, code=2)[1] == f"mm-jax plot: error: {error}\n"
    assert not (counted / "figures").exists()


def test_what_is_no_run_is_one_line(tmp_path):
    assert "does not exist" in call("plot", str(Path("nowhere")), code=2)[1]
    (tmp_path / "names.txt").write_text("emma")
    assert "is not a run directory" in call("plot", "names.txt", code=2)[1]
