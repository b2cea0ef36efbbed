"""What is measured of mm_jax: each function is a job (see jobs.py) that returns plain numbers.

jax is imported where it is used, since some jobs set environment variables that it reads.
"""

import os
import statistics
import sys
import time
from functools import partial
from typing import Any


def lecture_data() -> tuple[int, Any]:
    """Return the size of the vocabulary and the training examples of the lecture's job."""
    import mm_jax as mm
    from mm_jax.data.examples import examples_of

    corpus = mm.read_corpus("names")
    return len(corpus.vocab), examples_of(mm.split(corpus).train, 3)


def training_by_chunks(steps: int) -> dict[str, Any]:
    """Take steps of the lecture's job as mm-jax train does, a thousand in one program."""
    import jax

    import mm_jax as mm

    vocab_size, data = lecture_data()
    model, optimizer = mm.mlp(vocab_size), mm.make_optimizer(mm.OptimizerConfig(), steps)
    state = mm.init_state(model, optimizer, jax.random.key(0))
    chunk = 1000
    begun = time.perf_counter()
    fit = partial(mm.fit, model, optimizer, num_steps=chunk, batch_size=32)
    take = jax.jit(fit).lower(state, data).compile()
    state, _ = jax.block_until_ready(take(state, data))
    compile_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(steps // chunk):
        state, losses = take(state, data)
        losses.block_until_ready()
    microseconds = (time.perf_counter() - begun) / (steps // chunk * chunk) * 1e6
    return {"microseconds": microseconds, "compile_seconds": compile_seconds}


def training_by_calls(steps: int) -> dict[str, Any]:
    """Take steps of the lecture's job in a Python loop, each a call of a jitted step."""
    import jax

    import mm_jax as mm
    from mm_jax.training.step import minibatch_ids

    vocab_size, data = lecture_data()
    model, optimizer = mm.mlp(vocab_size), mm.make_optimizer(mm.OptimizerConfig(), steps)
    state = mm.init_state(model, optimizer, jax.random.key(0))

    @jax.jit
    def take(state: Any, data: Any) -> Any:
        numbers = minibatch_ids(state.key, state.step, data.num_examples, 32)
        return mm.train_step(model, optimizer, state, data.take(numbers))

    begun = time.perf_counter()
    state, _ = jax.block_until_ready(take(state, data))
    compile_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(steps):
        state, _ = take(state, data)
    jax.block_until_ready(state)
    microseconds = (time.perf_counter() - begun) / steps * 1e6
    return {"microseconds": microseconds, "compile_seconds": compile_seconds}


def large_products(size: int = 2048) -> dict[str, Any]:
    """Multiply two large matrices: an upper bound for the speed of everything else."""
    import jax

    x = jax.numpy.ones((size, size))
    multiply = jax.jit(lambda x: x @ x)
    multiply(x).block_until_ready()
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        multiply(x).block_until_ready()
        times.append(time.perf_counter() - begun)
    return {"gigaflops": 2 * size**3 / min(times) / 1e9}


def large_training(
    steps: int, context: int, embed_dim: int, hidden_dim: int, batch_size: int
) -> dict:
    """Take steps of a model that is large enough to be bounded by arithmetic."""
    import jax
    import optax

    import mm_jax as mm
    from mm_jax.data.examples import examples_of

    corpus = mm.read_corpus("names")
    vocab, data = corpus.vocab, examples_of(mm.split(corpus).train, context)
    model = mm.mlp(len(vocab), context, embed_dim, hidden_dim, "scaled")
    optimizer = optax.sgd(0.1)
    state = mm.init_state(model, optimizer, jax.random.key(0))
    fit = partial(mm.fit, model, optimizer, num_steps=steps, batch_size=batch_size)
    take = jax.jit(fit).lower(state, data).compile()
    jax.block_until_ready(take(state, data))
    begun = time.perf_counter()
    jax.block_until_ready(take(state, data))
    seconds = (time.perf_counter() - begun) / steps
    flops = step_flops(len(vocab), context, embed_dim, hidden_dim, batch_size)
    return {"milliseconds": seconds * 1e3, "gigaflops": flops / seconds / 1e9}


def step_flops(vocab_size: int, context: int, embed_dim: int, hidden_dim: int, batch: int) -> float:
    """Return the floating-point operations of the six matrix products of a step of the MLP."""
    return 3 * 2 * batch * hidden_dim * (context * embed_dim + vocab_size)


def sampling(run: str, num: int) -> dict[str, Any]:
    """Sample lines as mm-jax sample does; return the lines per second, the median of five runs."""
    import jax

    from mm_jax.models.sampling import sample, sample_in_chunks
    from mm_jax.runs.reader import load_run

    trained = load_run(run)

    def once() -> float:
        begun = time.perf_counter()
        if num < 1000:
            key = jax.random.key(1)
            jax.block_until_ready(sample(trained.model, trained.params, key, num=num))
        else:
            for _ in sample_in_chunks(trained.model, trained.params, jax.random.key(1), num=num):
                pass
        return num / (time.perf_counter() - begun)

    once()  # compiles
    return {"per_second": statistics.median(once() for _ in range(5))}


def counting(path: str) -> dict[str, Any]:
    """Count the bigrams of a file as mm-jax count does, reading it twice."""
    from mm_jax.config.data import DataConfig
    from mm_jax.data.file_summary import summarize_splits
    from mm_jax.data.ngram_counts import count_stream
    from mm_jax.data.streaming import Stream

    begun = time.perf_counter()
    stream = Stream(DataConfig(path, split="none"))
    seen = summarize_splits(stream)
    total = count_stream(stream, seen, order=2)[0].total
    return {"total": total, "seconds": time.perf_counter() - begun}


def encoding(path: str) -> dict[str, Any]:
    """Read a file, build its vocabulary, and encode all its lines."""
    import mm_jax as mm

    begun = time.perf_counter()
    corpus = mm.read_corpus(path)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "examples": corpus.num_predictions}


def training_from_a_file(path: str, steps: int, mapped: bool) -> dict[str, Any]:
    """Take steps of the lecture's MLP at context 8 on a file, from memory or memory-mapped."""
    import tempfile

    import jax

    import mm_jax as mm
    from mm_jax.data import mapped as mapped_data
    from mm_jax.data.dataset import load_dataset

    mapped_data.MAPPED_BYTES = 0 if mapped else sys.maxsize
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        train = load_dataset(mm.DataConfig(path)).splits.train
        model = mm.mlp(len(train.vocab), context=8)
        optimizer = mm.make_optimizer(mm.OptimizerConfig(), steps)
        state = mm.init_state(model, optimizer, jax.random.key(0))
        chunks = mm.fit_chunks(model, optimizer, state, train, num_steps=steps, batch_size=32)
        state, _ = next(chunks)
        first, begun = int(state.step), time.perf_counter()
        for after, _ in chunks:
            state = after
        seconds = (time.perf_counter() - begun) / (int(state.step) - first)
    return {"microseconds": 1e6 * seconds}


def evaluation() -> dict[str, Any]:
    """Measure the exact loss of the whole train split of the lecture's job."""
    import jax

    import mm_jax as mm

    vocab_size, data = lecture_data()
    model = mm.mlp(vocab_size)
    params = model.init(jax.random.key(0))
    mm.evaluate(model, params, data).block_until_ready()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        mm.evaluate(model, params, data).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return {"milliseconds": statistics.median(seconds) * 1e3, "examples": data.num_examples}


def growth(
    batch_size: int = 32, hidden_dim: int = 200, members: int = 1, seconds: float = 0.5
) -> dict[str, Any]:
    """Take steps of the lecture's MLP at another size for about ``seconds``."""
    import jax
    import numpy as np
    import optax

    import mm_jax as mm

    vocab_size, data = lecture_data()
    model, optimizer = mm.mlp(vocab_size, hidden_dim=hidden_dim, init="scaled"), optax.sgd(0.1)
    make = jax.jit(jax.vmap(lambda s: mm.init_state(model, optimizer, jax.random.key(s))))
    states = make(np.arange(members, dtype=np.uint32))
    size = batch_size * members * hidden_dim
    steps = max(2, min(1000, 2**24 // size))

    def take(states: Any, data: Any) -> Any:
        options: dict[str, Any] = {"num_steps": steps, "batch_size": batch_size}
        fit = lambda state: mm.fit(model, optimizer, state, data, **options)  # noqa: E731
        return jax.vmap(fit)(states) if members > 1 else fit(jax.tree.map(lambda x: x[0], states))

    compiled = jax.jit(take).lower(states, data).compile()
    jax.block_until_ready(compiled(states, data))
    taken, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        jax.block_until_ready(compiled(states, data))
        taken += steps
    return {"microseconds": spent / taken * 1e6}


def population(repeats: int, devices: int = 1, num_steps: int = 1000) -> dict[str, Any]:
    """Train populations, and as many single runs in a loop; return model steps per second."""
    if devices > 1:
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax
    import numpy as np

    import mm_jax as mm
    from mm_jax.population.planning import make_plan
    from mm_jax.population.scheduler import PopulationSpec, SliceObserver, run_jobs, train_slices
    from mm_jax.population.vmapped import init_member
    from mm_jax.runtime.mesh import make_mesh

    vocab_size, data = lecture_data()
    model, optimizer = mm.mlp(vocab_size), mm.make_optimizer(mm.OptimizerConfig(), num_steps)
    options: dict[str, Any] = {"num_steps": num_steps, "batch_size": 32}

    def begin(_: None, seed: Any) -> Any:
        return init_member(model, optimizer, jax.random.key(seed))

    begin_alone = jax.jit(begin)

    def loop(num: int) -> None:
        for seed in range(num):
            state = begin_alone(None, np.uint32(seed))
            mm.fit(model, optimizer, state, data, **options)[1].block_until_ready()

    def population(num: int) -> None:
        plan = make_plan(num, 10**6, mesh=make_mesh(num) if devices > 1 else None)
        seeds = np.arange(num, dtype=np.uint32)
        spec = PopulationSpec(model, optimizer, begin, None, seeds, data, plan=plan, **options)
        run_jobs(train_slices(spec, SliceObserver()), plan.workers)

    results: dict[str, Any] = {}
    for num in (1, 16, 256):
        speeds: dict[str, list[float]] = {"loop": [], "population": []}
        for repeat in range(repeats + 1):
            for train, each in zip((loop, population), speeds.values(), strict=True):
                begun = time.perf_counter()
                train(num)
                if repeat:  # the first call compiles
                    each.append(num * num_steps / (time.perf_counter() - begun))
        results[str(num)] = speeds
    return results
