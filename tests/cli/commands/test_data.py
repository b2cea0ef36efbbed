"""mm-jax data: what it reports of a file, and downloads."""

import functools
import hashlib
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

from mm_jax.cli.commands.data import download
from mm_jax.config.base import InputError
from mm_jax.data.text import LECTURE_SHA256
from mm_jax.runtime.paths import find_data
from tests.cli.commands.conftest import SMALL
from tests.conftest import BESIDE
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


def test_the_lecture_names_by_the_environment(lecture_text, monkeypatch):
    monkeypatch.setenv("MM_JAX_LECTURE_NAMES", str(lecture_text.path))
    record = record_of("data", "lecture-names")
    assert record["sha256"] == LECTURE_SHA256
    assert (record["num_lines"], record["num_distinct"]) == (32_033, 29_494)
    flags = ["--data", "lecture-names", "--steps", "0", *SMALL, "--out", "run"]
    assert record_of("train", *flags)["num_examples"] == 182_625
    monkeypatch.delenv("MM_JAX_LECTURE_NAMES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    assert "mm-jax data lecture-names" in call("eval", "run", code=2)[1]
    shutil.copytree(lecture_text.path.parent, "cache/mm-jax")
    Path("cache/mm-jax", lecture_text.path.name).rename("cache/mm-jax/lecture-names.txt")
    assert record_of("eval", "run")["num_examples"] == 22_655


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


def test_the_copy_beside_the_repository_is_the_lectures(lecture_text):
    assert lecture_text.sha256 == LECTURE_SHA256
    assert lecture_text.path == BESIDE or os.environ.get("MM_JAX_LECTURE_NAMES")
