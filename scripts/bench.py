"""Measure whole processes side by side: our lecture job, the same job in eager PyTorch, --help.

The jobs take turns (A B A B ...), so that a drift of the machine's speed falls on both; what is
quoted is the ratio of the medians.

    python scripts/bench.py [--repeats 5] [--steps 200000] [--json]
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


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


def timed(command: list[str]) -> tuple[float, str]:
    """Return the seconds that a process took from start to end, and its stdout."""
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun, done.stdout.decode()


def machine() -> dict[str, object]:
    """Describe where this was measured."""
    info = Path("/proc/cpuinfo")
    models = [s for s in info.read_text().splitlines() if s.startswith("model name")]
    libraries = {name: version(name) for name in ("jax", "jaxlib", "numpy", "torch")}
    cpu = models[0].split(":")[1].strip() if info.exists() and models else platform.processor()
    return {"cores": os.cpu_count(), "cpu": cpu, "python": platform.python_version(), **libraries}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="of each process (default: 5)")
    parser.add_argument("--steps", type=int, default=200_000, help="of the lecture job")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pytorch-job", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pytorch_job:
        lecture_job_in_pytorch(options.steps)
        return 0
    ours, peer, start = "mm-jax train", "eager PyTorch", "mm-jax --help"
    steps = ["--steps", str(options.steps)]
    seconds: dict[str, list[float]] = {ours: [], peer: [], start: []}
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats):
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
    if options.json:
        print(json.dumps({"machine": machine(), "seconds": seconds, "ratio": ratio}))
        return 0
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"\n| whole process, {options.steps:,} steps | median s | min | max | train | dev |")
    print("|---|---|---|---|---|---|")
    for name, times in seconds.items():
        losses = [found[name][k] for k in ("train_loss", "dev_loss")] if name in found else []
        cells = [f"{loss:.3f}" for loss in losses] or ["", ""]
        spread = f"{medians[name]:.2f} | {min(times):.2f} | {max(times):.2f}"
        print(f"| {name} | {spread} | {' | '.join(cells)} |")
    print(f"\neager PyTorch / mm-jax: {ratio:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
