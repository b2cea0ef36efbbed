"""The same as ``mm-jax lr-range``, for a checkout: python scripts/lr_range.py --help."""

import sys

from mm_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["lr-range", *sys.argv[1:]]))
