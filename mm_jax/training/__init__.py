"""One model: loss, steps, evaluation, optimizers, and what goes on inside it."""
