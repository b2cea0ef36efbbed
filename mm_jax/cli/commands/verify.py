"""Check that a run is what was written, and that its last steps repeat bit for bit."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from mm_jax.cli.common import Outcome
from mm_jax.config.base import Choices, InputError
from mm_jax.config.training import RunConfig
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
    path, begun = Path(options.run), time.perf_counter()
    runs = runs_in(path)
    pin_threads_of(runs)
    verified = [verify(run, console) for run in runs]
    if path not in runs:  # a sweep's own files
        verified.append(verify_files(path, console))
    complaints = [complaint for record in verified for complaint in record["complaints"]]
    seconds = time.perf_counter() - begun
    record = {"command": "verify", "run_dir": str(path), "verified": verified, "seconds": seconds}
    if complaints:
        others = f", and {len(complaints) - 1} more" if len(complaints) > 1 else ""
        return Outcome(record, 1, f"{complaints[0]}{others}")
    console.say(f"verified   {path} in {seconds:.1f} s")
    return Outcome(record)


def runs_in(path: Path) -> list[Path]:
    """Return the runs to verify: ``path`` itself, or of a sweep the runs that it has kept."""
    if (path / SETTINGS).exists():
        return [run for run in (path / "best", path / "ensemble") if (run / CONFIG).exists()]
    if (path / CONFIG).exists():
        return [path]
    raise InputError(f"{path} is not a run directory: it has no {CONFIG}")


def pin_threads_of(runs: list[Path]) -> None:
    """Use as many threads as the first run was trained with; it must be before JAX is imported."""
    from mm_jax.runs.checkpoint import fingerprint_of_run

    with contextlib.suppress(InputError):  # what is damaged is reported later
        threads = fingerprint_of_run(runs[0]).get("num_threads") if runs else None
        if isinstance(threads, int) and threads > 0:
            pin_threads(threads)


def verify(path: Path, console: Console) -> dict[str, Any]:
    """Check the files of a run and take its last steps again; return what was found, for --json."""
    from mm_jax.experiments.verify import replay

    record = verify_files(path, console)
    complaints = record["complaints"]
    begun = time.perf_counter()
    try:
        if not isinstance(read_metadata(path).config, RunConfig):
            return record  # no steps were taken
        replayed = replay(path)
    except InputError as error:
        console.say(f"steps      not repeated: {error}")
        complaints.append(f"not repeated: {error}")
        return record
    seconds = time.perf_counter() - begun
    record["replayed"] = {**replayed._asdict(), "seconds": seconds}
    steps = f"{replayed.first:,} to {replayed.last:,}, taken again in {seconds:.1f} s"
    if not replayed.differing:
        console.say(f"steps      {steps}: every bit of {replayed.arrays} arrays is the same")
        return record
    names = ", ".join(replayed.differing[:3])
    console.say(f"steps      {steps}: other bits in {len(replayed.differing)} arrays ({names})")
    if replayed.elsewhere:  # on another machine that is no fault
        console.say(f"           as may be: {'; '.join(replayed.elsewhere)}")
    else:
        complaints.append(f"{path} does not repeat: other bits in {names}")
    return record


def verify_files(path: Path, console: Console) -> dict[str, Any]:
    """Check the files of a directory; return what was found, for --json."""
    from mm_jax.experiments.verify import check_files

    files = list(check_files(path))
    complaints = [file.complaint for file in files if file.complaint]
    intact = len(files) - len(complaints)
    console.say(f"files      {path}: {intact} of {len(files)} are what was written")
    for complaint in complaints:
        console.say(f"           {complaint}")
    return {"path": str(path), "num_files": len(files), "replayed": None, "complaints": complaints}
