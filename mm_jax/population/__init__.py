"""Many models at once, each a member along the first axis of every array."""

from mm_jax.population.vmapped import evaluate, fit, init, init_member, sample

__all__ = ["evaluate", "fit", "init", "init_member", "sample"]
