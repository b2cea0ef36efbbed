"""Check that a run is what was written, and that its last steps repeat bit for bit."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import Choices, InputError
from mm_jax.config.training import CountConfig
from mm_jax.runs.layout import CONFIG, SETTINGS, read_metadata
from mm_jax.runtime.console import Console
from mm_jax.runtime.environment import pin_threads


@dataclasses.dataclass(frozen=True)
class Options(Choices):
    """Check every file of a run or a sweep against its checksum, and take its last steps again.

    From the checkpoint before the last one, or where there is none from the beginning; every bit is
    compared.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run directory, as mm-jax train --out makes it, or that of a sweep."""
    json: bool = False
    """Print one JSON object on stdout, everything else on stderr."""


def run(options: Options, console: Console) -> Outcome:
    """Verify a run, or what a sweep has kept."""
    from mm_jax.runs.checkpoint import fingerprint_of_run

    path, begun = Path(options.run), time.perf_counter()
    record: dict[str, Any] = {"command": "verify", "run_dir": str(path)}
    if (path / SETTINGS).exists():
        parts = [each for each in (path / "best", path / "ensemble") if (each / CONFIG).exists()]
    elif (path / CONFIG).exists():
        parts = [path]
    else:
        raise InputError(f"{path} is not a run directory: it has no {CONFIG}")
    with contextlib.suppress(InputError):  # what is wrong there will be met again
        threads = fingerprint_of_run(parts[0]).get("num_threads") if parts else None
        if isinstance(threads, int) and threads > 0:
            pin_threads(threads)  # before JAX is imported
    found = [verify(each, console) for each in parts]
    if path not in parts:
        found.append(verify_files(path, console))
    complaints = [complaint for each in found for complaint in each["complaints"]]
    seconds = time.perf_counter() - begun
    record |= {"verified": found, "seconds": seconds}
    if complaints:
        more = f", and {len(complaints) - 1} more" if len(complaints) > 1 else ""
        return Outcome(record, 1, f"{complaints[0]}{more}")
    console.say(f"verified   {path} in {seconds:.1f} s")
    return Outcome(record)


def verify_files(path: Path, console: Console) -> dict[str, Any]:
    """Check the files of a directory."""
    from mm_jax.experiments.verify import check_files

    files = list(check_files(path))
    wrong = [file for file in files if file.complaint]
    whole = len(files) - len(wrong)
    console.say(f"files      {path}: {whole} of {len(files)} are what was written")
    for file in wrong:
        console.say(f"           {file.complaint}")
    complaints = [file.complaint for file in wrong]
    return {"path": str(path), "num_files": len(files), "replayed": None, "complaints": complaints}


def verify(path: Path, console: Console) -> dict[str, Any]:
    """Check the files of a run, and take its last steps again."""
    from mm_jax.experiments.verify import replay

    record = verify_files(path, console)
    complaints = record["complaints"]
    begun = time.perf_counter()
    try:
        if isinstance(read_metadata(path).config, CountConfig):
            return record  # no steps were taken
        found = replay(path)
    except InputError as error:
        console.say(f"steps      not repeated: {error}")
        complaints.append(f"not repeated: {error}")
        return record
    seconds = time.perf_counter() - begun
    record["replayed"] = {**found._asdict(), "seconds": seconds}
    steps = f"{found.first:,} to {found.last:,}, taken again in {seconds:.1f} s"
    if not found.differing:
        console.say(f"steps      {steps}: every bit of {found.arrays} arrays is the same")
        return record
    what = ", ".join(found.differing[:3])
    console.say(f"steps      {steps}: other bits in {len(found.differing)} arrays ({what})")
    if found.elsewhere:  # then that is no fault
        console.say(f"           as may be: {'; '.join(found.elsewhere)}")
    else:
        complaints.append(f"{path} does not repeat: other bits in {what}")
    return record
