"""metrics.jsonl as it grows: what a checkpoint records of it brings it back."""

import hashlib

import pytest

from mm_jax.config.base import InputError
from mm_jax.runs.metrics_file import MetricsFile

LINES = [{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.25}]
TEXT = b'{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 3.25}\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def never(text):
    raise AssertionError(text)


def test_its_record_is_that_of_the_file_on_disk(path):
    file = MetricsFile(path)
    file.sync()  # there is nothing yet, and no file
    for line in LINES:
        file.append([line])
    file.sync()
    assert path.read_bytes() == TEXT
    assert file.record == {"bytes": len(TEXT), "sha256": hashlib.sha256(TEXT).hexdigest()}


def test_restoring_cuts_off_what_was_written_later_and_appends_from_there(path):
    before = MetricsFile(path)
    before.append(LINES[:1])
    record = before.record
    before.append([{"step": 2, "loss": 9.0}])
    with path.open("a") as file:
        file.write('{"step": 3, "lo')  # half a line
    after = MetricsFile(path)
    after.restore(record, 1, never)
    assert path.read_bytes() == TEXT.splitlines(keepends=True)[0]
    assert after.record == record
    after.append(LINES[1:])
    assert path.read_bytes() == TEXT
    assert after.record["sha256"] == hashlib.sha256(TEXT).hexdigest()


@pytest.mark.parametrize("changed", [TEXT[:-1], TEXT.replace(b"3.5", b"4.5")], ids=["cut", "other"])
def test_what_has_changed_is_refused_and_stays(path, changed):
    file = MetricsFile(path)
    file.append(LINES)
    path.write_bytes(changed)
    with pytest.raises(InputError, match=r"is not what it was at step 1,000; restore it, or"):
        MetricsFile(path).restore(file.record, 1000, never)
    assert path.read_bytes() == changed


def test_a_file_that_is_gone_is_a_warning_and_begins_anew(path):
    file, warnings = MetricsFile(path), []
    file.append(LINES[:1])
    path.unlink()
    file = MetricsFile(path)
    file.restore({"bytes": 25, "sha256": "?"}, 1000, warnings.append)
    assert warnings == [f"{path} is gone: the run is resumed without its lines up to step 1,000"]
    file.append(LINES)
    assert file.record == {"bytes": len(TEXT), "sha256": hashlib.sha256(TEXT).hexdigest()}


def test_clearing_leaves_no_line(path):
    MetricsFile(path).clear()
    assert not path.exists()
    MetricsFile(path).append(LINES)
    MetricsFile(path).clear()
    assert path.read_bytes() == b""
