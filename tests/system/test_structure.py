"""The tests lie in the same folders as what they test."""

from tests.helpers import ROOT

# Over every model in the registry, and over all functions of training.
WITHOUT = {"models/test_laws.py", "models/test_laws_under_flags.py", "training/test_precision.py"}


def test_each_module_has_one_test_file_and_each_test_file_a_module():
    package, tests = ROOT / "mm_jax", ROOT / "tests"
    modules = {
        str(path.relative_to(package).with_name(f"test_{path.name}"))
        for path in package.rglob("*.py")
        if not path.name.startswith("__")
    }
    files = {str(path.relative_to(tests)) for path in tests.rglob("test_*.py")}
    files = {file for file in files if not file.startswith(("system/", "scripts/"))} - WITHOUT
    assert sorted(modules - files) == []
    assert sorted(files - modules) == []
