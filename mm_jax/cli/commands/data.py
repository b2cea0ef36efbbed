"""mm-jax data: download or describe a data set."""

import dataclasses
import hashlib
import os
from typing import Literal

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.data.streaming import LECTURE_SHA256
from mm_jax.data.text import read_lines
from mm_jax.runtime.atomic_files import size_text
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import LECTURE_VARIABLE, lecture_path

URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"


@dataclasses.dataclass(frozen=True)
class Options:
    """Describe a named data set, which is downloaded if it does not ship; or clean the cache."""

    name: tyro.conf.Positional[Literal["names", "lecture-names", "clean"]]
    """names: US names of 2018, shipped with mm-jax. lecture-names: the file of the lectures.
    clean: remove what is kept of large files to train on, which are then encoded again."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Download a data set if it is missing, and describe it."""
    if options.name == "clean":
        return clean(console)
    has_path = options.name == "names" or os.environ.get(LECTURE_VARIABLE)
    if not has_path and not lecture_path().exists():
        console.say(f"downloading {URL}")
        download(URL, lecture_path())
    text = read_lines(options.name)
    distinct = len(set(text.lines))
    console.say(f"{text.path}: {len(text.lines):,} lines, {distinct:,} distinct")
    console.say(f"sha256 {text.sha256}")
    record = {
        "command": "data",
        "name": options.name,
        "path": str(text.path),
        "num_lines": len(text.lines),
        "num_distinct": distinct,
        "sha256": text.sha256,
    }
    return Outcome(record)


def clean(console: Console) -> Outcome:
    """Remove the encoded copies of large files from the cache directory."""
    from mm_jax.data import mapped

    number, num_bytes = mapped.clean()
    folder = mapped.corpora_dir()
    console.say(f"{folder}: {number:,} encoded files removed, {size_text(num_bytes)}")
    record = {"command": "data", "name": "clean", "path": str(folder)}
    return Outcome(record | {"num_removed": number, "num_bytes": num_bytes})


def download(url: str, path: os.PathLike[str], sha256: str = LECTURE_SHA256) -> None:
    """Download ``url`` to ``path``, whole and with this sha256, or raise InputError."""
    import http.client
    import urllib.error
    import urllib.request
    from pathlib import Path

    path = Path(path)
    partial = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data = response.read()
        actual = hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise InputError(f"{url} is not the expected file: its sha256 is {actual}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error is also the open response
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot download {url}: {reason}; try again, or set {LECTURE_VARIABLE} to a copy of "
            "the file"
        ) from None
