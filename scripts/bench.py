"""Measure side by side: what takes turns (A B A B ...) shares a drift of the machine's speed.

    python scripts/bench.py [SECTION ...] [--repeats 5] [--json]

lecture: the lecture job as a whole process, ours and in eager PyTorch, and --help. counting:
bigrams of a file of 100 MB, ours, with numpy.add.at and with a Counter, each in a process of its
own. bigram: a full-batch step of the neural bigram on V * V weighted examples and on all of them.
lr-range: the grid of a range test, 64 rates x 1,000 steps x 1 seed, and a loop of 64 single runs.
population: 1, 16 and 256 members of the lecture's MLP, 1,000 steps each, and as many single runs
one after another: on one core, on all, and on a mesh of eight devices that are forced on the CPU.
checkpoints: the lecture job with none on the way, with those that it makes by itself, and with one
every 1,000 steps; the share of the process that they take, and the time to verify the run.
pages: the report, the figures and the page of the lecture's model, and what --inside costs.
What is quoted is the ratio of medians.
"""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import itertools
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def lecture_job_in_pytorch(steps: int) -> None:
    """Train the last MLP of the second makemore lecture eagerly, as its notebook does."""
    import torch

    from mm_jax.text import find_data

    words = find_data("names").read_text().splitlines()
    ids = {symbol: i for i, symbol in enumerate([".", *sorted(set("".join(words)))])}
    symbols = list(ids)
    random.seed(42)
    random.shuffle(words)

    def examples(words: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        xs, ys = [], []
        for word in words:
            window = [0, 0, 0]
            for symbol in word + ".":
                xs.append(window)
                ys.append(ids[symbol])
                window = [*window[1:], ids[symbol]]
        return torch.tensor(xs), torch.tensor(ys)

    first, second = int(0.8 * len(words)), int(0.9 * len(words))
    x_train, y_train = examples(words[:first])
    x_dev, y_dev = examples(words[first:second])
    generator = torch.Generator().manual_seed(2147483647)
    shapes = [(27, 10), (30, 200), (200,), (200, 27), (27,)]
    parameters = [torch.randn(shape, generator=generator) for shape in shapes]
    for parameter in parameters:
        parameter.requires_grad = True
    table, w1, b1, w2, b2 = parameters

    def logits(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(table[x].view(-1, 30) @ w1 + b1) @ w2 + b2

    cross_entropy = torch.nn.functional.cross_entropy
    for step in range(steps):
        batch = torch.randint(0, len(x_train), (32,), generator=generator)
        loss = cross_entropy(logits(x_train[batch]), y_train[batch])
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        rate = 0.1 if step < steps // 2 else 0.01
        for parameter in parameters:
            parameter.data -= rate * parameter.grad
    with torch.no_grad():
        train_loss = cross_entropy(logits(x_train), y_train).item()
        dev_loss = cross_entropy(logits(x_dev), y_dev).item()
    made = []
    for _ in range(20):
        window, line = [0, 0, 0], ""
        while True:
            probs = torch.softmax(logits(torch.tensor([window])), dim=1)
            i = int(torch.multinomial(probs, 1, generator=generator))
            if i == 0:
                break
            window, line = [*window[1:], i], line + symbols[i]
        made.append(line)
    print(json.dumps({"train_loss": train_loss, "dev_loss": dev_loss, "samples": made}))


def count_with_mm_jax(path: Path) -> int:
    """Count the bigrams of a file as mm-jax count does, in two readings."""
    from mm_jax.config import DataConfig
    from mm_jax.counts import count_stream
    from mm_jax.stream import Stream, survey

    stream = Stream(path)
    seen = survey(stream, DataConfig(split="none"))
    return count_stream(stream, seen, order=2)[0].total


def count_with_add_at(path: Path) -> int:
    """Count the bigrams of a file with numpy.add.at, the file as one array."""
    import numpy as np

    codes = np.frombuffer(path.read_bytes(), np.uint8)
    symbols = np.unique(codes)  # a newline is the boundary
    ids = np.searchsorted(symbols, codes)
    table = np.zeros((len(symbols), len(symbols)), np.int64)
    np.add.at(table, (ids[:-1], ids[1:]), 1)
    return int(table.sum()) + 1  # the first line has no newline before it


def count_with_counter(path: Path) -> int:
    """Count the bigrams of a file as the first makemore lecture does."""
    from collections import Counter

    counts: Counter[tuple[str, str]] = Counter()
    for word in path.read_text().splitlines():
        symbols = [".", *word, "."]
        counts.update(itertools.pairwise(symbols))
    return counts.total()


COUNTERS = {
    "mm_jax": count_with_mm_jax,
    "numpy.add.at": count_with_add_at,
    "Counter loop": count_with_counter,
}


def counting_job(name: str, path: Path) -> None:
    """Count with one of COUNTERS; print how many there were, seconds and peak memory."""
    importlib.import_module("numpy")  # whose import is nobody's work
    begun = time.perf_counter()
    total = COUNTERS[name](path)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # kilobytes on Linux
    print(json.dumps({"total": total, "seconds": seconds, "peak_mb": peak}))


def counting(repeats: int) -> dict:
    """Measure COUNTERS on a file of 100 MB."""
    from mm_jax.text import find_data

    found: dict[str, list[dict]] = {name: [] for name in COUNTERS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.txt"
        names = find_data("names").read_bytes()
        path.write_bytes(names * (100_000_000 // len(names)))
        size = path.stat().st_size / 1e6
        for _ in range(repeats):
            for name in COUNTERS:
                job = [sys.executable, __file__, "--counting-job", name, "--path", str(path)]
                found[name].append(json.loads(timed(job)[1]))
    assert len({one["total"] for ones in found.values() for one in ones}) == 1
    print(f"\n| bigrams of {size:.0f} MB | MB/s | min | max | peak MB |")
    print("|---|---|---|---|---|")
    for name, ones in found.items():
        speeds = [size / one["seconds"] for one in ones]
        spread = f"{min(speeds):.1f} | {max(speeds):.1f}"
        peak = max(one["peak_mb"] for one in ones)
        print(f"| {name} | {statistics.median(speeds):.1f} | {spread} | {peak:.0f} |")
    return found


def bigram(repeats: int, num_steps: int = 200) -> dict:
    """Measure full-batch steps of the neural bigram on weighted examples and on all of them."""
    import jax
    import optax

    import mm_jax as mm

    lines = mm.read_lines("names").lines
    vocab = mm.build_vocab(lines)
    model, optimizer = mm.bigram(len(vocab)), optax.sgd(50.0)
    state = mm.init_state(model, optimizer, jax.random.key(0))
    everything = mm.windows(lines, vocab, context=1)
    batches = {
        f"{len(everything.targets):,} examples": everything,
        "V x V weighted": mm.examples(jax.numpy.asarray(mm.count_ngrams(lines, vocab))),
    }
    found: dict[str, list[float]] = {name: [] for name in batches}
    for repeat in range(repeats + 1):
        for name, batch in batches.items():
            begun = time.perf_counter()
            _, losses = mm.fit(model, optimizer, state, batch, num_steps=num_steps, batch_size=None)
            losses.block_until_ready()
            if repeat:  # the first time it is compiled
                found[name].append((time.perf_counter() - begun) / num_steps)
    print("\n| full-batch step of the bigram | median us | min | max |")
    print("|---|---|---|---|")
    for name, times in found.items():
        cells = (1e6 * each for each in (statistics.median(times), min(times), max(times)))
        print(f"| {name} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")
    rows, weighted = (statistics.median(times) for times in found.values())
    print(f"\nall examples / V x V weighted: {rows / weighted:.0f}")
    return found


def lr_range(repeats: int) -> dict:
    """Measure the grid of a range test for the lecture's MLP, and the same runs one by one."""
    import jax
    import optax

    import mm_jax as mm

    lines = mm.read_lines("names").lines
    vocab = mm.build_vocab(lines)
    model, data = mm.mlp(len(vocab)), mm.windows(mm.split_lines(lines).train, vocab, context=3)
    config = mm.LRRangeConfig("grid", seeds=1)
    constant = mm.OptimizerConfig(learning_rate=1.0, schedule="constant")
    optimizer = mm.make_optimizer(constant, config.num_steps)
    state = mm.init_state(model, optimizer, jax.random.key(0))

    def grid(members_per_slice: int | None) -> None:
        mm.lr_range_test(
            model,
            optimizer,
            state,
            data,
            config,
            batch_size=32,
            members_per_slice=members_per_slice,
        )

    def loop() -> None:
        for rate in jax.numpy.geomspace(config.min, config.max, config.num_rates):
            opt_state = optax.tree_utils.tree_set(state.opt_state, learning_rate=rate)
            one = dataclasses.replace(state, opt_state=opt_state)
            options = {"num_steps": config.num_steps, "batch_size": 32}
            mm.fit(model, optimizer, one, data, **options)[1].block_until_ready()

    ways = {
        "the grid of mm-jax lr-range": lambda: grid(None),
        "the grid as slices of 8": lambda: grid(8),
        "the grid as one slice": lambda: grid(config.num_rates),
        "a loop of single runs": loop,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if repeat:  # the first time it is compiled
                found[name].append(time.perf_counter() - begun)
    runs = f"{config.num_rates} rates x {config.num_steps:,} steps x 1 seed"
    print(f"\n| {runs} | median s | min | max |")
    print("|---|---|---|---|")
    for name, times in found.items():
        cells = (statistics.median(times), min(times), max(times))
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    ours, _, single, one_by_one = (statistics.median(times) for times in found.values())
    print(f"\nloop / grid: {one_by_one / ours:.2f}; loop / one slice: {one_by_one / single:.2f}")
    return found


POPULATIONS = {"1 core": (1, 1), "all cores": (None, 1), "all cores, 8 devices": (None, 8)}


def population_job(name: str, repeats: int, num_steps: int = 1000) -> None:
    """Measure populations and loops of single runs where POPULATIONS says; print what was found."""
    cores, devices = POPULATIONS[name]
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if devices > 1:
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax
    import numpy as np

    import mm_jax as mm
    from mm_jax.mesh import make_mesh
    from mm_jax.population import init_member
    from mm_jax.slices import make_plan, run_jobs, train_slices

    lines = mm.read_lines("names").lines
    vocab = mm.build_vocab(lines)
    model, data = mm.mlp(len(vocab)), mm.windows(mm.split_lines(lines).train, vocab, context=3)
    optimizer = mm.make_optimizer(mm.OptimizerConfig(), num_steps)
    options: dict[str, Any] = {"num_steps": num_steps, "batch_size": 32}

    def begin(_: None, seed: jax.Array) -> mm.TrainState:
        return init_member(model, optimizer, jax.random.key(seed))

    begin_alone = jax.jit(begin)

    def loop(num: int) -> None:
        for seed in range(num):
            state = begin_alone(None, np.uint32(seed))
            mm.fit(model, optimizer, state, data, **options)[1].block_until_ready()

    def population(num: int) -> None:
        plan = make_plan(num, 10**6, mesh=make_mesh(num) if devices > 1 else None)
        seeds = np.arange(num, dtype=np.uint32)
        jobs = train_slices(model, optimizer, begin, None, seeds, data, plan=plan, **options)
        run_jobs(jobs, plan.workers)

    def gigaflops(size: int = 2048) -> float:
        x = jax.numpy.ones((size, size))
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            (x @ x).block_until_ready()
            times.append(time.perf_counter() - begun)
        return 2 * size**3 / min(times) / 1e9

    found: dict[str, object] = {"gigaflops": gigaflops()}
    for num in (1, 16, 256):
        seconds: dict[str, list[float]] = {"loop": [], "population": []}
        for repeat in range(repeats + 1):
            for way, times in zip((loop, population), seconds.values(), strict=True):
                begun = time.perf_counter()
                way(num)
                if repeat:  # the first time it is compiled
                    times.append(time.perf_counter() - begun)
        found[str(num)] = {
            way: [num * num_steps / each for each in times] for way, times in seconds.items()
        }
    print(json.dumps(found))


def population(repeats: int) -> dict:
    """Measure population_job in each of its places."""
    step_flops = 3 * 2 * 32 * (30 * 200 + 200 * 27)  # of its six matrix products
    found: dict[str, dict] = {}
    print("\n| where | members | model-steps/s | min | max | times a loop | times the floor |")
    print("|---|---|---|---|---|---|---|")
    for name in POPULATIONS:
        job = [sys.executable, __file__, "--population-job", name, "--repeats", str(repeats)]
        found[name] = json.loads(timed(job)[1])
        floor = 1e9 * found[name]["gigaflops"] / step_flops  # model-steps a second
        for num in ("1", "16", "256"):
            ours, single = (found[name][num][way] for way in ("population", "loop"))
            speed = statistics.median(ours)
            spread = f"{speed:,.0f} | {min(ours):,.0f} | {max(ours):,.0f}"
            ratio = speed / statistics.median(single)
            print(f"| {name} | {num} | {spread} | {ratio:.2f} | {floor / speed:.1f} |")
    return found


def timed(command: list[str]) -> tuple[float, str]:
    """Return the seconds that a process took from start to end, and its stdout."""
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun, done.stdout.decode()


def machine() -> dict[str, object]:
    """Describe where this was measured."""
    info = Path("/proc/cpuinfo")
    models = [s for s in info.read_text().splitlines() if s.startswith("model name")]
    names = ("jax", "jaxlib", "numpy", "torch")
    libraries = {name: version(name) for name in names if importlib.util.find_spec(name)}
    cpu = models[0].split(":")[1].strip() if info.exists() and models else platform.processor()
    return {"cores": os.cpu_count(), "cpu": cpu, "python": platform.python_version(), **libraries}


SECTIONS = ("lecture", "counting", "bigram", "lr-range", "population", "checkpoints", "pages")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=SECTIONS, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, default=5, help="of each process (default: 5)")
    parser.add_argument("--steps", type=int, default=200_000, help="of the lecture job")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pytorch-job", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--counting-job", choices=COUNTERS, help=argparse.SUPPRESS)
    parser.add_argument("--population-job", choices=POPULATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pytorch_job:
        lecture_job_in_pytorch(options.steps)
        return 0
    if options.counting_job:
        counting_job(options.counting_job, options.path)
        return 0
    if options.population_job:
        population_job(options.population_job, options.repeats)
        return 0
    if wrong := set(options.what) - set(SECTIONS):
        parser.error(f"there is {', '.join(SECTIONS)}, no {min(wrong)}")
    found: dict[str, object] = {"machine": machine()}
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        print(", ".join(f"{name} {value}" for name, value in machine().items()))
        if "lecture" in options.what:
            found["lecture"] = lecture(options.repeats, options.steps)
        if "counting" in options.what:
            found["counting"] = counting(options.repeats)
        if "bigram" in options.what:
            found["bigram"] = bigram(options.repeats)
        if "lr-range" in options.what:
            found["lr-range"] = lr_range(options.repeats)
        if "population" in options.what:
            found["population"] = population(options.repeats)
        if "checkpoints" in options.what:
            found["checkpoints"] = checkpoints(options.repeats, options.steps)
        if "pages" in options.what:
            found["pages"] = pages(options.repeats, options.steps)
    if options.json:
        print(json.dumps(found))
    return 0


def lecture(repeats: int, num_steps: int) -> dict:
    """Measure the lecture job as a whole process, and how long --help takes."""
    ours, peer, start = "mm-jax train", "eager PyTorch", "mm-jax --help"
    steps = ["--steps", str(num_steps)]
    seconds: dict[str, list[float]] = {ours: [], peer: [], start: []}
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            out = ["--out", f"{folder}/{repeat}"]
            mm_jax = [sys.executable, "-m", "mm_jax"]
            commands = {
                ours: [*mm_jax, "train", "--preset", "lecture", "--json", *steps, *out],
                peer: [sys.executable, __file__, "--pytorch-job", *steps],
                start: [*mm_jax, "--help"],
            }
            for name, command in commands.items():
                took, said = timed(command)
                seconds[name].append(took)
                if name != start:
                    found[name] = json.loads(said)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians[peer] / medians[ours]
    print(f"\n| whole process, {num_steps:,} steps | median s | min | max | train | dev |")
    print("|---|---|---|---|---|---|")
    for name, times in seconds.items():
        losses = [found[name][k] for k in ("train_loss", "dev_loss")] if name in found else []
        cells = [f"{loss:.3f}" for loss in losses] or ["", ""]
        spread = f"{medians[name]:.2f} | {min(times):.2f} | {max(times):.2f}"
        print(f"| {name} | {spread} | {' | '.join(cells)} |")
    print(f"\neager PyTorch / mm-jax: {ratio:.1f}")
    return {"seconds": seconds, "ratio": ratio}


CHECKPOINTS: dict[str, list[str]] = {
    "one, at the end": ["--checkpoint-seconds", "1e9"],
    "as it makes them by itself": [],
    "one every 1,000 steps": ["--checkpoint-every", "1000"],
}


def checkpoints(repeats: int, num_steps: int) -> dict:
    """Measure what checkpoints cost the lecture job, and how long verifying its run takes."""
    times: dict[str, list[float]] = {name: [] for name in CHECKPOINTS}
    shares: dict[str, list[float]] = {name: [] for name in CHECKPOINTS}
    verifying: list[float] = []
    mm_jax = [sys.executable, "-m", "mm_jax"]
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            for name, flags in CHECKPOINTS.items():
                out = f"{folder}/{repeat}-{len(flags)}-{flags[-1:]}"
                steps = ["--steps", str(num_steps), "--out", out]
                took, said = timed([*mm_jax, "train", "--json", *steps, *flags])
                times[name].append(took)
                shares[name].append(json.loads(said)["checkpoint_seconds"] / took)
            took, _ = timed([*mm_jax, "verify", out])
            verifying.append(took)
    print(f"\n| checkpoints, {num_steps:,} steps | median s | min | max | share of it |")
    print("|---|---|---|---|---|")
    for name in CHECKPOINTS:
        spread = f"{min(times[name]):.2f} | {max(times[name]):.2f}"
        share = f"{statistics.median(shares[name]):.2%}"
        print(f"| {name} | {statistics.median(times[name]):.2f} | {spread} | {share} |")
    spread = f"{min(verifying):.2f} | {max(verifying):.2f}"
    print(f"| `mm-jax verify` of the last | {statistics.median(verifying):.2f} | {spread} | |")
    return {"seconds": times, "shares": shares, "verifying": verifying}


def pages(repeats: int, num_steps: int) -> dict:
    """Measure how long figures and pages of the lecture's model take, and what --inside costs."""
    mm_jax = [sys.executable, "-m", "mm_jax"]
    training, seeing = "train", "train --inside"
    seconds: dict[str, list[float]] = {training: [], seeing: []}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        page = f"{folder}/page.html"
        for repeat in range(repeats):
            run = f"{folder}/{repeat}"
            steps = ["--steps", str(num_steps)]
            commands = {
                training: ["train", *steps, "--out", f"{run}-blind"],
                seeing: ["train", *steps, "--inside", "--out", run],
                "report": ["report", run],
                "export": ["export", run, "--html", page],
                "plot": ["plot", run],
            }
            for name, command in commands.items():
                took, said = timed([*mm_jax, *command, "--json"])
                seconds.setdefault(name, []).append(took)
                sizes[name] = json.loads(said).get("bytes", 0)
    print(f"\n| the lecture's model, {num_steps:,} steps | median s | min | max | kB |")
    print("|---|---|---|---|---|")
    for name, times in seconds.items():
        spread = f"{statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f}"
        size = f"{sizes[name] / 1000:.0f}" if sizes[name] else ""
        print(f"| `mm-jax {name}` | {spread} | {size} |")
    ratio = statistics.median(seconds[seeing]) / statistics.median(seconds[training])
    print(f"\ntraining with --inside / without: {ratio:.2f}")
    return {"seconds": seconds, "bytes": sizes, "inside_ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
