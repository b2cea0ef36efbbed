"""Training one model: loss, steps, evaluation, optimizers, diagnostics, a profiler."""
