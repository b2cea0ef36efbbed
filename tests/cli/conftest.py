"""Files that a user may have, with a run among them, and what a command says of bad input."""

import pytest

from mm_jax.cli.main import main

NAMES = [
    first + second for first in ("em", "av", "li", "no") for second in ("ma", "a", "el", "ora")
]
TRAIN = ["train", "--data", "names.txt", "--steps", "0"]


def everything_under(folder):
    """Every file below a folder with its bytes, and every other path."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture(scope="session")
def user_files(tmp_path_factory):
    """A folder of files that a user may have, with a run in it."""
    path = tmp_path_factory.mktemp("bad input")
    files = {
        "names.txt": "\n".join(NAMES),
        "empty.txt": "",
        "only_bom.txt": "\ufeff",
        "blank.txt": "\n \r\n\t\n",
        "few.txt": "emma\nava\n",
        "dot.txt": "\n\nemma\nst. clair\n",
        "capitals.txt": "EMMA\nAVA\n",
        "unknown.txt": "emma\n\n\nemXma\n",
        "in_the_way": "a file where a directory is wanted",
    }
    for name, text in files.items():
        (path / name).write_text(text, "utf-8")
    (path / "latin.txt").write_bytes("emma\nzoë\n".encode("latin-1"))
    (path / "utf16.txt").write_bytes("emma\nava\n".encode("utf-16"))
    (path / "folder").mkdir()
    (path / "folder.png").mkdir()
    (path / "full").mkdir()
    (path / "full" / "precious.txt").write_text("keep me")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert main([*TRAIN, "--out", "run"]) == 0
    return path


@pytest.fixture
def fails(user_files, monkeypatch, capsys):
    """Return fails(args, words): the command must say all the words in its one line."""

    def fails(args, *words, code=2):
        monkeypatch.chdir(user_files)
        before = everything_under(user_files)
        assert main(args) == code
        out, err = capsys.readouterr()
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert err.startswith("mm-jax"), err
        for word in words:
            assert word in err, f"{word!r} is not in {err!r}"
        assert everything_under(user_files) == before
        return out

    return fails
