"""How long training takes: the lecture's job, a step of it, a large model, and how cost grows."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_jax.bench.ours import step_flops
from mm_jax.bench.timing import COMMAND, Bench, Row, job, run, times
from mm_jax.config.base import InputError

STEPS = 200_000  # of the lecture's job
PEER_STEPS = 10_000  # that a peer takes; the others are added at the speed of these
LECTURE = {"vocab_size": 27, "context": 3, "embed_dim": 10, "hidden_dim": 200, "batch": 32}
MAX_FLOAT = {"context": 16, "embed_dim": 64, "hidden_dim": 1024, "batch_size": 4096}
OURS = "mm-jax train"


def lecture(bench: Bench) -> list[Row]:
    """Measure the lecture's job as a whole process, and its step in steady state, beside peers."""
    with tempfile.TemporaryDirectory() as folder:
        cold = f"{folder}/cold"

        def train(out: str, cache: str) -> dict[str, Any]:
            command = [*COMMAND, "train", "--preset", "lecture", "--steps", str(STEPS), "--json"]
            took, said = run(*command, "--out", out, XDG_CACHE_HOME=cache)
            return {**json.loads(said), "whole_seconds": took}

        count = iter(range(10**6))
        jobs: dict[str, Any] = {
            OURS: lambda: train(f"{folder}/{next(count)}", f"{folder}/cache"),
            "mm-jax train, the first on a machine": lambda: train(
                f"{folder}/{next(count)}", f"{cold}/{next(count)}"
            ),
        }
        train(f"{folder}/warm-up", f"{folder}/cache")
        peers: dict[str, Any] = {
            "a jitted JAX step a call": partial(job, "training_by_calls", steps=PEER_STEPS)
        }
        if bench.with_torch:
            for name, compiled in (("eager PyTorch", False), ("torch.compile", True)):
                options = {"steps": PEER_STEPS, "compiled": compiled}
                try:  # torch.compile keeps what it compiles, as we do, and needs a C++ compiler
                    job("training_in_pytorch", steps=10, compiled=compiled)
                except InputError as error:
                    bench.console.note(f"{name} is left out: {error}")
                else:
                    peers[name] = partial(job, "training_in_pytorch", **options)
        steady = {"steps of mm-jax train": partial(job, "training_by_chunks", steps=20_000)}
        large = {"large products": partial(job, "large_products")}
        found = bench.alternate({**jobs, **peers, **steady, **large})
    section = f"lecture job, {STEPS:,} steps, whole process"
    ours = Row(section, OURS, "s", [each["whole_seconds"] for each in found[OURS]])
    losses = found[OURS][0]
    said = f"loss {losses['train_loss']:.3f}, dev {losses['dev_loss']:.3f}"
    rows = [ours._replace(beside=said)]
    first = [each["whole_seconds"] for each in found["mm-jax train, the first on a machine"]]
    rows.append(Row(section, "mm-jax train, the first on a machine", "s", first))
    for name in peers:
        values = [
            each["whole_seconds"] + (STEPS - PEER_STEPS) * each["microseconds"] / 1e6
            for each in found[name]
        ]
        row = Row(section, f"{name}, scaled from {PEER_STEPS:,} steps", "s", values)
        rows.append(row._replace(beside=f"**{times(ours.median, row.median)}** ours"))
    section = "the same, one step in steady state"
    speeds = [each["microseconds"] for each in found["steps of mm-jax train"]]
    step = Row(section, "mm-jax, a thousand in a program", "us", speeds)
    rows.append(step)
    for name in peers:
        row = Row(section, name, "us", [each["microseconds"] for each in found[name]])
        rows.append(row._replace(beside=f"{times(step.median, row.median)} ours"))
    flops = step_flops(**LECTURE)
    floor = [flops / each["gigaflops"] / 1e3 for each in found["large products"]]
    speed = np.median([each["gigaflops"] for each in found["large products"]])
    floor_row = Row(section, f"floor: its six products at {speed:,.0f} GFLOP/s", "us", floor)
    rows.append(floor_row._replace(beside=f"ours is {times(floor_row.median, step.median)} that"))
    section = "until the first step is compiled"
    for name, each in {"mm-jax": "steps of mm-jax train", **{name: name for name in peers}}.items():
        rows.append(Row(section, name, "s", [one["compile_seconds"] for one in found[each]]))
    return rows


def large(bench: Bench) -> list[Row]:
    """Measure a step that is bounded by arithmetic, as a share of the speed of large products."""
    found = bench.alternate(
        {
            "step": partial(job, "large_training", steps=5, **MAX_FLOAT),
            "large products": partial(job, "large_products"),
        }
    )
    section = "embedding 64, context 16, hidden 1,024, batch 4,096"
    peak = np.median([each["gigaflops"] for each in found["large products"]])
    speeds = [each["gigaflops"] for each in found["step"]]
    share = f"{np.median(speeds) / peak:.0%} of the {peak:,.0f} of large products"
    return [
        Row(section, "a step", "ms", [each["milliseconds"] for each in found["step"]]),
        Row(section, "its products", "GFLOP/s", speeds, share),
    ]


GROWTH: dict[str, tuple[int, ...]] = {
    "batch_size": (32, 128, 512, 2048, 8192),
    "hidden_dim": (64, 128, 256, 512, 1024, 2048),
    "members": (1, 4, 16, 64, 256),
}
WORDS = {"batch_size": "batch", "hidden_dim": "hidden", "members": "members"}


def growth(bench: Bench) -> list[Row]:
    """Measure how the time of a step grows with the batch, the hidden layer and the members."""
    rows = []
    for name, sizes in GROWTH.items():
        found = bench.alternate({str(n): partial(job, "growth", **{name: n}) for n in sizes})
        values = {size: [each["microseconds"] for each in found[str(size)]] for size in sizes}
        medians = [np.median(each) for each in values.values()]
        slope = np.polyfit(np.log(sizes), np.log(medians), 1)[0]
        section = (
            f"a step of the lecture's MLP by {WORDS[name]}: time grows as {WORDS[name]}^{slope:.2f}"
        )
        rows += [Row(section, f"{WORDS[name]} {size:,}", "us", values[size]) for size in sizes]
    return rows


def bigram(bench: Bench, num_steps: int = 200) -> list[Row]:
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
        "V x V weighted examples": mm.examples(jax.numpy.asarray(mm.count_ngrams(lines, vocab))),
        f"all {len(everything.targets):,} examples": everything,
    }

    def fit(batch: Any) -> None:
        options: dict[str, Any] = {"num_steps": num_steps, "batch_size": None}
        mm.fit(model, optimizer, state, batch, **options)[1].block_until_ready()

    ways = {name: partial(fit, batch) for name, batch in batches.items()}
    found = bench.seconds(ways, steps=num_steps)
    section = "a full-batch step of the neural bigram"
    rows = [Row(section, name, "us", [1e6 * each for each in found[name]]) for name in batches]
    return [rows[0], rows[1]._replace(beside=f"{times(rows[0].median, rows[1].median)} that")]


def checkpoints(bench: Bench) -> list[Row]:
    """Measure what checkpoints cost the lecture's job, and how long verifying its run takes."""
    ways = {
        "one checkpoint, at the end": ["--checkpoint-seconds", "1e9"],
        "as it makes them by itself": [],
        "one every 1,000 steps": ["--checkpoint-every", "1000"],
    }
    section = "checkpoints of the lecture job, whole process"
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(10**6))

        def train(flags: list[str]) -> tuple[float, float]:
            out = f"{folder}/{next(count)}"
            steps = ["--steps", str(STEPS), "--out", out]
            took, said = run(*COMMAND, "train", "--json", *steps, *flags)
            return took, json.loads(said)["checkpoint_seconds"] / took

        found = bench.alternate({name: partial(train, flags) for name, flags in ways.items()})
        last = max(Path(folder).iterdir(), key=lambda path: int(path.name))
        verifying = bench.alternate({"verify": lambda: run(*COMMAND, "verify", str(last))[0]})
    rows = []
    for name, each in found.items():
        share = np.median([share for _, share in each])
        took = [seconds for seconds, _ in each]
        rows.append(Row(section, name, "s", took, f"{share:.2%} of it for checkpoints"))
    return [*rows, Row(section, "`mm-jax verify` of the last", "s", verifying["verify"])]
