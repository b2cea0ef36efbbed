"""One file a command: its flags as ``Options``, and ``run(options, console) -> Outcome``.

No command imports jax before ``run``, so that --help and a wrong flag are answered at once.
"""
