import pytest

from mm_jax.runtime.half_written import half_written, remove_all


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data.part"
    folder.mkdir()
    (folder / "old").touch()  # of a process that was killed
    return folder


def test_a_folder_begins_empty_and_what_was_renamed_stays(folder):
    with half_written(folder):
        assert list(folder.iterdir()) == []
        (folder / "new").touch()
        folder.rename(folder.with_name("data"))
    remove_all()
    assert [path.name for path in folder.parent.rglob("*")] == ["data", "new"]


def test_an_error_removes_it(folder):
    with pytest.raises(KeyboardInterrupt), half_written(folder):
        raise KeyboardInterrupt
    assert not folder.exists()


def test_whoever_ends_the_process_at_once_removes_it(folder):
    with half_written(folder):
        remove_all()
        assert not folder.exists()
