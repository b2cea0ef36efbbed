"""A run or a sweep -> report.html: one page with all its numbers and figures, and a generator.

The page is a single file that opens from disk, without a network, in a light and a dark theme.
"""

import math
import shlex
from pathlib import Path

from mm_jax.config.base import InputError
from mm_jax.config.command_line import command_of, flags_of
from mm_jax.config.ladder import ENTRIES, LadderConfig
from mm_jax.experiments.ladder_record import Entry
from mm_jax.experiments.search_config import command_of as command_of_search
from mm_jax.reports.analysis import readable, shown_symbols
from mm_jax.reports.browser_model import Payload, payload, render, title_of
from mm_jax.reports.figures import choices_figure, make_figures
from mm_jax.reports.ladder_figures import ladder_figures
from mm_jax.reports.ladder_summary import LadderSummary
from mm_jax.reports.ladder_table import HEADS, sortable_cells
from mm_jax.reports.page_figures import figure_of_page
from mm_jax.reports.page_tables import (
    NUM_SHADES,
    array_row,
    baseline_rows,
    choice_rows,
    data_rows,
    neighbour_rows,
    run_rows,
    sample_row,
    setting_row,
    split_rows,
    versions_text,
)
from mm_jax.reports.plots.symbols import MAX_SURPRISE
from mm_jax.reports.run_summary import RunSummary
from mm_jax.reports.sweep_summary import SweepSummary
from mm_jax.reports.text_tables import spread_text
from mm_jax.runs.layout import CONFIG
from mm_jax.runs.reader import Run, load_run

REPORT = "report.html"


def report(summary: RunSummary | SweepSummary | LadderSummary) -> bytes:
    """Return the page of a run, a sweep or a ladder."""
    if isinstance(summary, LadderSummary):
        return ladder_report(summary)
    if isinstance(summary, SweepSummary):
        return sweep_report(summary)
    run = summary.run
    model, why_not = model_of_page(run)
    scripts = model.script_names if model else []
    shown = shown_symbols(len(run.vocab), summary.frequency)
    has_lookup = model is not None and model.has_embedding and len(shown.ids) < len(run.vocab)
    return render(
        "report.html.jinja",
        script_names=[*scripts, "neighbours.js"] if has_lookup else scripts,
        title=title_of(run),
        about=about_text(run),
        result=result_text(summary),
        notes=summary.notes,
        model=model.text if model else "",
        why_no_model=why_not,
        run_rows=list(run_rows(summary)),
        baselines=baseline_rows(summary),
        baseline_split="dev" if run.data["split_lines"][1] else "train",
        figures=[figure_of_page(figure) for figure in make_figures(summary, tables=False)],
        shades=[f"{shade * MAX_SURPRISE / NUM_SHADES:.2g}" for shade in range(NUM_SHADES + 1)],
        samples=[sample_row(line) for line in summary.samples],
        samples_text=samples_text(summary),
        data_rows=data_rows(run.data, run.config),
        splits=split_rows(summary),
        neighbours=neighbour_rows(summary),
        neighbours_of=shown.which[0].upper() + shown.which[1:],
        has_lookup=has_lookup,
        in_words=run.vocab.unit == "word",
        arrays=[array_row(array) for array in summary.arrays],
        choices=choice_rows(run.config),
        command=command_of(run.config),
        versions=versions_text(run.folder),
    )


def sweep_report(summary: SweepSummary) -> bytes:
    """Return the page of a sweep; it samples from the best run."""
    search, settings, names = summary.search, summary.settings, summary.names
    model, why_not = None, "Every setting diverged, so there is no model to sample from."
    if (summary.folder / "best" / CONFIG).is_file():
        model, why_not = model_of_page(load_run(summary.folder / "best"))
    converged = math.isfinite(settings[0].mean)
    titles = [name.replace("_", " ") for name in names]
    commands = f"{command_of_search(search)}\n"
    if summary.train_command is not None:
        commands += f"# the best setting alone\n{summary.train_command}\n"
    return render(
        "sweep.html.jinja",
        script_names=["sort.js", *(model.script_names if model else [])],
        title=f"Sweep over {' and '.join(titles)}",
        about=f"Run directory {readable(summary.folder.absolute().name)}: "
        f"{len(settings):,} settings, {search.config.seeds:,} seeds each",
        result=sweep_result_text(summary),
        figures=[figure_of_page(choices_figure(summary, n)) for n in names] if converged else [],
        heads=[*titles, "parameters", "steps", "loss on dev"],
        rows=[setting_row(each) for each in settings],
        model=model.text if model else "",
        why_no_model=why_not,
        data_rows=data_rows(dict(search.data), search.config),
        command=commands,
        versions=versions_text(summary.folder / "best"),
    )


def ladder_report(summary: LadderSummary) -> bytes:
    """Return the page of a ladder; it samples from the best model that a page can carry."""
    record, best = summary.record, summary.best
    model, why_not, of_model = None, "There is no model to sample from.", ""
    for entry in sorted(summary.finite, key=lambda entry: entry.spread.mean):
        if model is None and entry.folder is not None:
            model, why_not = model_of_page(load_run(summary.folder / entry.folder))
            of_model = entry.title
    return render(
        "ladder.html.jinja",
        script_names=["sort.js", *(model.script_names if model else [])],
        title=f"Ladder on {readable(Path(record.config.data.data).name)}",
        about=f"Run directory {readable(summary.folder.absolute().name)}: "
        f"{len(summary.finite)} models, {record.config.seeds} seeds of each net",
        result="" if best is None else ladder_result_text(summary, best),
        figures=[figure_of_page(figure) for figure in ladder_figures(summary)],
        heads=HEADS,
        rows=[
            (place, each.title, each == best, sortable_cells(each))
            for place, each in enumerate(summary.entries)
            if each.skipped is None
        ],
        skipped=[(each.title, each.skipped) for each in summary.entries if each.skipped],
        weights=[(ENTRIES[name].title, f"{w:.3f}") for name, w in record.weights.items()],
        commands=[(each.title, each.command) for each in summary.entries if each.command],
        model=model.text if model else "",
        of_model=of_model,
        why_no_model=why_not,
        data_rows=data_rows(record.data, record.config),
        command=shlex.join(["mm-jax", "ladder", *flags_of(record.config, LadderConfig())]),
        versions="" if best is None else versions_text(summary.folder / (best.folder or "")),
    )


def ladder_result_text(summary: LadderSummary, best: Entry) -> str:
    """Return a line that says which model is the best, and by how much."""
    return (
        f"{best.title} is the best of {len(summary.finite)} models: {spread_text(best.spread)} "
        f"nats per symbol on {summary.split}."
    )


def model_of_page(run: Run) -> tuple[Payload | None, str]:
    """Return the model for a page and "", or None and why a page cannot carry it."""
    try:
        return payload(run), ""
    except InputError as error:
        return None, f"This page cannot sample from the model: {error}."


def about_text(run: Run) -> str:
    """Return a line that says which run this is."""
    so_far = "" if run.step is None else f", after step {run.step:,}"
    return f"Run directory {readable(run.folder.absolute().name)}{so_far}"


def result_text(summary: RunSummary) -> str:
    """Return a line that says what loss the run reached."""
    train, dev = summary.losses.get("train_loss"), summary.losses.get("dev_loss")
    loss, split = (dev, "the lines of dev") if dev is not None else (train, "its training lines")
    if summary.run.config.data.items == "document":  # which has no lines
        split = "train" if dev is None else "dev"
    if loss is None:
        return "The run has not finished, so there is no exact loss of it yet."
    symbols = f"{math.exp(loss):,.2f}" if loss < 20 else "very many"
    return (
        f"{loss:.4f} nats per symbol on {split}: as uncertain as a choice among {symbols} equally "
        f"likely symbols (the vocabulary has {len(summary.run.vocab):,})."
    )


def samples_text(summary: RunSummary) -> str:
    """Return a line that says how many samples there are, and how many of them are new."""
    count, what = len(summary.samples), summary.run.sample_shape.what
    num_cut = sum(line.is_cut for line in summary.samples)
    cut = f" {num_cut} were cut at the most symbols." if num_cut else ""
    if summary.dataset is None or summary.dataset.info.is_document:
        return f"{count} {what} from the model.{cut}"
    new = sum(not line.seen for line in summary.samples)
    return f"{count} {what} from the model, {new} of which occur in none of its splits.{cut}"


def sweep_result_text(summary: SweepSummary) -> str:
    """Return a line that says what loss the best setting reached."""
    best = summary.settings[0]
    if not math.isfinite(best.mean):
        return "Training diverged in every setting; lower the learning rate."
    choices = ", ".join(f"{name.replace('_', ' ')} {best.choices[name]}" for name in summary.names)
    return f"The best setting reached {best.mean:.4f} nats per symbol on dev: {choices}."
