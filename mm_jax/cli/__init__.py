"""The command line: ``mm-jax COMMAND``."""
