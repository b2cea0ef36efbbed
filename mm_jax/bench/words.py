"""A step of Bengio's net over words, whose last layer is most of it, beside PyTorch.

The share of the floor is that of the three products of the last layer alone: logits, the gradient
of its weight, and that of its features.
"""

import time
from functools import partial
from typing import Any

from mm_jax.bench.timing import Bench, Row, job, times

CONTEXT, EMBED_DIM, HIDDEN_DIM = 4, 60, 100
SHAPES = {  # by title: words, examples of a step, direct connections
    "17,000 words, batch 512": (17_000, 512, False),
    "17,000 words, batch 512, direct connections": (17_000, 512, True),
    "50,000 words, batch 4,096": (50_000, 4096, False),
}
SAMPLED = 2048  # words that a step draws, where it does
STEPS = 8
PEERS = {"PyTorch, eager": False, "PyTorch, torch.compile": True}


def words(bench: Bench) -> list[Row]:
    """Measure a step at some numbers of words, and the memory that it takes."""
    rows: list[Row] = []
    for title, (vocab_size, batch_size, direct) in SHAPES.items():
        shape = {"vocab_size": vocab_size, "batch_size": batch_size, "direct": direct}
        jobs: dict[str, Any] = {
            "ours": partial(job, "word_steps", **shape),
            "sampled": partial(job, "word_steps", **shape, sampled=SAMPLED),
            "floor": partial(job, "word_products", **shape),
        }
        if bench.with_torch:
            for name, compiled in PEERS.items():
                jobs[name] = partial(job, "word_steps_in_pytorch", **shape, compiled=compiled)
        results = bench.alternate(jobs)
        rows += _rows(title, batch_size, results)
    return rows


def _rows(title: str, batch_size: int, results: dict[str, list[dict[str, Any]]]) -> list[Row]:
    section = f"a step of Bengio's net, {title}"

    def row(name: str, what: str) -> Row:
        speeds = [batch_size / each["seconds"] for each in results[name]]
        return Row(section, what, "words/s", speeds)

    ours, floor = row("ours", "mm-jax"), row("floor", "the three products of its last layer")
    sampled = row("sampled", f"mm-jax, {SAMPLED:,} words drawn each step")
    peak = max(each["peak_mb"] for each in results["ours"])
    share = f"{ours.median / floor.median:.0%} of its last layer's products, {peak:,.0f} MB"
    peers = [row(name, name) for name in PEERS if name in results]
    return [
        ours._replace(beside=share),
        sampled._replace(beside=f"{times(ours.median, sampled.median)} as fast as all words"),
        floor,
        *(each._replace(beside=f"ours is {times(each.median, ours.median)}") for each in peers),
    ]


def _examples(vocab_size: int, batch_size: int) -> Any:
    """Return some windows and targets, whose ids are as frequent as words are."""
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (8 * batch_size, CONTEXT + 1)
    ids = generator.zipf(1.2, shape) % vocab_size
    return ids[:, :-1].astype(np.int32), ids[:, -1].astype(np.int32)


def word_steps(
    vocab_size: int, batch_size: int, *, direct: bool, sampled: int = 0
) -> dict[str, Any]:
    """Take steps of the net with adam, on all words or some drawn; return the seconds of one."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import mm_jax as mm

    tokens, targets = map(jnp.asarray, _examples(vocab_size, batch_size))
    data = mm.Batch(tokens, targets, jnp.ones(len(targets)))
    net = mm.mlp(vocab_size, CONTEXT, EMBED_DIM, HIDDEN_DIM, "scaled", direct=direct)
    if sampled:
        counts = np.bincount(np.asarray(targets), minlength=vocab_size)
        net = mm.with_sampled_symbols(net, counts, sampled)
    optimizer = mm.make_optimizer(mm.OptimizerConfig("adam", learning_rate=1e-3), STEPS)
    state = mm.init_state(net, optimizer, jax.random.key(0))
    take = partial(mm.fit, net, optimizer, num_steps=STEPS, batch_size=batch_size)
    state, _ = jax.block_until_ready(take(state, data))
    begun = time.perf_counter()
    jax.block_until_ready(take(state, data))
    return {"seconds": (time.perf_counter() - begun) / STEPS}


def word_products(vocab_size: int, batch_size: int, *, direct: bool) -> dict[str, Any]:
    """Compute the three products of the last layer alone, and return the seconds of all."""
    import jax
    import jax.numpy as jnp

    width = HIDDEN_DIM + CONTEXT * EMBED_DIM * direct
    rows = min(batch_size, 256)  # at once, so that what they make stays in the cache

    @jax.jit
    def products(features: Any, weight: Any) -> Any:
        def some(carry: Any, part: Any) -> Any:
            logits = part @ weight
            return carry + part.T @ logits, logits @ weight.T

        return jax.lax.scan(some, weight, features.reshape(-1, rows, width))

    args = jnp.ones((batch_size, width)), jnp.ones((width, vocab_size))
    jax.block_until_ready(products(*args))
    begun = time.perf_counter()
    for _ in range(STEPS):
        jax.block_until_ready(products(*args))
    return {"seconds": (time.perf_counter() - begun) / STEPS}


def word_steps_in_pytorch(
    vocab_size: int, batch_size: int, *, direct: bool, compiled: bool
) -> dict[str, Any]:
    """Take the same steps in PyTorch, eager or compiled, and return the seconds of one."""
    import torch
    from torch import nn

    tokens, targets = (torch.tensor(each).long() for each in _examples(vocab_size, batch_size))
    size = CONTEXT * EMBED_DIM
    net = nn.ModuleDict(
        {
            "C": nn.Embedding(vocab_size, EMBED_DIM),
            "hidden": nn.Linear(size, HIDDEN_DIM),
            "last": nn.Linear(HIDDEN_DIM, vocab_size),
        }
    )
    if direct:
        net["direct"] = nn.Linear(size, vocab_size, bias=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def loss(x: Any, y: Any) -> Any:
        embedded = net["C"](x).view(len(x), -1)
        logits = net["last"](torch.tanh(net["hidden"](embedded)))
        if direct:
            logits = logits + net["direct"](embedded)
        return nn.functional.cross_entropy(logits, y)

    measured = torch.compile(loss) if compiled else loss

    def step() -> None:
        numbers = torch.randint(0, len(tokens), (batch_size,))
        optimizer.zero_grad(set_to_none=True)
        measured(tokens[numbers], targets[numbers]).backward()
        optimizer.step()

    for _ in range(2):  # the first ones compile, or reserve memory
        step()
    begun = time.perf_counter()
    for _ in range(STEPS):
        step()
    return {"seconds": (time.perf_counter() - begun) / STEPS}
