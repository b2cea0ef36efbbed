"""What mm_jax is compared with: the lecture's training, sampling and counting, in other libraries.

Each public function is a job (see jobs.py) that returns plain numbers; torch is imported where it
is used.
"""

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LECTURE_SHAPES = [(27, 10), (30, 200), (200,), (200, 27), (27,)]  # of C, W1, b1, W2, b2


def training_in_pytorch(steps: int, compiled: bool) -> dict[str, Any]:
    """Train the last MLP of the second makemore lecture as its notebook does.

    With ``compiled`` the whole step goes through torch.compile as one function of the parameters,
    in half the time of compiling the loss alone, which is slower here than compiling nothing.
    """
    import torch

    (x_train, y_train), dev, symbols = _lecture_examples()
    generator = torch.Generator().manual_seed(2147483647)
    parameters = [torch.randn(shape, generator=generator) for shape in LECTURE_SHAPES]
    update = (_compiled_update if compiled else _eager_update)(parameters)
    rates = torch.tensor(0.1), torch.tensor(0.01)

    def step(i: int) -> None:
        batch = torch.randint(0, len(x_train), (32,), generator=generator)
        update(x_train[batch], y_train[batch], rates[i >= steps // 2])

    begun = time.perf_counter()
    step(0)
    compile_seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    for i in range(1, steps):
        step(i)
    microseconds = (time.perf_counter() - begun) / (steps - 1) * 1e6
    with torch.no_grad():
        losses = [_loss(parameters, *split).item() for split in ((x_train, y_train), dev)]
        samples = [_sample_line(parameters, symbols, generator) for _ in range(20)]
    return {
        "microseconds": microseconds,
        "compile_seconds": compile_seconds,
        "losses": losses,
        "samples": samples,
    }


def _lecture_examples() -> tuple[tuple[Any, Any], tuple[Any, Any], list[str]]:
    """Return x and y of train, those of dev, and the symbols, as the lecture makes them."""
    import torch

    from mm_jax.runtime.paths import find_data

    words = find_data("names").read_text().splitlines()
    ids = {symbol: i for i, symbol in enumerate([".", *sorted(set("".join(words)))])}
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
    return examples(words[:first]), examples(words[first:second]), list(ids)


def _loss(parameters: list[Any], x: Any, y: Any) -> Any:
    """Return the loss of the lecture's MLP."""
    import torch

    table, w1, b1, w2, b2 = parameters
    logits = torch.tanh(table[x].view(-1, 30) @ w1 + b1) @ w2 + b2
    return torch.nn.functional.cross_entropy(logits, y)


def _eager_update(parameters: list[Any]) -> Callable[[Any, Any, Any], None]:
    """Return the lecture's own step, (x, y, rate), which changes the parameters in place."""
    for parameter in parameters:
        parameter.requires_grad = True

    def update(x: Any, y: Any, rate: Any) -> None:
        loss = _loss(parameters, x, y)
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        for parameter in parameters:
            parameter.data -= rate * parameter.grad

    return update


def _compiled_update(parameters: list[Any]) -> Callable[[Any, Any, Any], None]:
    """Return the same step as one function compiled by torch.compile."""
    import torch

    @torch.compile
    def after(parameters: list[Any], x: Any, y: Any, rate: Any) -> list[Any]:
        grads, _ = torch.func.grad_and_value(_loss)(parameters, x, y)
        return [parameter - rate * grad for parameter, grad in zip(parameters, grads, strict=True)]

    def update(x: Any, y: Any, rate: Any) -> None:
        with torch.no_grad():
            parameters[:] = after(list(parameters), x, y, rate)

    return update


def _sample_line(parameters: list[Any], symbols: Sequence[str], generator: Any) -> str:
    """Sample one line, one symbol at a time, as the lecture does."""
    import torch

    table, w1, b1, w2, b2 = parameters
    window, line = [0, 0, 0], ""
    while True:
        h = torch.tanh(table[torch.tensor([window])].view(1, -1) @ w1 + b1)
        probs = torch.softmax(h @ w2 + b2, dim=1)
        i = int(torch.multinomial(probs, 1, generator=generator))
        if i == 0:
            return line
        window, line = [*window[1:], i], line + symbols[i]


def sampling_in_pytorch(run: str, num: int) -> dict[str, Any]:
    """Sample ``num`` lines from a run of the lecture's model with the lecture's loop."""
    import torch

    from mm_jax.runs.reader import load_run

    trained = load_run(run)
    names = ("C", "W1", "b1", "W2", "b2")
    parameters = [torch.tensor(np.array(trained.params[name])) for name in names]
    for parameter in parameters:
        parameter.requires_grad = True  # as in the lecture, after its training
    generator = torch.Generator().manual_seed(2147483647)
    _sample_line(parameters, trained.vocab.symbols, generator)
    begun = time.perf_counter()
    lines = [_sample_line(parameters, trained.vocab.symbols, generator) for _ in range(num)]
    seconds = time.perf_counter() - begun
    return {"per_second": num / seconds, "symbols": sum(map(len, lines)) / num}


def evaluation_in_pytorch() -> dict[str, Any]:
    """Measure the loss of the whole train split in one batch, as the lecture does."""
    import torch

    from mm_jax.bench.ours import lecture_data

    examples = lecture_data()[1]
    data = examples.take(np.arange(examples.num_examples))
    x, y = (torch.tensor(np.array(array)).long() for array in (data.tokens, data.targets))
    table, w1, b1, w2, b2 = (torch.randn(shape) for shape in LECTURE_SHAPES)
    seconds = []
    with torch.no_grad():
        for _ in range(6):
            begun = time.perf_counter()
            h = torch.tanh(table[x].view(-1, 30) @ w1 + b1)
            torch.nn.functional.cross_entropy(h @ w2 + b2, y).item()
            seconds.append(time.perf_counter() - begun)
    return {"milliseconds": statistics.median(seconds[1:]) * 1e3}


def counting_with_add_at(path: str) -> dict[str, Any]:
    """Count the bigrams of a file with numpy.add.at, the file as one array."""
    begun = time.perf_counter()
    codes = np.frombuffer(Path(path).read_bytes(), np.uint8)
    symbols = np.unique(codes)  # a newline is the boundary
    ids = np.searchsorted(symbols, codes)
    table = np.zeros((len(symbols), len(symbols)), np.int64)
    np.add.at(table, (ids[:-1], ids[1:]), 1)
    total = int(table.sum()) + 1  # the first line has no newline before it
    return {"total": total, "seconds": time.perf_counter() - begun}


def counting_with_counter(path: str) -> dict[str, Any]:
    """Count the bigrams of a file as the first makemore lecture does."""
    begun = time.perf_counter()
    counts: Counter[tuple[str, str]] = Counter()
    for word in Path(path).read_text().splitlines():
        symbols = [".", *word, "."]
        counts.update(itertools.pairwise(symbols))
    return {"total": counts.total(), "seconds": time.perf_counter() - begun}
