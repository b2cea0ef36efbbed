"""The figures of a ladder, and what is said of them."""

from mm_jax.reports.ladder_figures import ladder_figures
from tests.reports.ladders import ENTRIES, summary_of


def test_losses_stand_against_seconds_and_parameters(tmp_path):
    seconds, parameters = ladder_figures(summary_of(tmp_path))
    assert [seconds.name, parameters.name] == ["ladder_seconds", "ladder_num_params"]
    assert "the lowest is 1.9000, of mixture" in seconds.description
    for figure in (seconds, parameters):
        (axes,) = figure.figure.axes
        assert {text.get_text() for text in axes.texts} == {"bigram", "gru", "mixture"}
        assert "Not drawn, above the others: uniform 3.30." in figure.description


def test_one_model_alone_has_no_figure(tmp_path):
    assert [*ladder_figures(summary_of(tmp_path, ENTRIES[1:2]))] == []
    assert [*ladder_figures(summary_of(tmp_path, ENTRIES[3:4]))] == []
