"""A walk: what it prints, compares and saves, and the scripts that it runs cell by cell."""

import ast
import hashlib
import re
from pathlib import Path

import jax
import pytest

from mm_jax.config.base import InputError
from mm_jax.lectures import walkthrough
from mm_jax.lectures.walkthrough import Cell, Walk, begin, cells, prose, walk_through
from tests.helpers import call, record_of

ROOT = Path(__file__).parents[2]
FIGURES = {1: ["bigrams", "one_hot"], 2: ["learning_rates", "losses_300", "embedding", "losses"]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No walk depends on the folder that it is started from, or on a file that may be here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES", raising=False)


def script(tmp_path, monkeypatch, text):
    """Let ``text`` be the script of both lectures."""
    path = tmp_path / "lecture_1.py"
    path.write_text(text)
    monkeypatch.setattr(walkthrough, "shipped", lambda _: path)


SCRIPT = """# %% [markdown]
# # A lecture
#
# It says `this`.

# %%
from mm_jax.lectures.walkthrough import begin

walk = begin(1)
walk.must("one and one", 2, 1 + {one})
walk.on_file("names", 32_033, len(walk.names))
walk.may("a draw", 0.5, 0.25, within=0.3)
walk.trained("a loss", [2.1, 2.2], [2.11, 2.23], within=0.02)
print("aside")

# %%
walk.table()
"""


def test_a_walk_says_prose_numbers_and_the_table(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, SCRIPT.format(one=1))
    monkeypatch.setenv("COLUMNS", "140")
    out, err = call("lecture", "1")
    assert err == ""
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "data       names: 32,178 names; figures go to figures/lecture-1"
    assert lines[1:5] == ["", "A lecture", "=========", ""]
    assert "It says `this`." in lines
    assert "aside" in lines
    assert re.search(r"  one and one: +2   \(lecture: 2\)", out)
    words = " ".join(out.split())
    assert "are near the lecture's, not equal" in words
    assert "one and one 2 2 must, and does" in words
    assert "a draw 0.5 0.2500 may differ; near within 0.3: JAX draws other" in words
    assert "a loss 2.1 2.2 2.1100 2.2300 may differ; not near" in words
    assert "names 32,033 32,178 may differ other names" in words


def test_a_number_that_must_agree_and_does_not_is_exit_code_1(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, SCRIPT.format(one=2))
    out, err = call("lecture", "1", code=1)
    assert "must, and DOES NOT" in out
    assert err.count("\n") == 1
    assert "1 of the numbers that must agree do not: one and one" in err
    record = record_of("lecture", "1", code=1)
    assert record["disagree"] == ["one and one"]
    assert record["rows"][0]["agrees"] is False


def test_few_steps_are_not_held_against_the_lecture(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, SCRIPT.format(one=1))
    rows = record_of("lecture", "1", "--quick")["rows"]
    assert [row["why"] for row in rows if row["what"] == "a loss"] == [walkthrough.QUICK]
    assert Walk(1, quick=True).steps(200_000) == 200
    assert Walk(1, quick=True).steps(50) == 20
    assert Walk(1).steps(200_000) == 200_000


def test_a_walk_does_not_depend_on_how_jax_is_set(tmp_path, monkeypatch):
    text = """# %%
import jax.numpy as jnp
from mm_jax.lectures.walkthrough import begin

jnp.ones((2, 3)) + jnp.ones(3) + jnp.arange(3)
begin(1).must("inf / inf", "nan", str(jnp.exp(jnp.float32(100)) / jnp.exp(jnp.float32(100))))
"""
    script(tmp_path, monkeypatch, text)
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
        jax.debug_infs(True),
    ):
        assert record_of("lecture", "1")["disagree"] == []
        assert jax.config.jax_numpy_dtype_promotion == "strict"


def test_an_error_in_a_script_says_its_line(tmp_path, monkeypatch):
    script(tmp_path, monkeypatch, "# %% [markdown]\n# Hello\n\n# %%\nx = 1\n1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        walk_through(Walk(1, say=lambda _: None))
    last = caught.traceback[-1]
    assert (last.path.name, last.lineno + 1) == ("lecture_1.py", 6)
    assert walkthrough._walk.get() is None


def pretend(path, monkeypatch):
    """Take a file for the lecture's."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for module in ("mm_jax.data.streaming", "mm_jax.lectures.walkthrough"):
        monkeypatch.setattr(f"{module}.LECTURE_SHA256", sha256)


def test_the_lectures_file_is_the_default_where_it_is(tmp_path, monkeypatch):
    assert Walk(1).data == "names"
    cached = tmp_path / "cache" / "mm-jax" / "lecture-names.txt"
    cached.parent.mkdir(parents=True)
    cached.write_text("emma\nava\n")
    pretend(cached, monkeypatch)
    assert Walk(1).data == "lecture-names"
    assert Walk(1).is_lecture_file
    assert not Walk(1, "names").is_lecture_file


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("", "--out is empty"),
        ("taken", "--out taken: File exists"),
        ("taken/below", "--out taken/below: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused(out, why):
    Path("taken").write_text("a file")
    with pytest.raises(InputError, match=why):
        Walk(1, "names", out)


def test_what_is_of_the_file_must_agree_on_that_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "names.txt"
    path.write_text("emma\nava\n")
    pretend(path, monkeypatch)
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(path))
    for data, must in ("lecture-names", True), ("names", False):
        walk = Walk(1, data, say=lambda _: None)
        walk.on_file("names", 2, 3)
        assert (walk.rows[0].must, walk.rows[0].agrees) == (must, False if must else None)


def test_a_variable_that_leads_nowhere_is_not_passed_over(monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", "nowhere.txt")
    with pytest.raises(InputError, match=r"lecture-names is not at nowhere\.txt"):
        Walk(1)
    assert not Path("figures").exists()


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    draw = "from mm_jax.lectures.walkthrough import begin\nfrom matplotlib.figure import Figure\n"
    script(tmp_path, monkeypatch, f'# %%\n{draw}begin(1).draw("a", Figure())\n')
    Path("out/a.png").mkdir(parents=True)
    _, err = call("lecture", "1", "--out", "out", code=2)
    assert err == "mm-jax lecture: error: cannot write out/a.png: Is a directory\n"


def test_a_notebook_gets_a_walk_of_its_own_and_shows_figures(capsys):
    from matplotlib.figure import Figure

    before = jax.config.jax_default_matmul_precision
    try:
        walk = begin(2)
        assert jax.config.jax_default_matmul_precision == "highest"  # on a GPU, too
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    picture = walk.draw("empty", Figure())
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert "figures/lecture-2/empty.png" in capsys.readouterr().out
    walk.must("a number", 1, 2)
    assert "must agree, and do not" in capsys.readouterr().out


def test_cells_know_their_kind_and_their_line():
    text = "# %% [markdown]\n# One\n#\n# two\n\n# %%\na = 1\n\n\n# %%\nb = 2\n"
    assert list(cells(text)) == [
        Cell("One\n\ntwo", False, 1),
        Cell("a = 1", True, 6),
        Cell("b = 2", True, 10),
    ]
    assert list(prose("# One\n\ntwo three", 5)) == ["", "One", "===", "", "two", "three", ""]
    assert list(prose("## One", 50)) == ["", "One", "---", ""]


@pytest.mark.parametrize("number", [1, 2])
def test_the_scripts_open_as_notebooks(number):
    """Every cell is whole by itself, and a figure is the last thing of its cell, so it is shown."""
    drawn = []
    for cell in cells((ROOT / f"scripts/lecture_{number}.py").read_text()):
        assert cell.text.strip()
        if cell.is_code:
            *_, last = ast.parse(cell.text).body
            drawn += re.findall(r'walk\.draw\("(\w+)"', cell.text)
            if "walk.draw(" in cell.text:
                assert ast.unparse(last).startswith("walk.draw(")
    assert drawn == FIGURES[number]
