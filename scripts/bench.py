"""The same as ``mm-jax bench``, for a checkout: python scripts/bench.py --help."""

import sys

from mm_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
