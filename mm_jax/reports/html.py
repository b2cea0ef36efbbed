"""A run, or a sweep -> report.html: one page with all there is to see, which makes lines by itself.

The page is a single file that opens from a disk, without a network, in light and in dark.
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from mm_jax.config.base import InputError, flag
from mm_jax.config.command_line import command_of
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.experiments.search_config import command_of as command_of_search
from mm_jax.experiments.statistics import spread_of
from mm_jax.models.base import num_params
from mm_jax.reports import plots
from mm_jax.reports.analysis import AnnotatedLine, ArrayStats, neighbours_of, readable, shortened
from mm_jax.reports.browser_model import payload, render, title_of
from mm_jax.reports.figures import ReportFigure, choices_picture, make_figures
from mm_jax.reports.plots.symbols import SURPRISE
from mm_jax.reports.run_summary import RunSummary
from mm_jax.reports.sweep_summary import Setting, SweepSummary
from mm_jax.reports.text_tables import spread_text
from mm_jax.runs.layout import CONFIG
from mm_jax.runs.reader import Run, load_run

REPORT = "report.html"
LEVELS = 8  # shades of surprise, beside none
FULL_WIDTH = ("bigrams", "probabilities", "difference")  # figures that need their full width
Facts = list[tuple[str, str]]


def report(summary: RunSummary | SweepSummary) -> bytes:
    """Return the page of a run, or of a sweep."""
    if isinstance(summary, SweepSummary):
        return sweep_report(summary)
    run = summary.run
    model, why_not = _model(run)
    lines = [line_row(line) for line in summary.lines]
    new = sum(line["seen"] == "new" for line in lines)
    said = f"{len(lines)} lines that it makes."
    if summary.splits is not None:
        said = f"{len(lines)} lines that it makes, {new} of which stand in none of its splits."
    return render(
        "report.html.jinja",
        script_names=["generator.js"] if model else [],
        title=title_of(run),
        about=about(run),
        answer=answer(summary),
        notes=summary.notes,
        model=model,
        no_generator=why_not,
        facts_rows=list(run_facts(summary)),
        ladder=ladder(summary),
        ladder_of="dev" if summary.run.data["split_lines"][1] else "train",
        pictures=[shown(picture) for picture in make_figures(summary, tables=False)],
        shades=[f"{level * SURPRISE / LEVELS:.2g}" for level in range(LEVELS + 1)],
        lines=lines,
        samples_said=said,
        data_rows=data_facts(run.data, run.config),
        splits=shared(summary),
        neighbours=neighbours(summary),
        shapes=[shape_row(shape) for shape in summary.shapes],
        choices=choices(run.config),
        command=command_of(run.config),
        versions=versions(run.folder),
    )


def sweep_report(summary: SweepSummary) -> bytes:
    """Return the page of a sweep; it makes lines with the best run."""
    search, settings, names = summary.search, summary.settings, summary.names
    model, why_not = "", "Every setting diverged, so there is no model to make lines with."
    if (summary.folder / "best" / CONFIG).is_file():
        model, why_not = _model(load_run(summary.folder / "best"))
    best = settings[0]
    told = ", ".join(f"{name.replace('_', ' ')} {best.choices[name]}" for name in names)
    good = math.isfinite(best.mean)
    reached = f"The best reached {best.mean:.4f} nats a symbol on dev: {told}."
    reached = reached if good else "Training diverged in every setting; lower the learning rate."
    again = f"{command_of_search(search)}\n"
    if summary.train_command is not None:
        again += f"# the best of them alone\n{summary.train_command}\n"
    return render(
        "sweep.html.jinja",
        script_names=["sort.js", *(["generator.js"] if model else [])],
        title=f"Sweep over {' and '.join(name.replace('_', ' ') for name in names)}",
        about=f"Run directory {readable(summary.folder.absolute().name)}: "
        f"{len(settings):,} settings, {search.config.seeds:,} seeds each",
        answer=reached,
        pictures=[shown(choices_picture(summary, name)) for name in names] if good else [],
        heads=[*(name.replace("_", " ") for name in names), "parameters", "steps", "loss on dev"],
        rows=[setting_row(each) for each in settings],
        model=model,
        no_generator=why_not,
        data_rows=data_facts(dict(search.data), search.config),
        command=again,
        versions=versions(summary.folder / "best"),
    )


def _model(run: Run) -> tuple[str, str]:
    """Return the model for a page, or nothing and why."""
    try:
        return payload(run), ""
    except InputError as error:
        return "", f"This page makes no lines by itself: {error}."


class PageFigure(NamedTuple):
    """A picture as a page has it."""

    title: str
    description: str
    svg: str
    large: bool


def shown(picture: ReportFigure) -> PageFigure:
    """Return a picture as a page has it."""
    svg = plots.to_page(picture.figure, picture.name, picture.description)
    mark = Markup(svg)
    return PageFigure(picture.title, picture.description, mark, picture.name in FULL_WIDTH)


def about(run: Run) -> str:
    """Say in a line which run this is."""
    so_far = "" if run.step is None else f", after step {run.step:,}"
    return f"Run directory {readable(run.folder.absolute().name)}{so_far}"


def answer(summary: RunSummary) -> str:
    """Say in a line what came of it."""
    train, dev = summary.losses.get("train_loss"), summary.losses.get("dev_loss")
    loss, which = (dev, "the lines held out for dev") if dev is not None else (train, "its lines")
    if loss is None:
        return "It has not come to its end, so there is no exact loss of it yet."
    symbols = f"{math.exp(loss):,.2f}" if loss < 20 else "very many"
    return (
        f"{loss:.4f} nats a symbol on {which}: as unsure as among {symbols} symbols that are "
        f"equally likely. There are {len(summary.run.vocab):,} in all."
    )


def run_facts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    """Yield what was run and what came of it."""
    run, config = summary.run, summary.run.config
    sizes = dataclasses.asdict(config.model)
    what = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sizes.items())
    yield "Model", f"{config.model.name}: {what}" if what else config.model.name
    yield "Parameters", f"{num_params(run.params):,}"
    if isinstance(config, RunConfig):
        each = "all examples" if config.full_batch else f"{config.batch_size:,} examples"
        yield "Training", f"{config.steps:,} steps of {each} each"
        descent = config.optimizer
        rate = f"learning rate {descent.learning_rate}, schedule {descent.schedule}"
        yield "Optimizer", f"{descent.optimizer}, {rate}"
        yield (
            "Seed",
            f"{config.seed}" if config.seeds == 1 else f"{config.seeds} from {config.seed}",
        )
    for name, loss in summary.losses.items():
        if loss is not None:
            yield f"Loss on {name.removesuffix('_loss')}", f"{loss:.4f} nats a symbol"


def ladder(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the losses of counting and of the model itself, the highest first."""
    losses = [(name, loss, False) for name, loss in summary.floors]
    held_out = summary.run.data["split_lines"][1]
    own = summary.losses.get("dev_loss" if held_out else "train_loss")
    if own is not None:
        losses.append(("this model", own, True))
    return [
        {
            "name": name,
            "nats": f"{loss:.4f}",
            "bits": f"{loss / math.log(2):.4f}",
            "perplexity": f"{math.exp(loss):.2f}" if loss < 20 else "huge",
            "this": this,
        }
        for name, loss, this in sorted(losses, key=lambda row: -row[1])
    ]


def level_of(nats: float) -> int:
    """Return how dark the ground of a symbol is, 0 to LEVELS."""
    return min(LEVELS, round(nats * LEVELS / SURPRISE)) if math.isfinite(nats) else LEVELS


def line_row(line: AnnotatedLine) -> dict[str, Any]:
    """Return a line that the model makes, as the page has it."""
    symbols = [(readable(symbol), level_of(nats), f"{nats:.2f}") for symbol, nats in line.symbols]
    total = sum(nats for _, nats in line.symbols)
    return {
        "text": readable(line.text),
        "symbols": symbols,
        "nats": f"{total / len(symbols):.2f}",
        "seen": ", ".join(line.seen) or ("new" if line.nearest is not None else "not known"),
        "nearest": "" if line.nearest is None else readable(shortened(line.nearest, 64)),
        "distance": "" if line.distance is None else line.distance,
    }


def data_facts(data: dict[str, Any], config: RunConfig | CountConfig) -> Facts:
    """Return what was learned from."""
    pairs = zip(("train", "dev", "test"), data["split_lines"], strict=True)
    counts = ", ".join(f"{count:,} lines for {name}" for name, count in pairs)
    return [
        ("File", readable(str(data["path"]))),
        ("Lines", f"{data['num_lines']:,}"),
        ("sha256", data["sha256"]),
        ("Split", f"{config.data.split}, seed {config.data.split_seed}: {counts}"),
        ("Of dev in train too", f"{data['dev_lines_in_train']:.1%}"),
    ]


def shared(summary: RunSummary) -> list[dict[str, str]]:
    """Return how many lines of each split stand in train too."""
    if summary.splits is None:
        return []
    known = set(summary.splits.train)
    rows = []
    for name, lines in summary.splits._asdict().items():
        if lines:
            both = sum(line in known for line in lines)
            of_train = name == "train"
            rows.append(
                {
                    "name": name,
                    "lines": f"{len(lines):,}",
                    "shared": "" if of_train else f"{both:,}",
                    "share": "" if of_train else f"{both / len(lines):.1%}",
                }
            )
    return rows


def neighbours(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the nearest symbols of each in the embedding, where a model has one."""
    table = summary.embedding
    if table is None or len(table) < 2:
        return []
    ids, distances = neighbours_of(table)
    names = [readable(symbol) for symbol in summary.run.vocab.symbols]
    return [
        {
            "symbol": names[i],
            "near": [
                (names[k], f"{distance:.2f}")
                for k, distance in zip(ids[i], distances[i], strict=True)
            ],
        }
        for i in range(len(ids))
    ]


def shape_row(shape: ArrayStats) -> dict[str, str]:
    """Return an array of the parameters, as the page has it."""
    row = {name: f"{getattr(shape, name):.4g}" for name in ("mean", "std", "low", "high")}
    sizes = " x ".join(f"{size:,}" for size in shape.shape) or "one number"
    return row | {"name": shape.name, "shape": sizes, "size": f"{shape.size:,}"}


def choices(config: RunConfig | CountConfig) -> Facts:
    """Return every choice of a run, by its flag."""
    rows: Facts = []
    for name, value in to_dict(config).items():
        table = value if isinstance(value, dict) else {name: value}
        for key, each in table.items():
            said = "not set" if each is None else str(each)
            rows.append(("--model" if key == "name" else flag(key), readable(said)))
    return rows


def versions(path: Path) -> str:
    """Say what a run was made with."""
    try:
        made = json.loads((path / CONFIG).read_bytes())["versions"]
        return "Made with " + ", ".join(f"{name} {made[name]}" for name in sorted(made)) + "."
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def setting_row(each: Setting) -> list[tuple[str, str]]:
    """Return the cells of a setting: what to sort by, and what to show."""
    values = each.choices.values()
    cells = [(str(v), f"{v:g}" if isinstance(v, float) else str(v)) for v in values]
    cells += [(str(count), f"{count:,}") for count in (each.num_params, each.steps)]
    return [*cells, (str(each.mean), spread_text(spread_of(each.losses)))]
