"""``python -m mm_jax`` is ``mm-jax``."""

import sys

from mm_jax.cli.main import main

sys.exit(main())
