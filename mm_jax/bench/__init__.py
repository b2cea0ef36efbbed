"""mm-jax bench: what this machine does in how much time, and what others do beside it.

In reading order: timing (repetitions that take turns, rows of a table), peers (what others would
write), jobs (what runs in a process of its own), training, using and growth (the sections).
"""
