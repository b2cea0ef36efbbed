import hashlib
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).parents[2] / "scripts" / "prepare_names.py")
YOB = "Emma,F,18770\nOlivia,F,17998\nAvery,F,8000\nLiam,M,19924\nAvery,M,2000\n"
NAMES = b"emma\nolivia\navery\nliam\navery\n"


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Run the script on a file with these bytes: its exit code and where it should have written."""

    def _prepare(data, *more):
        source, target = tmp_path / "yob2018.txt", tmp_path / "names.txt"
        if data is not None:
            source.write_bytes(data)
        monkeypatch.setattr(sys, "argv", ["prepare_names.py", str(source), str(target), *more])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(SCRIPT, run_name="__main__")
        return end.value.code, target

    return _prepare


@pytest.mark.parametrize("data", [YOB, YOB.strip(), YOB.replace("\n", "\r\n")])
def test_a_yob_file_becomes_lower_case_names_in_its_order(prepare, capsys, data):
    code, target = prepare(data.encode())
    assert code == 0
    assert target.read_bytes() == NAMES
    said = capsys.readouterr().out
    assert "5 names, 4 distinct" in said
    assert hashlib.sha256(NAMES).hexdigest() in said


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"Emma,F,1\nLiam,X,2\n", "line 2"),
        (b"Emma,F,1\nLiam,M,many\n", "line 2"),
        (b"Emma,F\n", "line 1"),
        (b"Emma,F,1,2\n", "line 1"),
        (b"Mary-Ann,F,1\n", "line 1"),
        (b"emma\nolivia\n", "line 1"),
        (b"Em\xe9a,F,1\n", "ascii"),
        (b"", "no names"),
        (None, "No such file"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(prepare, capsys, data, complaint):
    code, target = prepare(data)
    assert code == 2
    assert not target.exists()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert complaint in err
    assert "yob2018.txt" in err


def test_a_wrong_number_of_arguments_prints_the_usage(prepare, capsys):
    code, target = prepare(YOB.encode(), "third.txt")
    assert code == 2
    assert not target.exists()
    assert "usage:" in capsys.readouterr().err
