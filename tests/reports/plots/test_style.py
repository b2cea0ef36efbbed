"""Figures as files and as parts of a page: legible, harmless, and the same each time."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.data.vocab import Vocab
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine
from mm_jax.reports.embeddings import nearest_rows
from mm_jax.reports.plots import style
from tests.reports.plots.inputs import make_curve, make_diagnostics

ABC = Vocab((".", "a", "b"))


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    figure = plots.one_hot(np.eye(3, dtype=np.float32), [".", "a", "b"], ABC)
    with pytest.raises(InputError, match="cannot write"):
        plots.save(figure, tmp_path / "nowhere" / "a.png")


def test_a_name_of_a_figure_is_no_way_into_a_page():
    svg = plots.to_page(plots.training([make_curve([3.0, 2.0])]), 'x"><b a="\\1', "a loss")
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert not [each for each in tree.iter() if each.tag.endswith("}b")]


def test_long_names_of_symbols_and_lines_are_written_small_or_shortened():
    odd = Vocab((".", "a", "\u202e"))
    figure = plots.embedding(np.eye(3), odd)
    sizes = {text.get_text(): text.get_fontsize() for text in figure.axes[0].texts}
    assert sizes["U+202E"] < sizes["a"] / 2
    lines = [AnnotatedLine("a", [("a", 1.0), (".", 1.0)], [], 5000 * "a", 4999, False)]
    said = plots.samples(lines).axes[0].texts[-1].get_text()
    assert len(said) < 60
    assert "…, 4999 edits away" in said


def test_a_figure_in_a_page_keeps_its_text_and_follows_the_theme():
    diagnostics = make_diagnostics([0.5], np.ones(200))
    figure = plots.activations(diagnostics, diagnostics)
    svg = plots.to_page(figure, "one", 'of "h" & <b>')
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == 'of "h" & <b>'
    words = " ".join("".join(text.itertext()) for text in tree.iter() if "text" in text.tag)
    assert "activation h, all units and examples" in words
    assert "beyond ±0.97" not in words  # a title is the page's to say
    assert "−0.75" in words
    for variable, color in style.THEMED.items():
        assert color not in svg, variable
    assert "var(--ink)" in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) > 0
    assert all(each.startswith("one-") for each in ids)
    used = re.findall(r'(?:url\(#|href="#)([^)"]*)', svg)
    assert {*used} == {*ids}


def test_a_figure_of_several_panels_has_no_title_in_a_page():
    figure = plots.neighbours(nearest_rows(np.eye(3)), ABC)
    assert "The nearest symbols" in figure.get_suptitle()
    assert "The nearest symbols" not in plots.to_page(figure, "near", "of each symbol")


def test_text_from_a_file_is_no_formula_and_steers_nothing():
    odd = Vocab((".", "$", "\u202e", " "))
    table = np.eye(4)
    figure = plots.embedding(table, odd)
    svg = plots.to_page(figure, "odd", "odd")
    assert {"$", "U+202E", "␣"} <= set(re.findall(r">([^<]+)</text>", svg))
    lines = [
        AnnotatedLine(
            "$x$", [("$", 1.0), ("x", 1.0), ("$", 1.0), (".", 1.0)], [], "$x$ $y$", 4, False
        )
    ]
    svg = plots.to_page(plots.samples(lines), "lines", "lines")
    assert "new; nearest: $x$␣$y$, 4 edits away" in svg


def test_lines_of_figures_are_told_apart_by_dashes():
    assert len({str(dashes) for _, dashes in style.LINES}) == len(style.LINES)


def test_the_colours_are_told_apart_in_grey():
    def lightness(color):
        return np.dot([int(color[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114])

    for one, other in (
        (style.BLUE, style.AMBER),
        (style.BLUE, style.ORANGE),
        (style.INK, style.BLUE),
    ):
        assert abs(lightness(one) - lightness(other)) > 20


def test_nothing_that_matplotlib_was_told_elsewhere_changes_a_figure():
    plain = style.rendered(plots.training([make_curve([3.0, 2.0])]), ".svg")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "text.usetex": False}):
        assert style.rendered(plots.training([make_curve([3.0, 2.0])]), ".svg") == plain


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_figure_is_written_in_the_format_of_its_ending_the_same_each_time(ending, tmp_path):
    path = plots.check_path(str(tmp_path / f"curve.{ending}"))
    written = []
    for _ in range(2):
        plots.save(plots.one_hot(np.eye(3, dtype=np.float32), [".", "a", "b"], ABC), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert written[0].startswith(begin)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("curve.txt", "must end in one of .png, .svg, .pdf"),
        ("folder.png", "is a directory"),
        ("no/curve.png", "there is no directory"),
    ],
)
def test_a_path_that_no_figure_can_have_is_refused_before_anything_is_drawn(
    path, why, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=why):
        plots.check_path(path)
