"""The same as ``mm-jax sweep``, for a checkout: python scripts/sweep.py --help."""

import sys

from mm_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
