"""Small language models as pure JAX functions.

Imports go up this list of packages only: config, runtime, data, models, training, runs, population,
experiments, reports, bench and lectures, cli. The public names stand in __init__.pyi; each is
imported when it is first used, so that ``import mm_jax`` costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
