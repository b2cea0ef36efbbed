"""mm-jax bench: how long everything takes on this machine, beside the same in PyTorch and NumPy.

In reading order: timing (alternating repetitions, rows of a table), ours and peers (what is
measured), jobs (each in a process of its own), and the sections: training, usage, populations.
"""
