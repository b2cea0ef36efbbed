"""The figures of a ladder, with a title and a description."""

from collections.abc import Iterator

from mm_jax.reports import plots
from mm_jax.reports.ladder_summary import COSTS, FAR, LadderSummary, kind_of
from mm_jax.reports.page_figures import ReportFigure
from mm_jax.reports.plots.ladder import Mark


def ladder_figures(summary: LadderSummary) -> Iterator[ReportFigure]:
    """Yield the loss of all models against the seconds of training, and against parameters."""
    best = summary.best
    if best is None:
        return
    lowest = best.spread.mean
    for field, cost in COSTS.items():
        marks, far = [], []
        for entry in summary.finite:
            value, (mean, half) = getattr(entry, field), entry.spread
            if mean > lowest + FAR:
                far.append(f"{entry.name} {mean:.2f}")
            elif value:
                marks.append(Mark(entry.name, kind_of(entry), value, mean, half))
        if len(marks) > 1:
            hidden = f" Not drawn, above the others: {', '.join(far)}." if far else ""
            yield ReportFigure(
                f"ladder_{field}",
                f"Loss against {cost}",
                f"Loss on {summary.split} against {cost}; the lowest is {lowest:.4f}, of "
                f"{best.name}. Lines through the marks are 95% intervals over seeds.{hidden}",
                plots.ladder(marks, cost, summary.split),
            )
