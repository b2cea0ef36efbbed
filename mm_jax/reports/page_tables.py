"""The rows of the tables in a report: numbers and texts in, texts as the page shows them out."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mm_jax.config.base import flag
from mm_jax.config.ladder import LadderConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import AnyConfig, MixConfig, RunConfig
from mm_jax.data.items import ITEM_NAMES
from mm_jax.data.splits import overlap
from mm_jax.data.word_totals import recorded_totals
from mm_jax.experiments.loss_units import loss_units
from mm_jax.experiments.statistics import spread_of
from mm_jax.models.base import num_params
from mm_jax.reports.analysis import (
    AnnotatedLine,
    ArrayStats,
    readable,
    shortened,
    shown_symbols,
)
from mm_jax.reports.embeddings import nearest_rows
from mm_jax.reports.plots.symbols import MAX_SURPRISE
from mm_jax.reports.run_summary import RunSummary
from mm_jax.reports.sweep_summary import Setting
from mm_jax.reports.text_tables import spread_text
from mm_jax.runs.layout import CONFIG

NUM_SHADES = 8  # of surprise, besides none
MAX_LINE_LENGTH = 64  # of a nearest training line
MAX_SYMBOLS = 300  # of a sample that are shown one by one
NamedValues: TypeAlias = list[tuple[str, str]]


def run_rows(summary: RunSummary) -> Iterator[tuple[str, str]]:
    """Yield what was run and which losses it reached."""
    run, config = summary.run, summary.run.config
    choices = dataclasses.asdict(config.model)
    text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in choices.items())
    yield "Model", f"{config.model.name}: {text}" if text else config.model.name
    yield "Parameters", f"{num_params(run.params):,}"
    if isinstance(config, RunConfig):
        size = "all examples" if config.full_batch else f"{config.batch_size:,} examples"
        yield "Training", f"{config.steps:,} steps of {size} each"
        optimizer = config.optimizer
        rate = f"learning rate {optimizer.learning_rate}, schedule {optimizer.schedule}"
        yield "Optimizer", f"{optimizer.optimizer}, {rate}"
        seeds = f"{config.seed}" if config.seeds == 1 else f"{config.seeds} from {config.seed}"
        yield "Seed", seeds
    if isinstance(config, MixConfig):
        mixed = run.params["model"] if config.model.good_turing else run.params
        for path, each in zip(config.paths, np.atleast_2d(mixed["weights"]).T, strict=True):
            weight = f"{each[0]:.4f}"
            if config.model.kind == "frequency":
                weight = f"{each.min():.4f} to {each.max():.4f}, by the frequency of the context"
            yield "Weight of a run", f"{weight}: {readable(path)}"
    for name, loss in summary.losses.items():
        if loss is not None:
            yield f"Loss on {name.removesuffix('_loss')}", f"{loss:.4f} nats per symbol"
    totals = recorded_totals(run.data, is_document=config.data.items == "document")
    if totals is not None:
        for (name, loss), split in zip(summary.losses.items(), totals, strict=False):
            if loss is not None:
                units = loss_units(loss, split)
                where, known = name.removesuffix("_loss"), 1 - split.unknown_rate
                yield f"As words of {where}", f"{units.text}; {known:.1%} of them are known"


def baseline_rows(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the losses of the baselines and of the model itself, the highest first."""
    losses = [(name, loss, False) for name, loss in summary.baselines]
    has_dev = summary.run.data["split_lines"][1] > 0
    own = summary.losses.get("dev_loss" if has_dev else "train_loss")
    if own is not None:
        losses.append(("this model", own, True))
    return [
        {
            "name": name,
            "nats": f"{loss:.4f}",
            "bits": f"{loss_units(loss).bits:.4f}",
            "perplexity": loss_units(loss).perplexity_text,
            "is_model": is_model,
        }
        for name, loss, is_model in sorted(losses, key=lambda row: -row[1])
    ]


def shade_of(nats: float) -> int:
    """Return how strong the colour behind a symbol is, 0 to NUM_SHADES."""
    if not math.isfinite(nats):
        return NUM_SHADES
    return min(NUM_SHADES, round(nats * NUM_SHADES / MAX_SURPRISE))


def sample_row(line: AnnotatedLine) -> dict[str, Any]:
    """Return a line sampled from the model, with the surprise of each symbol."""
    shown = line.symbols[:MAX_SYMBOLS]
    symbols = [(readable(symbol), shade_of(nats), f"{nats:.2f}") for symbol, nats in shown]
    if len(line.symbols) > MAX_SYMBOLS:
        symbols.append((f"… {len(line.symbols) - MAX_SYMBOLS:,} more", 0, "0.00"))
    total = sum(nats for _, nats in line.symbols)
    return {
        "text": readable(line.text),
        "symbols": symbols,
        "nats": f"{total / len(line.symbols):.2f}",
        "seen": ", ".join(line.seen) or ("new" if line.nearest is not None else "not known"),
        "nearest": ""
        if line.nearest is None
        else readable(shortened(line.nearest, MAX_LINE_LENGTH)),
        "distance": "" if line.distance is None else line.distance,
        "is_cut": line.is_cut,
    }


def data_rows(data: dict[str, Any], config: AnyConfig | LadderConfig) -> NamedValues:
    """Return what is known of the data file and its splits."""
    pairs = zip(("train", "dev", "test"), data["split_lines"], strict=True)
    items = ITEM_NAMES[config.data.items]
    counts = ", ".join(f"{count:,} {items} for {name}" for name, count in pairs)
    if config.data.items == "document":
        counts = "in its order, 80/10/10" if data["split_lines"][1] else "all for train"
    return [
        ("File", readable(str(data["path"]))),
        ("Tokens", f"{config.data.unit}s, items are {config.data.items}s"),
        ("Items", f"{data['num_lines']:,}"),
        ("sha256", data["sha256"]),
        ("Split", f"{config.data.split}, seed {config.data.split_seed}: {counts}"),
        ("Of dev also in train", f"{data['dev_lines_in_train']:.1%}"),
    ]


def split_rows(summary: RunSummary) -> list[dict[str, str]]:
    """Return how many lines each split has, and how many of them are also in train."""
    if summary.dataset is None or summary.dataset.info.is_document:
        return []
    splits = summary.dataset.splits
    rows = []
    for name, lines in splits._asdict().items():
        if len(lines):
            shared = round(overlap(lines, splits.train) * len(lines))
            is_train = name == "train"
            rows.append(
                {
                    "name": name,
                    "lines": f"{len(lines):,}",
                    "shared": "" if is_train else f"{shared:,}",
                    "share": "" if is_train else f"{shared / len(lines):.1%}",
                }
            )
    return rows


def neighbour_rows(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the nearest symbols of the symbols shown, where the model has an embedding."""
    table = summary.embedding
    if table is None or len(table) < 2:
        return []
    near = nearest_rows(table, of=shown_symbols(len(table), summary.frequency).ids)
    names = [readable(symbol) for symbol in summary.run.vocab.symbols]
    return [
        {
            "symbol": names[i],
            "near": [
                (names[k], f"{distance:.2f}") for k, distance in zip(ids, distances, strict=True)
            ],
        }
        for i, ids, distances in zip(*near, strict=True)
    ]


def array_row(array: ArrayStats) -> dict[str, str]:
    """Return the statistics of an array of the parameters."""
    row = {name: f"{getattr(array, name):.4g}" for name in ("mean", "std", "low", "high")}
    shape = " x ".join(f"{size:,}" for size in array.shape) or "scalar"
    return row | {"name": array.name, "shape": shape, "size": f"{array.size:,}"}


def choice_rows(config: AnyConfig) -> NamedValues:
    """Return every choice of a run, by its flag."""
    rows: NamedValues = []
    values = to_dict(config)
    values.pop("runs", None)  # of a mixture, each with choices of its own
    for name, value in values.items():
        table = value if isinstance(value, dict) else {name: value}
        for key, choice in table.items():
            text = "not set" if choice is None else readable(str(choice))
            rows.append(("--model" if key == "name" else flag(key), text))
    return rows


def versions_text(path: Path) -> str:
    """Return a line that names the versions a run was made with."""
    try:
        versions = json.loads((path / CONFIG).read_bytes())["versions"]
        return (
            "Made with " + ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) + "."
        )
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def setting_row(setting: Setting) -> list[tuple[str, str]]:
    """Return the cells of a setting of a sweep: the value to sort by, and the text."""
    values = setting.choices.values()
    cells = [(str(v), f"{v:g}" if isinstance(v, float) else str(v)) for v in values]
    cells += [(str(count), f"{count:,}") for count in (setting.num_params, setting.steps)]
    return [*cells, (str(setting.mean), spread_text(spread_of(setting.losses)))]
