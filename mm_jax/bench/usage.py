"""The time of all but training: start-up, sampling, counting, encoding, evaluation, pages."""

import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from mm_jax.bench.timing import COMMAND, Bench, Row, first_line, job, run, times

MEGABYTES = 100  # of the file whose bigrams are counted
PYTHON = sys.executable


def train(folder: str, steps: int = 20_000) -> str:
    """Train the lecture's model for ``steps``; return its run directory."""
    out = f"{folder}/run"
    run(*COMMAND, "train", "--steps", str(steps), "--out", out)
    return out


def startup(bench: Bench) -> list[Row]:
    """Measure how long commands take until their first output."""
    with tempfile.TemporaryDirectory() as folder:
        trained, count = train(folder), iter(range(10**6))

        def first_step(cache: str) -> float:
            flags = ["train", "--steps", "1", "--out", f"{folder}/{next(count)}"]
            return first_line("step", *COMMAND, *flags, XDG_CACHE_HOME=cache)

        def first_step_without_cache() -> float:
            shutil.rmtree(f"{folder}/cold", ignore_errors=True)
            return first_step(f"{folder}/cold")

        first_step(f"{folder}/warm")
        name = json.loads(run(*COMMAND, "sample", trained, "--num", "1", "--json")[1])["samples"][0]
        sample = [*COMMAND, "sample", trained, "--num", "1"]
        results = bench.alternate(
            {
                "`mm-jax --help`": lambda: run(*COMMAND, "--help")[0],
                "`mm-jax train --help`": lambda: run(*COMMAND, "train", "--help")[0],
                "`import mm_jax`": lambda: run(PYTHON, "-c", "import mm_jax")[0],
                "`import mm_jax` and use of a model": lambda: run(
                    PYTHON, "-c", "import mm_jax; mm_jax.mlp, mm_jax.fit"
                )[0],
                "to the first training step, compiled": first_step_without_cache,
                "to the first training step, from the cache": lambda: first_step(f"{folder}/warm"),
                "`mm-jax sample RUN` to the first name": lambda: first_line(name, *sample),
            }
        )
    section = "start-up, from the start of the process"
    return [Row(section, what, "s", each) for what, each in results.items()]


def sampling(bench: Bench) -> list[Row]:
    """Measure names per second, beside the lecture's loop."""
    section = "sampling from the lecture's model"
    with tempfile.TemporaryDirectory() as folder:
        trained = train(folder, 200_000)
        functions: dict[str, Any] = {
            f"{num:,} at once": partial(job, "sampling", run=trained, num=num)
            for num in (1, 100, 100_000)
        }
        if bench.with_torch:
            peer = "the lecture's loop in PyTorch"
            functions[peer] = partial(job, "sampling_in_pytorch", run=trained, num=2000)
        results = bench.alternate(functions)
    rows = [
        Row(section, what, "names/s", [one["per_second"] for one in each])
        for what, each in results.items()
    ]
    if bench.with_torch:
        *ours, loop = rows
        rows = [each._replace(beside=f"{times(loop.median, each.median)} it") for each in ours]
        rows.append(loop)
    return rows


def counting(bench: Bench) -> list[Row]:
    """Measure counting the bigrams of a large file, beside numpy.add.at and the lecture's loop."""
    from mm_jax.runtime.paths import find_data

    names = find_data("names").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        one, four = Path(folder) / "large.txt", Path(folder) / "larger.txt"
        for path, size in ((one, MEGABYTES), (four, 4 * MEGABYTES)):
            path.write_bytes(names * (size * 10**6 // len(names)))
        jobs = {
            "as `mm-jax count` does": ("counting", one),
            "the same, a file four times as large": ("counting", four),
            "numpy.add.at": ("counting_with_add_at", one),
            "a Counter, as the lecture": ("counting_with_counter", one),
        }
        results = bench.alternate(
            {what: partial(job, name, path=str(path)) for what, (name, path) in jobs.items()}
        )
        megabytes = {what: path.stat().st_size / 1e6 for what, (_, path) in jobs.items()}
    section, rows = f"bigrams of {MEGABYTES} MB", []
    for what, each in results.items():
        peak = f"peak {max(one['peak_mb'] for one in each):,.0f} MB"
        speeds = [megabytes[what] / one["seconds"] for one in each]
        rows.append(Row(section, what, "MB/s", speeds, peak))
    ours = rows[0].median
    return rows[:2] + [
        row._replace(beside=f"{row.beside}; ours is {times(row.median, ours)} as fast")
        for row in rows[2:]
    ]


def encoding(bench: Bench, steps: int = 20_000) -> list[Row]:
    """Measure reading and encoding a million lines, and training on them from memory or a file."""
    from mm_jax.data.text import read_lines

    lines = read_lines("names").lines
    many = (lines * (10**6 // len(lines) + 1))[: 10**6]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.txt"
        path.write_text("\n".join(many) + "\n")
        results = bench.alternate({"": partial(job, "encoding", path=str(path))})[""]
        train = partial(job, "training_from_a_file", path=str(path), steps=steps)
        steps_of = bench.alternate(
            {
                "from memory": partial(train, mapped=False),
                "from a mapped file": partial(train, mapped=True),
            }
        )
    section = f"a million lines, {results[0]['examples']:,} predictions"
    return [
        Row(section, "read and encode", "s", [each["seconds"] for each in results]),
        Row(section, "peak memory", "MB", [each["peak_mb"] for each in results]),
        *(
            Row(section, f"a step {name}", "us", [each["microseconds"] for each in took])
            for name, took in steps_of.items()
        ),
    ]


def evaluation(bench: Bench) -> list[Row]:
    """Measure the exact loss of the train split."""
    functions: dict[str, Any] = {"`evaluate`, in blocks": partial(job, "evaluation")}
    if bench.with_torch:
        functions["PyTorch, in one batch"] = partial(job, "evaluation_in_pytorch")
    results = bench.alternate(functions)
    section = f"exact loss of {results['`evaluate`, in blocks'][0]['examples']:,} examples"
    rows = [
        Row(section, what, "ms", [one["milliseconds"] for one in each])
        for what, each in results.items()
    ]
    ours = rows[0].median
    return rows[:1] + [row._replace(beside=f"{times(ours, row.median)} ours") for row in rows[1:]]


def pages(bench: Bench) -> list[Row]:
    """Measure figures and pages of the lecture's model, and the cost of --inside."""
    section = "pages and figures of the lecture's model, whole process"
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(10**6))
        trained = f"{folder}/trained"
        run(*COMMAND, "train", "--inside", "--out", trained)

        def timed(*command: str) -> float:
            out = ["--out", f"{folder}/{next(count)}"] if command[0] == "train" else []
            seconds, output = run(*COMMAND, *command, *out, "--json")
            sizes[" ".join(command)] = json.loads(output).get("bytes", 0)
            return seconds

        commands = {
            "`mm-jax train`": ["train"],
            "`mm-jax train --inside`": ["train", "--inside"],
            "`mm-jax report`": ["report", trained],
            "`mm-jax export`": ["export", trained, "--html", f"{folder}/page.html"],
            "`mm-jax plot`": ["plot", trained],
        }
        results = bench.alternate(
            {name: partial(timed, *command) for name, command in commands.items()}
        )
    rows = []
    for name, each in results.items():
        size = sizes[" ".join(commands[name])]
        rows.append(Row(section, name, "s", each, f"{size / 1000:.0f} kB" if size else ""))
    rows[1] = rows[1]._replace(beside=f"{rows[1].median / rows[0].median:.2f} times that")
    return rows
