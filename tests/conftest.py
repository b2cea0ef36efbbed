"""Every test sees checked shapes, no rank promotion, and the same examples from hypothesis."""

import atexit
import gc
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

# Most of the time goes into compiling what runs for a moment only. So LLVM optimizes nothing, and
# XLA's older emitters, which jaxlib 0.10 still has, write the code in a third of the time.
# XLA_FLAGS="" compiles as users do.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

# Commands in processes of their own keep what they compile, but not in the cache of who tests.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mm-jax-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

PACKAGES = ["data", "models", "training", "population", "experiments", "lectures", "runtime.mesh"]
PACKAGES += [f"runs.{name}" for name in ("checkpoint_manager", "metrics", "named_arrays")]
PACKAGES += ["runs.population_checkpoints", "reports.analysis", "reports.browser_model"]
PACKAGES += ["reports.figures", "reports.html", "reports.run_summary", "reports.sweep_summary"]
PACKAGES += ["reports.ladder_figures", "reports.ladder_summary", "reports.page_figures"]
install_import_hook([f"mm_jax.{package}" for package in PACKAGES], "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "fixed", derandomize=True, deadline=None, max_examples=50, database=None
)
hypothesis.settings.load_profile("fixed")
gc.set_threshold(50_000, 20, 100)  # or it looks at all that is imported again and again


def pytest_addoption(parser):
    parser.addoption(
        "--first-parameters",
        action="store_true",
        help="run each test with the first of its parameters only",
    )


@pytest.hookimpl(trylast=True)  # what -m leaves out is nobody's first
def pytest_collection_modifyitems(config, items):
    """Begin with the long ones, so that no core waits for another at the end."""
    items.sort(key=lambda item: "system" not in item.path.parts)
    if config.getoption("--first-parameters"):
        first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
        kept = set(first.values())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


@pytest.fixture(autouse=True)
def _threads_as_before():
    """Take back what a command of this process pins for those that it starts."""
    before = {name: os.environ.get(name) for name in ("PJRT_NPROC", "XLA_FLAGS")}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


BESIDE = Path(__file__).parents[2] / "shared" / "data" / "names.txt"


@pytest.fixture(scope="session")
def lecture_text():
    """The lecture's names.txt, which is not ours to keep in the repository."""
    from mm_jax.data.text import read_lines

    path = Path(os.environ.get("MM_JAX_LECTURE_NAMES") or BESIDE)
    if not path.is_file():
        pytest.skip(f"the lecture's names.txt is not at {path}; set MM_JAX_LECTURE_NAMES")
    return read_lines(path)
