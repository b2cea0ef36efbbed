"""The same as ``mm-jax sample``, for a checkout: python scripts/sample.py --help."""

import sys

from mm_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sample", *sys.argv[1:]]))
