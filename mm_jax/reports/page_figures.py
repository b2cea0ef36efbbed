"""A figure with what is said of it in words, and as a page shows it."""

from typing import NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from mm_jax.reports import plots

COLUMN_WIDTH = 6.5  # inches, to which a figure of more cannot shrink
FULL_WIDTH = ("bigrams", "probabilities", "difference")  # figures that need the width of the page


class ReportFigure(NamedTuple):
    """A figure, the name of its file, its title, and a description in words."""

    name: str
    title: str
    description: str
    figure: Figure


class PageFigure(NamedTuple):
    """A figure as a page shows it."""

    title: str
    description: str
    svg: str
    is_large: bool


def figure_of_page(figure: ReportFigure) -> PageFigure:
    """Return a figure as a page shows it."""
    svg = Markup(plots.to_page(figure.figure, figure.name, figure.description))
    may_be_large = figure.name in ("attention", "gates", "embedding")
    is_large = figure.name in FULL_WIDTH or (
        may_be_large and figure.figure.get_figwidth() > COLUMN_WIDTH
    )
    return PageFigure(figure.title, figure.description, svg, is_large)
