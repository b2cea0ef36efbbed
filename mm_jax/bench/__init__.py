"""mm-jax bench: what this machine does in how much time, and what others do beside it.

In reading order: timing (repetitions that take turns, rows of a table), ours and peers (what is
measured), jobs (each in a process of its own), and the sections: training, using, many.
"""
