"""The same as ``mm-jax train``, for a checkout: python scripts/train.py --help."""

import sys

from mm_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
