"""A figure of a page, with what is said of it in words."""

from typing import NamedTuple

from matplotlib.figure import Figure


class ReportFigure(NamedTuple):
    """A figure, the name of its file, its title, and a description in words."""

    name: str
    title: str
    description: str
    figure: Figure
