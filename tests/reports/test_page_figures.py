"""How a page shows a figure."""

from matplotlib.figure import Figure

from mm_jax.reports.page_figures import ReportFigure, figure_of_page


def figure_of(name, width):
    figure = Figure(figsize=(width, 3))
    figure.subplots().plot([0, 1], [1, 0])
    return figure_of_page(ReportFigure(name, "A title", "In words.", figure))


def test_it_has_its_title_its_words_and_the_drawing():
    shown = figure_of("loss", 5)
    assert (shown.title, shown.description) == ("A title", "In words.")
    assert shown.svg.startswith("<svg")
    assert not shown.is_large


def test_tables_and_many_panels_have_the_width_of_the_page():
    assert figure_of("bigrams", 5).is_large
    assert figure_of("attention", 9).is_large
    assert not figure_of("attention", 5).is_large
