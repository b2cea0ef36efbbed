"""Compare rules that read a learning rate off a range test, where the best rate is known.

    python scripts/lr_rules.py [--draws 100] [--seeds 16] [--json]

Each draw is a noisy quadratic bowl (Zhang et al. 2019): the expected loss after T steps of any
constant rate has a closed form, and its lowest point is the best rate. A sweep passes
num / ln(max / min) steps at about each rate, and that is its T. The other rules are fastai's and
Lightning's, written down from their documentation; they see what their users see, one seed, and in
a second row the median over all seeds.
"""

import argparse
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mm_jax as mm
from mm_jax.experiments.lr_suggestion import suggest

SIZE, EXAMPLES, BATCH = 10, 4096, 8  # of the bowl, of its data, of a minibatch
MIN, MAX = 1e-4, 1e2


class Draw(NamedTuple):
    """A bowl: loss = 1 + sum(h * (x - noise * e)**2) / 2, with e standard normal an example."""

    h: np.ndarray  # (SIZE,) curvatures
    noise: float


def draw(seed: int) -> Draw:
    """Return a bowl: steepest curvature 0.1 to 30, conditioned 1 to 1,000, little noise or much."""
    generator = np.random.default_rng(seed)
    steepest, condition = 10 ** generator.uniform(-1, 1.5), 10 ** generator.uniform(1.5, 3)
    h = steepest * condition ** -np.sort(generator.uniform(0, 1, SIZE))
    h[0] = steepest
    return Draw(h, float(10 ** generator.uniform(-1.3, 0)))


@functools.cache
def bowl() -> mm.Model:
    """Return the bowl as a Model whose cross-entropy is the loss: logits (0, ln(e**loss - 1)).

    Its parameters are x, which begins standard normal, and h and noise, which get no gradient; a
    token is the number of an example. One Model, so one program, serves every draw.
    """
    half = np.random.default_rng(0).standard_normal((EXAMPLES // 2, SIZE))
    both = np.concatenate([half, -half])
    e = jnp.asarray(both / both.std(0), jnp.float32)  # mean 0 and variance 1, exactly

    def init(key: Any) -> mm.Params:
        return {"x": jax.random.normal(key, (SIZE,)), "h": jnp.ones(SIZE), "noise": jnp.ones(1)}

    def predict(params: mm.Params, windows: Any) -> Any:
        h, noise = jax.lax.stop_gradient((params["h"], params["noise"]))
        # rank promotion is spelled out: whoever forbids it can run this too
        lead = (1,) * (windows.ndim - 1)
        x, h = (each.reshape(*lead, SIZE) for each in (params["x"], h))
        away = x - noise.reshape(*lead, 1) * e[windows[..., 0]]
        loss = 1 + jnp.sum(h * away**2, -1) / 2
        return jnp.stack([jnp.zeros_like(loss), loss + jnp.log1p(-jnp.exp(-loss))], -1)

    return mm.windowed(init, predict, context=1)


def data() -> mm.Batch:
    """Return the bowl's examples: all have symbol 0 as their target."""
    tokens = jnp.arange(EXAMPLES, dtype=jnp.int32)[:, None]
    return mm.Batch(tokens, jnp.zeros(EXAMPLES, jnp.int32), jnp.ones(EXAMPLES))


def expected_losses(drawn: Draw, rates: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the expected loss (R, T) after each of ``steps`` at each constant rate of SGD.

    E[x**2] goes to (1 - rate h)**2 E[x**2] + (rate h noise)**2 / B at every step, a geometric sum.
    """
    rate, h = rates[:, None, None], drawn.h[None, None, :]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shrink = (1 - rate * h) ** 2
        power = shrink ** steps[None, :, None]
        summed = np.where(shrink == 1, steps[None, :, None], (1 - power) / (1 - shrink))
        squares = power + (rate * h * drawn.noise) ** 2 / BATCH * summed
        losses = 1 + (h * (squares + drawn.noise**2)).sum(-1) / 2
    return np.where(np.isfinite(losses), losses, np.inf)


def best_rate(drawn: Draw, steps: np.ndarray) -> float:
    """Return the constant rate with the lowest expected loss, meant over ``steps``."""
    rates = np.geomspace(MIN / 10, MAX * 10, 4000)
    return float(rates[np.argmin(expected_losses(drawn, rates, steps).mean(1))])


# What the peers document. Each takes rates and one curve, and returns a rate or None.


def moving_average(lrs: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth as both do, exponentially with 0.98, corrected at the start; stop at 4 x the best."""
    average, smooth = 0.0, []
    for i, loss in enumerate(losses):
        average = 0.98 * average + 0.02 * float(loss)
        smooth.append(average / (1 - 0.98 ** (i + 1)))
        if not math.isfinite(smooth[-1]) or smooth[-1] > 4 * min(smooth):
            smooth.pop()
            break
    return lrs[: len(smooth)], np.array(smooth)


def fastai_curve(lrs: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what fastai's rules look at: without the first tenth and the last five."""
    skipped = len(losses) // 10
    lrs, smooth = moving_average(lrs, losses)
    return lrs[skipped:-5], smooth[skipped:-5]


def fastai_steep(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """Take the rate where the loss falls most for the logarithm of the rate."""
    lrs, smooth = fastai_curve(lrs, losses)
    if len(smooth) < 2:
        return None
    return float(lrs[np.argmin(np.diff(smooth) / np.diff(np.log(lrs)))])


def fastai_valley(lrs: np.ndarray, losses: np.ndarray) -> float | None:
    """Take the middle of the second third of the longest falling sequence (its default)."""
    lrs, smooth = fastai_curve(lrs, losses)
    if not len(smooth):
        return None
    longest = np.ones(len(smooth), int)  # of the falling sequences that end at each place
    for i in range(1, len(smooth)):
        above = smooth[:i] > smooth[i]
        longest[i] = 1 + (longest[:i][above].max() if above.any() else 0)
    end = int(np.argmax(longest))
    third = longest[end] / 3
    return float(lrs[end - longest[end] + int(third) + int(third / 2)])


def lightning(lrs: np.ndarray, losses: np.ndarray, over_rate: bool = True) -> float | None:
    """Take the rate with the lowest gradient, without the first ten and the last one.

    The gradient is over the rate since version 2.5.3, and was over the number of the step before.
    """
    lrs, smooth = moving_average(lrs, losses)
    lrs, smooth = lrs[10:-1], smooth[10:-1]
    if len(smooth) < 2:
        return None
    return float(lrs[np.argmin(np.gradient(smooth, lrs) if over_rate else np.gradient(smooth))])


PEERS: dict[str, Callable[..., float | None]] = {
    "fastai steep": fastai_steep,
    "fastai valley": fastai_valley,
    "Lightning": lightning,
    "Lightning before 2.5.3": functools.partial(lightning, over_rate=False),
}


def measure(config: mm.LRRangeConfig, num_draws: int) -> dict[str, list[float | None]]:
    """Return for every rule its suggestion over the best rate, or None, draw by draw.

    All draws are one population, one program: the seeds of the first draw, those of the next, ...
    """
    num_seeds, draws = config.num_seeds, [draw(i) for i in range(num_draws)]
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    keys = jax.random.split(jax.random.key(0), num_draws * num_seeds)
    state = jax.jit(jax.vmap(functools.partial(mm.init_state, bowl(), optimizer)))(keys)
    h = jnp.asarray(np.repeat([drawn.h for drawn in draws], num_seeds, 0), jnp.float32)
    noise = jnp.asarray(np.repeat([[drawn.noise] for drawn in draws], num_seeds, 0), jnp.float32)
    state = dataclasses.replace(state, params={**state.params, "h": h, "noise": noise})
    test = mm.lr_range_test(bowl(), optimizer, state, data(), config, batch_size=BATCH)
    found: dict[str, list[float | None]] = {}
    for i, drawn in enumerate(draws):
        own = slice(i * num_seeds, (i + 1) * num_seeds)
        losses, untrained = test.losses[own], test.untrained[own]
        if config.mode == "sweep":
            steps = np.array([config.num_rates / math.log(config.max / config.min)])
        else:
            last = max(1, config.num_steps // 10)
            steps = np.arange(config.num_steps - last, config.num_steps)
        truth, sweep = best_rate(drawn, steps), config.mode == "sweep"
        rates = {f"mm_jax, {num_seeds} seeds": suggest(test.lrs, losses, untrained, sweep=sweep).lr}
        if sweep:
            rates["mm_jax, one seed"] = suggest(test.lrs, losses[:1], untrained[:1]).lr
            for which, curve in (("one seed", losses[0]), ("median", np.median(losses, 0))):
                rates |= {f"{name}, {which}": rule(test.lrs, curve) for name, rule in PEERS.items()}
        for name, rate in rates.items():
            found.setdefault(name, []).append(None if rate is None else rate / truth)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=100, help="how many bowls (default: 100)")
    parser.add_argument("--seeds", type=int, default=16, help="of each bowl (default: 16)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.draws, options.seeds) < 1:
        parser.error("--draws and --seeds must be at least 1")
    configs = [
        mm.LRRangeConfig(mode, min=MIN, max=MAX, seeds=options.seeds) for mode in ("sweep", "grid")
    ]
    tables = {config.mode: measure(config, options.draws) for config in configs}
    if options.json:
        print(json.dumps(tables))
        return 0
    print(f"suggested rate / best rate, {options.draws} draws\n")
    print("| rule | median | 5% to 95% | within a factor of two | none |")
    print("|---|---|---|---|---|")
    for mode, found in tables.items():
        for name, ratios in found.items():
            given = np.array([ratio for ratio in ratios if ratio is not None])
            if len(given):
                low, median, high = (
                    f"{each:.2g}" for each in np.quantile(given, (0.05, 0.5, 0.95))
                )
            else:
                low = median = high = "-"
            near = int(((given >= 0.5) & (given <= 2)).sum())
            none = len(ratios) - len(given)
            print(f"| {name}, {mode} | {median} | {low} to {high} | {near} | {none} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
