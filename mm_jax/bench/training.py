"""The time of training: the lecture's job, a step of it, a large model, and how cost grows."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_jax.bench.ours import step_flops
from mm_jax.bench.timing import COMMAND, Bench, Row, job, run, times
from mm_jax.config.base import InputError

STEPS = 200_000  # of the lecture's job
PEER_STEPS = 10_000  # taken by a peer; its other steps are added at the same speed
LECTURE = {"vocab_size": 27, "context": 3, "embed_dim": 10, "hidden_dim": 200, "batch": 32}
LARGE = {"context": 16, "embed_dim": 64, "hidden_dim": 1024, "batch_size": 4096}
OURS, FIRST_RUN = "mm-jax train", "mm-jax train, the first on a machine"
STEADY, PRODUCTS = "steps of mm-jax train", "large products"
Results = dict[str, list[dict[str, Any]]]  # of each measured function, one per repetition


def lecture(bench: Bench) -> list[Row]:
    """Measure the lecture's job as a whole process, and its step in steady state, beside peers."""
    with tempfile.TemporaryDirectory() as folder:

        def train(out: str, cache: str) -> dict[str, Any]:
            command = [*COMMAND, "train", "--preset", "lecture", "--steps", str(STEPS), "--json"]
            paths = {"XDG_CACHE_HOME": f"{folder}/{cache}"}
            seconds, output = run(*command, "--out", f"{folder}/{out}", **paths)
            return {**json.loads(output), "whole_seconds": seconds}

        count = iter(range(10**6))
        train("warm-up", "cache")
        peers = lecture_peers(bench)
        results = bench.alternate(
            {
                OURS: lambda: train(f"{next(count)}", "cache"),
                FIRST_RUN: lambda: train(f"{next(count)}", f"cold-{next(count)}"),
                **peers,
                STEADY: partial(job, "training_by_chunks", steps=20_000),
                PRODUCTS: partial(job, "large_products"),
            }
        )
    names = list(peers)
    return [
        *process_rows(results, names),
        *step_rows(results, names),
        *compilation_rows(results, names),
    ]


def lecture_peers(bench: Bench) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the peers of the lecture's job; one that does not run here is left out with a note."""
    peers: dict[str, Callable[[], dict[str, Any]]] = {
        "a jitted JAX step per call": partial(job, "training_by_calls", steps=PEER_STEPS)
    }
    if bench.with_torch:
        for name, compiled in (("eager PyTorch", False), ("torch.compile", True)):
            try:  # torch.compile caches what it compiles, as we do, and needs a C++ compiler
                job("training_in_pytorch", steps=10, compiled=compiled)
            except InputError as error:
                bench.console.note(f"{name} is left out: {error}")
            else:
                options = {"steps": PEER_STEPS, "compiled": compiled}
                peers[name] = partial(job, "training_in_pytorch", **options)
    return peers


def process_rows(results: Results, peers: list[str]) -> list[Row]:
    """Return the rows of the lecture's job as a whole process."""
    section = f"lecture job, {STEPS:,} steps, whole process"
    losses = results[OURS][0]
    text = f"loss {losses['train_loss']:.3f}, dev {losses['dev_loss']:.3f}"
    ours, first = (
        Row(section, name, "s", [each["whole_seconds"] for each in results[name]])
        for name in (OURS, FIRST_RUN)
    )
    rows = [ours._replace(beside=text), first]
    for name in peers:
        seconds = [
            each["whole_seconds"] + (STEPS - PEER_STEPS) * each["microseconds"] / 1e6
            for each in results[name]
        ]
        row = Row(section, f"{name}, scaled from {PEER_STEPS:,} steps", "s", seconds)
        rows.append(row._replace(beside=f"**{times(ours.median, row.median)}** ours"))
    return rows


def step_rows(results: Results, peers: list[str]) -> list[Row]:
    """Return the rows of a step of the lecture's job, with the lower bound of its products."""
    section = "the same, one step in steady state"
    values = [each["microseconds"] for each in results[STEADY]]
    ours = Row(section, "mm-jax, a thousand in one program", "us", values)
    rows = [ours]
    for name in peers:
        row = Row(section, name, "us", [each["microseconds"] for each in results[name]])
        rows.append(row._replace(beside=f"{times(ours.median, row.median)} ours"))
    flops, speeds = step_flops(**LECTURE), [each["gigaflops"] for each in results[PRODUCTS]]
    name = f"lower bound: its six products at {np.median(speeds):,.0f} GFLOP/s"
    bound = Row(section, name, "us", [flops / speed / 1e3 for speed in speeds])
    return [*rows, bound._replace(beside=f"ours is {times(bound.median, ours.median)} that")]


def compilation_rows(results: Results, peers: list[str]) -> list[Row]:
    """Return the rows of the time until the first step is compiled."""
    section = "until the first step is compiled"
    return [
        Row(section, title, "s", [each["compile_seconds"] for each in results[name]])
        for title, name in [("mm-jax", STEADY), *zip(peers, peers, strict=True)]
    ]


def large(bench: Bench) -> list[Row]:
    """Measure a step that is bounded by arithmetic, as a share of the speed of large products."""
    results = bench.alternate(
        {
            "step": partial(job, "large_training", steps=5, **LARGE),
            PRODUCTS: partial(job, "large_products"),
        }
    )
    section = "embedding 64, context 16, hidden 1,024, batch 4,096"
    peak = np.median([each["gigaflops"] for each in results[PRODUCTS]])
    speeds = [each["gigaflops"] for each in results["step"]]
    share = f"{np.median(speeds) / peak:.0%} of the {peak:,.0f} of large products"
    return [
        Row(section, "a step", "ms", [each["milliseconds"] for each in results["step"]]),
        Row(section, "its products", "GFLOP/s", speeds, share),
    ]


GROWTH: dict[str, tuple[int, ...]] = {
    "batch_size": (32, 128, 512, 2048, 8192),
    "hidden_dim": (64, 128, 256, 512, 1024, 2048),
    "members": (1, 4, 16, 64, 256),
}
TITLES = {"batch_size": "batch", "hidden_dim": "hidden", "members": "members"}


def growth(bench: Bench) -> list[Row]:
    """Measure how the time of a step grows with the batch, the hidden layer and the members."""
    rows = []
    for name, sizes in GROWTH.items():
        results = bench.alternate({str(n): partial(job, "growth", **{name: n}) for n in sizes})
        values = {size: [each["microseconds"] for each in results[str(size)]] for size in sizes}
        medians = [np.median(each) for each in values.values()]
        slope = np.polyfit(np.log(sizes), np.log(medians), 1)[0]
        title = TITLES[name]
        section = f"a step of the lecture's MLP by {title}: time grows as {title}^{slope:.2f}"
        rows += [Row(section, f"{title} {size:,}", "us", values[size]) for size in sizes]
    return rows


def bigram(bench: Bench, num_steps: int = 200) -> list[Row]:
    """Measure full-batch steps of the neural bigram on weighted and on all examples."""
    import jax
    import optax

    import mm_jax as mm

    lines = mm.read_lines("names").lines
    vocab = mm.build_vocab(lines)
    model, optimizer = mm.bigram(len(vocab)), optax.sgd(50.0)
    state = mm.init_state(model, optimizer, jax.random.key(0))
    everything = mm.windows(lines, vocab, context=1)
    batches = {
        "V x V weighted examples": mm.examples(jax.numpy.asarray(mm.count_ngrams(lines, vocab))),
        f"all {len(everything.targets):,} examples": everything,
    }

    def fit(batch: Any) -> None:
        options: dict[str, Any] = {"num_steps": num_steps, "batch_size": None}
        mm.fit(model, optimizer, state, batch, **options)[1].block_until_ready()

    functions = {name: partial(fit, batch) for name, batch in batches.items()}
    results = bench.seconds(functions, steps=num_steps)
    section = "a full-batch step of the neural bigram"
    rows = [Row(section, name, "us", [1e6 * each for each in results[name]]) for name in batches]
    return [rows[0], rows[1]._replace(beside=f"{times(rows[0].median, rows[1].median)} that")]


def checkpoints(bench: Bench) -> list[Row]:
    """Measure the cost of checkpoints in the lecture's job, and the time to verify its run."""
    flags_of = {
        "one checkpoint, at the end": ["--checkpoint-seconds", "1e9"],
        "as by default": [],
        "one every 1,000 steps": ["--checkpoint-every", "1000"],
    }
    section = "checkpoints of the lecture job, whole process"
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(10**6))

        def train(flags: list[str]) -> tuple[float, float]:
            out = f"{folder}/{next(count)}"
            steps = ["--steps", str(STEPS), "--out", out]
            seconds, output = run(*COMMAND, "train", "--json", *steps, *flags)
            return seconds, json.loads(output)["checkpoint_seconds"] / seconds

        results = bench.alternate({name: partial(train, flags) for name, flags in flags_of.items()})
        last = max(Path(folder).iterdir(), key=lambda path: int(path.name))
        verifying = bench.alternate({"verify": lambda: run(*COMMAND, "verify", str(last))[0]})
    rows = []
    for name, each in results.items():
        share = np.median([share for _, share in each])
        seconds = [seconds for seconds, _ in each]
        rows.append(Row(section, name, "s", seconds, f"{share:.2%} of it for checkpoints"))
    return [*rows, Row(section, "`mm-jax verify` of the last", "s", verifying["verify"])]
