"""A ladder that has come to its end, which several tests read."""

import pytest

from tests.experiments.small_ladder import LINES, begin, use_small_presets


@pytest.fixture(scope="session")
def names_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory, names_file):
    """A ladder of all kinds of entries that has come to its end."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_presets(patch)
        made = begin(tmp_path_factory.mktemp("ladder"), names_file)
        assert made.run()
    return made


@pytest.fixture
def small_presets(monkeypatch):
    use_small_presets(monkeypatch)
