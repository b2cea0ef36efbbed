"""A training step of each model, and names from the Transformer, beside makemore in PyTorch."""

import time
from functools import partial
from typing import Any

from mm_jax.bench.timing import Bench, Row, job, times
from mm_jax.bench.torch_models import NAMES_AT_ONCE

NAMES = ("bow", "rnn", "gru", "lstm", "transformer")
STEPS = 100
NUM_NAMES, NUM_IN_PYTORCH = 100_000, 500


def models(bench: Bench) -> list[Row]:
    """Measure a step of 32 names of each model, padded and in shared rows, and names sampled."""
    jobs: dict[str, Any] = {}
    for name in NAMES:
        for how in ("padded", "packed"):
            options = {"model": name, "packed": how == "packed"}
            jobs[f"{name} {how}"] = partial(job, "model_steps", **options)
        if bench.with_torch:
            jobs[f"{name} in PyTorch"] = partial(job, "steps_in_pytorch", model=name, steps=STEPS)
    jobs["names"] = partial(job, "names_from_transformer", num=NUM_NAMES)
    if bench.with_torch:
        jobs["names in PyTorch"] = partial(job, "names_in_pytorch", num=NUM_IN_PYTORCH)
    results = bench.alternate(jobs)
    rows: list[Row] = []
    for name in NAMES:
        section = f"a step of {name}, makemore's shapes"
        found = {what: results.get(f"{name} {what}", []) for what in ("padded", "packed")}
        padded = Row(section, "mm-jax, 32 names", "ms", _each(found["padded"], "milliseconds"))
        packed = Row(
            section, "mm-jax, names share rows", "names/s", _each(found["packed"], "names")
        )
        rows += [padded, packed]
        theirs = results.get(f"{name} in PyTorch")
        if theirs:
            milliseconds = _each(theirs, "milliseconds")
            row = Row(section, "PyTorch, 32 names", "ms", milliseconds)
            speed = 32e3 / row.median
            rows[-1] = packed._replace(beside=f"{times(speed, packed.median)} PyTorch's")
            rows.append(row._replace(beside=f"{times(padded.median, row.median)} ours"))
    return rows + _sampling_rows(results)


def _sampling_rows(results: dict[str, list[dict[str, Any]]]) -> list[Row]:
    section = "names from the transformer, 4 layers of 64"
    speeds = _each(results["names"], "names")
    ours = Row(section, f"mm-jax, {NUM_NAMES:,} names", "names/s", speeds)
    theirs = results.get("names in PyTorch")
    if not theirs:
        return [ours]
    what = f"PyTorch, makemore's loop, {NAMES_AT_ONCE} at once"
    row = Row(section, what, "names/s", _each(theirs, "names"))
    return [ours._replace(beside=f"{times(row.median, ours.median)} PyTorch's"), row]


def _each(results: list[dict[str, Any]], name: str) -> list[float]:
    return [result[name] for result in results]


def model_steps(model: str, packed: bool, steps: int = 100) -> dict[str, Any]:
    """Take steps of makemore's shape of a model; return the time of one, and names a second."""
    import jax

    import mm_jax as mm
    from mm_jax.config.models import TRAINED
    from mm_jax.data.examples import examples_of

    corpus = mm.split(mm.read_corpus("names")).train
    data: Any = examples_of(corpus, None, 32 if packed else None)
    config = TRAINED[model]().for_items(corpus.longest + 1)
    net = mm.build_model(config, len(corpus.vocab))
    choices = mm.OptimizerConfig("adamw", learning_rate=5e-4, weight_decay=0.01)
    state = mm.init_state(net, mm.make_optimizer(choices, steps), jax.random.key(0))
    take = partial(mm.fit, net, mm.make_optimizer(choices, steps), num_steps=steps, batch_size=32)
    state, _ = jax.block_until_ready(take(state, data))
    begun = time.perf_counter()
    jax.block_until_ready(take(state, data))
    seconds = (time.perf_counter() - begun) / steps
    per_step = 32 * len(corpus) / data.num_examples
    return {"milliseconds": seconds * 1e3, "names": per_step / seconds}


def names_from_transformer(num: int, steps: int = 150) -> dict[str, Any]:
    """Sample names from a Transformer of makemore's size; return how many a second.

    It is trained a little, so that its names are about as long as those that it learns from.
    """
    import jax

    import mm_jax as mm
    from mm_jax.config.models import TransformerConfig
    from mm_jax.data.examples import examples_of
    from mm_jax.models.sampling import sample_in_chunks

    corpus = mm.split(mm.read_corpus("names")).train
    net = mm.build_model(TransformerConfig(positions=16), len(corpus.vocab))
    optimizer = mm.make_optimizer(mm.OptimizerConfig("adamw", learning_rate=4e-3), steps)
    state = mm.init_state(net, optimizer, jax.random.key(0))
    rows = examples_of(corpus, None, 32)
    state, _ = mm.fit(net, optimizer, state, rows, num_steps=steps, batch_size=32)

    def draw() -> list[Any]:
        return list(sample_in_chunks(net, state.params, jax.random.key(1), num=num, max_len=16))

    draw()
    begun = time.perf_counter()
    symbols = sum(int((tokens > 0).sum()) for tokens, _ in draw())
    seconds = time.perf_counter() - begun
    return {"names": num / seconds, "seconds": seconds, "symbols_each": symbols / num}
