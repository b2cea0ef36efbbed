"""What figures are drawn from, made by NumPy: a loss curve, and the diagnostics of a net."""

import jax.numpy as jnp
import numpy as np

from mm_jax.runs.metrics import LossCurve
from mm_jax.training.diagnostics import BINS, Diagnostics, Histogram


def make_curve(losses, dev=(), rates=None, diagnostics=(), seed=None):
    steps = 10.0 * (np.arange(len(losses)) + 1)
    rates = np.full(len(losses), 0.1) if rates is None else np.asarray(rates, float)
    dev_steps = steps[-len(dev) :] if len(dev) else np.zeros(0)
    dev_losses, end = np.array(dev, float), int(steps[-1])
    return LossCurve(
        seed, steps, np.array(losses), rates, dev_steps, dev_losses, list(diagnostics), end
    )


def scalar(value):
    return jnp.asarray(np.float32(value))


def make_histogram(values, high):
    counts, _ = np.histogram(np.clip(values, -high, high), BINS, (-high, high))
    return Histogram(jnp.asarray(counts.astype(np.int32)), scalar(-high), scalar(high))


def make_diagnostics(values, grads):
    """Diagnostics of a layer h with these activations, and of an array W with these gradients."""
    std = float(np.std(grads))
    return Diagnostics(
        loss_nats=scalar(2.0),
        activations={"h": make_histogram(values, 1.0)},
        saturated={"h": scalar((np.abs(values) > 0.97).mean())},
        stuck={"h": scalar(0.125)},
        gradients={"W": make_histogram(grads, 4 * std or 1.0)},
        gradient_std={"W": scalar(std)},
        update_to_data={"W": scalar(1e-3)},
    )
